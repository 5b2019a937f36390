#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench compare: everything that this machine has beside zvsock, in rounds, as one report.

Calls vsock-bench --target --json for each part of each round, puts the runs together, and writes
report.json, report.csv and report.html.
"""
import argparse
import csv
import datetime
import errno
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile

import cost
import page
import plots
import sections
from figures import Figures

FORMAT = 1


def parser():
    def numbers(least, most):
        def read(text):
            values = [int(v) for v in text.split(',')]
            if not values or min(values) < least or max(values) > most:
                raise argparse.ArgumentTypeError(f'numbers from {least} to {most} with commas')
            return values
        read.__name__ = 'list'
        return read

    p = argparse.ArgumentParser(prog='vsock-bench compare', allow_abbrev=False, description='Measures everything that this machine has '
                                'beside zvsock, and writes report.html, report.json and report.csv.')
    p.add_argument('--out', default='vsock-compare', metavar='DIR', help='where the report goes (vsock-compare)')
    p.add_argument('--rounds', type=int, default=5, metavar='N', help='passes over everything (5)')
    p.add_argument('--duration', type=float, default=0.1, metavar='SECONDS', help='time of one run of one cell (0.1)')
    p.add_argument('--quick', action='store_true', help='3 rounds, few sizes and queues: a minute')
    p.add_argument('--target', default='all', metavar='LIST', help='as vsock-bench --list-targets names them (all)')
    p.add_argument('--cpus', type=lambda s: s.split(','), metavar='WHERE', help='1cpu, 2cpu or free, with commas (2cpu,1cpu; 1cpu on one CPU)')
    p.add_argument('--size', dest='sizes', type=numbers(1, 64 << 20), metavar='BYTES', help='message sizes')
    p.add_argument('--queues', type=numbers(1, 16), metavar='N', help='numbers of queues (1,2,4,8,16)')
    p.add_argument('--conns', type=numbers(1, 1000), metavar='N', help='numbers of connections (1,10,100,1000)')
    p.add_argument('--busy-poll', action='store_true', help='zvsock never sleeps')
    p.add_argument('--no-cost', dest='cost', action='store_false', help='do not count instructions: the slowest part')
    p.add_argument('--peer', action='append', default=[], metavar='PEER', help='a backend that runs already, as vsock-bench --peer takes it')
    p.add_argument('--note', action='append', default=[], metavar='TEXT', help='a warning on top of the report')
    p.add_argument('--from', dest='source', metavar='FILE', help='draw the report of an earlier report.json, measure nothing')
    p.add_argument('--bench', default='vsock-bench', help=argparse.SUPPRESS)  # by vsock-bench itself
    return p


def parse(argv, p=None):
    """Options from @argv, checked. @p: parser(), which somebody has added options to."""
    p = p or parser()
    o = p.parse_args(argv)
    if not 0.001 <= o.duration <= 60:
        p.error('--duration takes seconds from 0.001 to 60')
    if not 1 <= o.rounds <= 100:
        p.error('--rounds takes a number from 1 to 100')
    ncpus = len(os.sched_getaffinity(0))
    o.cpus = o.cpus or (['2cpu', '1cpu'] if ncpus >= 2 else ['1cpu'])
    if bad := [c for c in o.cpus if c not in sections.PINNING]:
        p.error(f'--cpus takes 1cpu, 2cpu and free with commas, not {bad[0]!r}')
    if o.quick:
        o.rounds = min(o.rounds, 3)
        o.duration = min(o.duration, 0.05)
    o.sizes = o.sizes or list((64, 4096, 65536, 1048576) if o.quick else sections.SIZES)
    o.queues = o.queues or list((1, 4) if o.quick else sections.QUEUES)
    o.cost_grid = cost.cells((1, 4), (1, 100)) if o.quick else cost.cells()
    o.conns = o.conns or list((1, 100) if o.quick else sections.CONNS)
    return o


def calls(options):
    """[(round, part, arguments of vsock-bench)] in the order in which they are made."""
    common = ['--repeat', '1', '--duration', f'{options.duration:g}', '--json', '-', *(['--busy-poll'] if options.busy_poll else [])]
    common += [a for peer in options.peer for a in ('--peer', peer)]
    return [(nth, s.part, [*s.args, *common]) for nth in range(options.rounds) for s in sections.steps(options)]


def say(text):
    print(f'vsock-bench: {text}', file=sys.stderr, flush=True)


class Collected:
    """What was measured: the JSON file, and figures of it."""

    def __init__(self, options, head):
        self.options, self.figures = options, Figures()
        self.head, self.reports, self.failed = head, [], []
        self.cost, self.no_cost = [], ''

    def add(self, nth, part, text, code, words):
        """The outcome of one call."""
        try:
            report = json.loads(text[text.index('{'):])
        except ValueError:
            self.failed.append(f'{part}, round {nth + 1}: {(words.strip() or f"ended with {code}").splitlines()[0]}')
            return
        why = [f'{r["cell"]}: {r["failed"]}' for r in report['runs'] if 'failed' in r]
        why += [f'{r["id"]}: {r["absent"]}' for r in report['runs'] if r.get('broken')]
        if code and not why:
            why = [line for line in words.strip().splitlines() if 'warning' not in line][:3]
        self.failed += [f'{part}, round {nth + 1}: {w}' for w in why]
        self.take(nth, part, report)

    def take(self, nth, part, report):
        self.reports.append({'round': nth, 'part': part, 'report': report})
        self.figures.add(part, nth, report)
        self.head.setdefault('machine', report['machine'])
        self.head.setdefault('version', report['version'])


def commit():
    here = os.path.dirname(os.path.realpath(__file__))
    try:
        done = subprocess.run(['git', '-C', here, 'describe', '--always', '--dirty', '--exclude', '*'], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


def head_of(options):
    head = {'format': FORMAT, 'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
            'commit': commit(), 'system': platform.freedesktop_os_release().get('PRETTY_NAME', '')
            if os.path.exists('/etc/os-release') else '', 'notes': options.note,
            'options': {n: getattr(options, n) for n in ('rounds', 'duration', 'sizes', 'queues', 'conns', 'cpus', 'busy_poll', 'target')}}
    try:
        done = subprocess.run(['vhost-device-vsock', '--version'], capture_output=True, text=True, check=False, timeout=10)
        head['peers'] = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        head['peers'] = ''
    return head


def on_this_machine(options):
    def call(args):
        done = subprocess.run([options.bench, *args], capture_output=True, text=True, check=False)
        if done.returncode == 2:  # its words are about our arguments, and the next call has the same
            raise SystemExit(done.stderr.strip())
        return done.stdout, done.returncode, done.stderr
    return call


def measure(options, call, todo):
    """@call: takes the arguments of a vsock-bench, gives what it printed, its exit code and its words; @todo: see calls()."""
    got = Collected(options, head_of(options))
    tty = sys.stderr.isatty()
    for i, (nth, part, args) in enumerate(todo):
        if tty:
            print(f'\r\033[K[{i + 1}/{len(todo)}] round {nth + 1} of {options.rounds}: {part}', end='', file=sys.stderr, flush=True)
        got.add(nth, part, *call(args))
    if options.cost:
        count_instructions(got, options, tty)
    if tty:
        print('\r\033[K', end='', file=sys.stderr)
    return got


def count_instructions(got, options, tty):
    def tell(text):
        if tty:
            print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)
    try:
        got.cost, failed = cost.measure(options.bench, options.cost_grid, tell)
        got.failed += failed
    except cost.NoCounter as why:
        got.no_cost = str(why)
    except RuntimeError as why:
        got.failed.append(f'cost: {why}')


def load(options):
    try:
        with open(options.source, encoding='utf-8') as f:
            saved = json.load(f)
        if saved['format'] != FORMAT:
            raise ValueError(f'format {saved["format"]}, not {FORMAT}')
        for name, value in saved['options'].items():
            setattr(options, name, value)
        got = Collected(options, {n: v for n, v in saved.items() if n not in ('reports', 'failed', 'cost', 'no_cost')})
        got.failed, got.cost, got.no_cost = saved['failed'], saved['cost'], saved['no_cost']
        for r in saved['reports']:
            got.take(r['round'], r['part'], r['report'])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SystemExit(f'vsock-bench: {options.source} is no report.json of vsock-bench compare: {e}') from None
    return got


def facts(head):
    m = head.get('machine', {})
    pages = f', buffers in pages of {m["page_size"] >> 10} KiB' if 'page_size' in m else ''
    out = [('machine', f'{m.get("cpu", "unknown")}, {m.get("cores", "?")} CPUs{pages}'),
           ('system', f'{head["system"]}, Linux {m.get("kernel", "?")}'), ('date', head['date']),
           ('zvsock', head.get('version', '?') + (f', commit {head["commit"]}' if head['commit'] else ''))]
    return out + ([('peers', head['peers'])] if head['peers'] else []) + [('drawn by', plots.version() or 'no gnuplot')]


REFERENCES = (('zvsock', 'zero-copy'), ('zvsock-relay', 'zero-copy'), ('vhost-kernel', 'zero-copy'), ('stock-zvsockd', ''))


def tables(got, options):
    """Of each placement: (head, head row, summary, (id, how) of the reference, ratios)."""
    sizes = [s for s in (64, 4096, 65536) if s in options.sizes] or options.sizes[:3]
    columns = page.summary_columns(sizes)
    for cpus in options.cpus:
        rows = page.summary(got.figures, cpus, columns, ('sizes', 'latency'))
        ref = next((r for r in REFERENCES if page.name_text(*r) in [row[0] for row in rows]), None)
        ratios = page.summary(got.figures, cpus, columns, ('sizes', 'latency'), ref) if ref else []
        yield cpus, ['', *(c[0] for c in columns)], rows, ref, ratios


def absent_rows(got):
    return [(i, r.get('about', ''), r['absent'], r.get('get', '')) for i, r in got.figures.missing().items()]


def make_place(folder):
    """Makes sure that the three files can be written: once everything is measured it is too late."""
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in ('report.json', 'report.csv', 'report.html'):
            path = os.path.join(folder, name)
            if os.path.exists(path) and not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    except OSError as e:
        raise SystemExit(f'vsock-bench: the report cannot be written: {e.filename or folder}: {e.strerror}; --out chooses another '
                         'directory') from None


def write(got, options):
    """The three files. The words of what is missing in them."""
    words = []
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, 'report.json'), 'w', encoding='utf-8') as f:
        json.dump({**got.head, 'failed': got.failed, 'cost': got.cost, 'no_cost': got.no_cost, 'reports': got.reports}, f, indent=1)
    rows = list(got.figures.rows())
    with open(os.path.join(options.out, 'report.csv'), 'w', encoding='utf-8', newline='') as f:
        out = csv.DictWriter(f, list(rows[0]) if rows else ['part'])
        out.writeheader()
        out.writerows(rows)
    parts = []
    for cpus, head, summary, ref, ratios in tables(got, options):
        words_of = 'Medians. Less is better for round trips and CPU seconds.'
        parts.append((f'Summary, {sections.PLACES[cpus]}', words_of, [page.table(head, summary)]))
        if ratios:
            parts.append((f'How many times better {page.name_text(*ref)} is, {sections.PLACES[cpus]}',
                          'Above 1: it is faster, or takes less time. Medians of the ratios within each round, with the least and the largest.',
                          [page.table(head, ratios)]))
    try:
        count = 0
        for title, text, figures in [*sections.drawn(got.figures, options), *sections.cost_drawn(got.cost)]:
            drawn = []
            for p in figures:
                drawn.append(p.svg(f'fig{count}'))
                count += 1
            parts.append((title, text, drawn))
    except plots.NoGnuplot:
        words.append('gnuplot is missing, so report.html has tables only: apt-get install gnuplot-nox, then the same command '
                     f'with --from {options.out}/report.json --out {options.out}')
    if got.cost:
        head = ('', 'least', 'most', 'ratio')
        parts.append(('How the cost of a message grows', 'Above 1.10 something grows that should not.',
                      [page.table(head, [(what, f'{a:.0f}', f'{b:.0f}', f'{r:.2f}') for what, a, b, r in cost.growth(got.cost)])]))
    warnings = [*got.head['notes'], *words, *([got.no_cost] if got.no_cost else [])]
    if got.figures.errors:
        warnings.append(f'{got.figures.errors} errors: data was lost, doubled or wrong')
    warnings += [f'failed: {w}' for w in got.failed[:10]]
    if len(got.failed) > 10:
        warnings.append(f'failed: {len(got.failed) - 10} more, in report.json')
    with open(os.path.join(options.out, 'report.html'), 'w', encoding='utf-8') as f:
        f.write(page.page('zvsock beside its alternatives', facts(got.head), warnings, parts, absent_rows(got), sections.method(options)))
    return words


def tell(got, options):
    """The summary on the terminal."""
    for name, value in facts(got.head):
        print(f'{name}: {value}')
    for note in got.head['notes']:
        print(f'NOTE: {note}')
    for cpus, head, summary, ref, ratios in tables(got, options):
        short = [h.replace('guest to host, ', 'g2h ').replace('host to guest, ', 'h2g ').replace(', Gbit/s', '')
                 .replace('round trip ', 'rtt ').replace('CPU s per ', 'CPU/') for h in head]
        print(f'\n{sections.PLACES[cpus]}; Gbit/s, us, connects a second, CPU seconds\n{page.text_table(short, summary)}')
        if ratios:
            bare = [[v.split(' [')[0] for v in row] for row in ratios]
            print(f'\nhow many times better {page.name_text(*ref)} is\n{page.text_table(short, bare)}')
    if got.cost:
        print('\ninstructions of a 64-byte message, both sides\n' + '\n'.join(cost.lines(got.cost)))
    elif got.no_cost:
        print(f'\n{got.no_cost}')
    rows = absent_rows(got)
    if rows:
        print()
    for ident, _, why, get in rows:
        print(f'absent: {ident}: {why}' + (f'; to get it: {get}' if get else ''))


def main(argv):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse(argv)
    return finish(options, lambda: load(options) if options.source else measure(options, on_this_machine(options), calls(options)))


def finish(options, get):
    """Measures by @get, writes, tells. The exit code."""
    make_place(options.out)
    try:
        got = get()
        words = write(got, options)
    except OSError as e:
        raise SystemExit(f'vsock-bench: {e.filename or options.out}: {e.strerror}') from None
    except KeyboardInterrupt:
        say('stopped')
        return 130
    tell(got, options)
    for w in [*words, *got.failed]:
        say(w)
    say(f'{options.out}/report.html, report.json, report.csv')
    return 1 if got.failed or got.figures.errors or not got.figures.cells else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
