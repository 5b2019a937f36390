#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench compare: its arithmetic on runs that are made up, and a short run of all of it.

usage: bench_compare.py VSOCK_BENCH
"""
import csv
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'bench', 'compare'), os.path.join(ROOT, 'tests')]

import compare
import cost
import page
import plots
import usage
from figures import Figures, Key, spread

BENCH = os.path.abspath(usage.arguments()[0])


def run_of(ident, gbit, p50=1000, **more):
    run = {'target': 'zvsock' if ident.startswith('zvsock') else ident, 'id': ident, 'test': 'throughput', 'direction': 'g2h',
           'msg_size': 64, 'queues': 1, 'cpus': '1cpu', 'bytes': 2_000_000_000, 'messages': 4_000_000, 'gbit_per_s': gbit,
           'msgs_per_s': gbit * 1e6, 'cpu_s': {'guest': 1, 'host': 2}, 'errors': 0,
           'rtt_ns': {'p50': p50, 'p99': 2 * p50, 'p999': 3 * p50}}
    if run['target'] == 'zvsock':
        run['zero_copy'] = True
    return {**run, **more}


def made_up(rounds):
    f = Figures()
    for nth, runs in enumerate(rounds):
        f.add('sizes', nth, {'runs': runs})
    return f


def key(ident, how=''):
    return Key('sizes', '1cpu', ident, how, 'throughput', 'g2h', 64, 1, 0)


def medians_and_spreads():
    assert spread([]) is None and spread([None]) is None
    assert spread([3, None, 1, 2]) == (2, 1, 3, 3)
    assert spread([4, 1]) == (2.5, 1, 4, 2)
    f = made_up([[run_of('tcp', v)] for v in (5, 1, 3)])
    assert f.spread(key('tcp'), 'gbit_per_s') == (3, 1, 5, 3)
    # CPU seconds are those of all processes.
    assert f.spread(key('tcp'), 'cpu_s_per_gb').median == 1.5
    assert f.spread(key('tcp'), 'cpu_s_per_million').median == 0.75
    f = made_up([[run_of('tcp', 1, cpu_s={'guest': 1, 'host': 2, 'daemon': 3})]])
    assert f.spread(key('tcp'), 'cpu_s_per_gb').median == 3


def ratios_are_within_a_round():
    """The machine doubles its speed in the middle: ratios of medians would be 1.5, within rounds it is always 2."""
    f = made_up([[run_of('zvsock', 2 * v, p50=500 * v), run_of('tcp', v, p50=1000 * v)] for v in (1, 2, 4)]
                + [[run_of('zvsock', 100)], [run_of('tcp', 100)]])
    mine, other = key('zvsock', 'zero-copy'), key('tcp')
    assert f.ratio(mine, other, 'gbit_per_s') == (2, 2, 2, 3), 'a round without one of them has no ratio'
    assert f.ratio(other, mine, 'gbit_per_s').median == 0.5
    # Less is better: twice as good is half the time.
    assert f.ratio(mine, other, 'rtt_p50_us').median == 2
    assert f.ratio(mine, key('raw'), 'gbit_per_s') is None


def a_distribution_is_the_median_of_each_point():
    f = made_up([[run_of('tcp', 1, rtt_cdf=[[0.5, 1000 * v], [1, 5000 * v]])] for v in (1, 9, 2)])
    assert f.distribution(key('tcp')) == [(2, 0.5), (10, 1)]


def absent_ones_are_kept():
    gone = {'target': 'x', 'id': 'x', 'absent': 'no module', 'get': 'modprobe x'}
    broke = {'target': 'tcp', 'id': 'tcp', 'absent': 'tcp throughput, 64 B: no answer in time', 'broken': True}
    other = {'target': 'z', 'id': 'z', 'absent': 'not in --target'}
    queues = {'target': 'raw', 'id': 'raw', 'absent': 'one queue', 'get': 'y'}
    f = made_up([[run_of('tcp', 1), run_of('raw', 1), gone, other], [broke, gone, other, queues], [{**broke, 'absent': 'a', 'broken': False}]])
    assert {i: r['absent'] for i, r in f.missing().items()} == {'x': 'no module', 'tcp': 'tcp throughput, 64 B: no answer in time'}
    assert f.measured() == ['tcp', 'raw']


def failed_cells_are_listed_without_figures():
    broke = {k: v for k, v in run_of('tcp', 1).items() if k not in ('bytes', 'messages', 'gbit_per_s', 'msgs_per_s', 'cpu_s', 'errors', 'rtt_ns')}
    broke |= {'cell': 'tcp throughput, 64 B, g2h', 'failed': 'no answer'}
    f = made_up([[run_of('raw', 2), broke], [run_of('raw', 4), broke]])
    rows = {r['id']: r for r in f.rows()}
    assert rows['tcp']['failed'] == 'no answer' and rows['tcp']['rounds'] == 0 and not rows['tcp']['gbit_per_s_median'], rows
    assert rows['raw']['failed'] == '' and rows['raw']['gbit_per_s_median'] == '3', rows
    assert list(rows['tcp']) == list(rows['raw']) and f.measured() == ['raw']
    # One that worked in another round has both.
    row, = made_up([[run_of('tcp', 5)], [broke]]).rows()
    assert row['rounds'] == 1 and row['gbit_per_s_median'] == '5' and row['failed'] == 'no answer', row
    got = compare.Collected(compare.parse([]), {})
    report = {'machine': {}, 'version': 'x', 'runs': [run_of('raw', 2), broke, {'id': 'z', 'absent': '3 failures in a row', 'broken': True}]}
    got.add(1, 'sizes', json.dumps(report), 1, 'vsock-bench: words')
    assert got.failed == ['sizes, round 2: tcp throughput, 64 B, g2h: no answer', 'sizes, round 2: z: 3 failures in a row'], got.failed


def rounds_are_interleaved():
    """All of a round before any of the next, and the same in each."""
    options = compare.parse(['--rounds', '3', '--cpus', '1cpu,2cpu', '--queues', '1,2'])
    made = compare.calls(options)
    assert [nth for nth, _, _ in made] == sorted(nth for nth, _, _ in made)
    per_round = [[(part, args) for nth, part, args in made if nth == want] for want in range(3)]
    assert per_round[0] == per_round[1] == per_round[2]
    assert {part for part, _ in per_round[0]} == {'sizes', 'latency', 'queues', 'conns'}
    assert all(args[args.index('--repeat') + 1] == '1' for _, args in per_round[0])


def numbers_are_read_at_a_glance():
    assert [page.number(v) for v in (None, 0.0123456, 3.14159, 42.4, 1234.5, 12345, 2.5e6, 3e9)] == \
        ['-', '0.0123', '3.14', '42.4', '1234', '12.3 k', '2.5 M', '3 G']


def the_cost_grid_is_complete():
    grid = cost.cells()
    assert len(set(grid)) == len(grid)
    assert {(q, c) for q, c, m in grid if m == 'active'} == {(1, 1), (1, 100), (1, 10000), (4, 4), (4, 100), (4, 10000), (16, 16),
                                                             (16, 100), (16, 10000)}
    assert all(c > q for q, c, m in grid if m == 'idle')


def growth_is_found():
    made = {(1, 1, 'active'): 100, (1, 100, 'active'): 105, (1, 100, 'idle'): 130, (4, 4, 'active'): 90, (4, 100, 'active'): 126}
    found = [{'queues': q, 'conns': c, 'mode': m, 'messages': 1, 'instructions': v, 'per_message': v} for (q, c, m), v in made.items()]
    grown = {what: round(ratio, 2) for what, _, _, ratio in cost.growth(found)}
    assert grown == {'1 to 100 active connections, 1 queue': 1.05, '4 to 100 active connections, 4 queues': 1.4,
                     '1 to 4 queues, 100 active connections': 1.2, '1 to 100 idle connections, 1 queue': 1.3}, grown
    assert sum('GROWS' in line for line in cost.lines(found)) == 3


def instructions_are_counted():
    """Where something can count: the same cell again costs the same, and more messages more. No figure is judged."""
    if re.search(r'lib[at]san', subprocess.run(['ldd', BENCH], capture_output=True, text=True, check=False).stdout):
        print('instructions are not looked at: callgrind cannot run a program with a sanitizer')
        return
    try:
        found, failed = cost.measure(BENCH, [(1, 1, 'active'), (2, 40, 'active'), (2, 40, 'idle')])
    except cost.NoCounter as why:
        print(f'instructions are not looked at: {why}')
        return
    assert not failed and len(found) == 3, failed
    assert all(c['per_message'] > 10 and c['messages'] >= cost.MESSAGES for c in found), found


def no_counter_is_told(folder):
    tools = os.path.join(folder, 'bare')
    os.mkdir(tools)
    os.symlink(sys.executable, os.path.join(tools, 'python3'))
    done = subprocess.run([BENCH, 'cost', '--queues', '1', '--conns', '1'], capture_output=True, text=True, check=False,
                          env={**os.environ, 'PATH': tools})
    assert done.returncode == 0 or 'apt-get install valgrind' in done.stderr, done.stderr
    for args in (['cost', '--conns', '0'], ['cost-cell', '0', '1', 'active', '1'], ['cost-cell', '2', '1', 'active', '1'], ['cost-cell']):
        done = subprocess.run([BENCH, *args], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and done.stderr, args


class Parser(html.parser.HTMLParser):
    """Counts tags and insists that what is opened is closed."""
    EMPTY = {'meta', 'br', 'circle', 'path', 'use', 'rect', 'feflood', 'fecomposite', 'polygon', 'ellipse'}

    def __init__(self):
        super().__init__()
        self.open, self.count, self.links = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [v for n, v in attrs if n in ('src', 'href', 'xlink:href') and v and not v.startswith('#')]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.EMPTY:
            assert self.open.pop() == tag, tag


def command(*args, env=None):
    return subprocess.run([BENCH, 'compare', *args], capture_output=True, text=True, env=env, check=False, timeout=280)


def check_report(folder, figures):
    with open(os.path.join(folder, 'report.html'), encoding='utf-8') as f:
        text = f.read()
    p = Parser()
    p.feed(text)
    assert not p.open and not p.links, (p.open, p.links)
    assert p.count.get('svg', 0) >= figures if figures else 'svg' not in p.count, p.count
    assert 'prefers-color-scheme: dark' in text and 'viewport' in text
    # Nothing in the figures is black or white for good.
    for svg in re.findall(r'<svg.*?</svg>', text, re.S):
        assert not re.search(r'''(?:stroke|fill|color)=["'](?:black|white|#000000|#ffffff)["']''', svg)
    assert 'vhost-device-vsock' in text and 'How it was measured' in text
    return text


def a_short_run(folder):
    out = os.path.join(folder, 'a')
    done = command('--out', out, '--rounds', '2', '--duration', '0.01', '--size', '64,4096', '--queues', '1,2', '--conns', '1,20',
                   '--cpus', '1cpu', '--no-cost', '--target', 'zvsock,af_unix,raw,vhost-device-vsock', '--note', 'a <note> & more')
    assert done.returncode == 0, done.stderr
    assert 'zvsock zero-copy' in done.stdout and 'how many times better' in done.stdout
    assert 'absent: vhost-device-vsock: ' in done.stdout or shutil.which('vhost-device-vsock'), done.stdout
    assert 'NOTE: a <note> & more' in done.stdout
    with open(os.path.join(out, 'report.json'), encoding='utf-8') as f:
        saved = json.load(f)
    assert saved['machine']['cores'] and saved['version'] and saved['date'] and not saved['failed']
    assert [r['round'] for r in saved['reports']] == [0] * 5 + [1] * 5, [r['round'] for r in saved['reports']]
    with open(os.path.join(out, 'report.csv'), encoding='utf-8') as f:
        rows = list(csv.DictReader(f))
    assert {r['id'] for r in rows} == {'zvsock', 'af_unix', 'raw'}
    assert all(r['rounds'] == '2' and r['errors'] == '0' for r in rows)
    assert {r['conns'] for r in rows if r['part'] == 'conns'} == {'1', '20'}
    assert {r['queues'] for r in rows if r['part'] == 'queues' and r['id'] == 'zvsock'} == {'1', '2'}
    assert 'a &lt;note&gt; &amp; more' in check_report(out, 5 if plots.version() else 0)
    return out


def drawn_again_without_gnuplot(folder, out):
    """The tables are all that such a report has, and it says what to do."""
    again, tools = os.path.join(folder, 'b'), os.path.join(folder, 'bin')
    os.mkdir(tools)
    os.symlink(sys.executable, os.path.join(tools, 'python3'))
    done = command('--from', os.path.join(out, 'report.json'), '--out', again, env={**os.environ, 'PATH': tools})
    assert done.returncode == 0 and 'apt-get install gnuplot-nox' in done.stderr, done.stderr
    assert 'apt-get install gnuplot-nox' in check_report(again, 0)


def mistakes_are_told(folder):
    for args, words in ((['--cpus', '3cpu'], "'3cpu'"), (['--queues', '17'], '--queues'), (['--rounds', '0'], '--rounds'),
                        (['--target', 'af_unx'], 'af_unx'), (['--from', '/nonexistent'], '/nonexistent'),
                        (['--from', __file__], 'no report.json'), (['--nonsense'], '--nonsense')):
        done = command('--out', os.path.join(folder, 'c'), *args)
        assert done.returncode and words in done.stderr.splitlines()[-1], (args, done.stderr)
    # Before an hour of measuring.
    done = command('--out', '/proc/nowhere', '--rounds', '100', '--duration', '60')
    assert done.returncode == 1 and 'cannot be written: /proc/nowhere: ' in done.stderr, done.stderr


medians_and_spreads()
ratios_are_within_a_round()
a_distribution_is_the_median_of_each_point()
absent_ones_are_kept()
failed_cells_are_listed_without_figures()
rounds_are_interleaved()
numbers_are_read_at_a_glance()
the_cost_grid_is_complete()
growth_is_found()
instructions_are_counted()
with tempfile.TemporaryDirectory() as place:
    report = a_short_run(place)
    drawn_again_without_gnuplot(place, report)
    mistakes_are_told(place)
    no_counter_is_told(place)
