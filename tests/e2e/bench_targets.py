#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench --target: what is there is measured, what is not is listed with the reason.

usage: bench_targets.py ZVSOCKD VSOCK_BENCH
"""
import json
import os
import resource
import subprocess
import sys
import tempfile

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402  pylint: disable=wrong-import-position

ZVSOCKD, BENCH = map(os.path.abspath, usage.arguments())
ALWAYS = {'zvsock', 'zvsock-channel', 'zvsock-relay', 'zvsockd-hybrid', 'af_unix', 'af_unix-seqpacket', 'tcp', 'raw', 'raw-split',
          'raw-packed'}
# What a kernel may have or not, what is never on one machine, and what another option asks for.
ELSEWHERE = {'vhost-kernel', 'vsock_loopback', 'af_vsock', 'vhost-user', 'vhost-device-vsock', 'zvsock-beside'}


def bench(*args, path=None):
    env = {**os.environ, 'PATH': os.pathsep.join(filter(None, [path, os.environ['PATH']]))}
    return subprocess.run([BENCH, '--duration', '0.02', '--repeat', '2', '--json', '-', *args], env=env, timeout=120,
                          capture_output=True, text=True, check=False)


def report(done, code):
    assert done.returncode == code, f'ended with {done.returncode}: {done.stderr}'
    return json.loads(done.stdout)['runs']


def measured(runs):
    return {r['id'] for r in runs if 'absent' not in r}


def absent(runs):
    return {r['id']: r for r in runs if 'absent' in r}


def program(folder, text):
    path = os.path.join(folder, 'vhost-device-vsock')
    with open(path, 'w', encoding='utf-8') as f:
        f.write('#!/bin/sh\n' + text)
    os.chmod(path, 0o755)


def all_are_measured_or_absent():
    runs = report(bench('--target', 'all', '--size', '64,5000'), 0)
    assert ALWAYS <= measured(runs), measured(runs)
    named = measured(runs) | set(absent(runs))
    assert named == ALWAYS | ELSEWHERE, named ^ (ALWAYS | ELSEWHERE)
    assert not measured(runs) & set(absent(runs))
    for r in runs:
        if 'absent' in r:
            assert r['absent'] and r['get'], r
        else:
            assert r['errors'] == 0 and r.get('verified', True), r
    for who in ALWAYS:
        tests = {r['test'] for r in runs if r['id'] == who and 'absent' not in r}
        assert {'throughput', 'rtt'} <= tests, (who, tests)
    channel = [r for r in runs if r['id'] == 'zvsock-channel']
    assert channel and all(r['target'] == 'zvsock' and r['path'] == 'channel' for r in channel)
    relay = [r for r in runs if r['id'] == 'zvsock-relay']
    assert all(r['target'] == 'zvsock' and r['path'] == 'relay' and r['cpu_s']['daemon'] > 0 for r in relay)
    assert all(r['type'] == 'seqpacket' for r in runs if r['id'] == 'af_unix-seqpacket')
    # A B A B
    order = [r['id'] for r in runs if r.get('test') == 'rtt' and r['id'] in ('tcp', 'raw')]
    assert order == ['tcp', 'raw'] * 2, order


def several_queues():
    runs = report(bench('--target', 'zvsock,zvsock-channel,zvsock-relay,zvsockd-hybrid', '--queues', '4', '--size', '64',
                        '--test', 'throughput,connrate'), 0)
    assert measured(runs) == {'zvsock', 'zvsock-channel', 'zvsock-relay'}
    assert 'one queue' in absent(runs)['zvsockd-hybrid']['absent']
    assert all(min(r['per_queue_msgs']) > 0 for r in runs if 'absent' not in r)


def channels_of_any_size():
    for size in ('256K', '64M'):
        runs = report(bench('--target', 'zvsock-channel', '--channel-size', size, '--size', '1M', '--test', 'throughput'), 0)
        assert measured(runs) == {'zvsock-channel'}
        assert all(r['errors'] == 0 and r['verified'] for r in runs if 'absent' not in r), runs
    for mistake in (['128K'], ['3M'], ['1G'], ['256M', '--queues', '4']):
        done = bench('--target', 'zvsock-channel', '--channel-size', *mistake)
        assert done.returncode == 2 and done.stderr.count('\n') == 1 and '--channel-size' in done.stderr, (mistake, done.stderr)


def an_installed_backend_is_started(folder):
    """The options of vhost-device-vsock, by a backend that there is."""
    program(folder, f'exec {ZVSOCKD} -g "name=x,cid=$2,socket=$4,unix=$6"\n')
    runs = report(bench('--target', 'vhost-device-vsock,af_unix', '--test', 'rtt,connrate', path=folder), 0)
    mine = [r for r in runs if r['id'] == 'vhost-device-vsock']
    assert mine and all(r['name'] == 'vhost-device-vsock' and r['cpu_s']['daemon'] > 0 for r in mine), mine


def one_that_does_not_start_is_listed(folder):
    program(folder, 'echo no vsock for you >&2\nexit 3\n')
    done = bench('--target', 'vhost-device-vsock,af_unix', '--test', 'rtt', path=folder)
    runs = report(done, 1)
    assert measured(runs) == {'af_unix'}
    assert 'no vsock for you' in absent(runs)['vhost-device-vsock']['absent']
    assert absent(runs)['vhost-device-vsock']['broken'] is True
    said = [line for line in done.stderr.splitlines() if ': warning: ' not in line]  # of a machine at work
    assert len(said) == 1, done.stderr


def a_cell_that_fails_ends_nothing():
    """Without descriptors for the sockets of many connections: those cells have a reason, all others have figures."""
    def bounded(*more):
        return subprocess.run([BENCH, '--duration', '0.02', '--repeat', '2', '--size', '64', '--test', 'rtt,conns', '--active', '1,100', '--zero-copy',
                               '--path', 'virtqueue', *more], timeout=300, capture_output=True, text=True, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
    done = bounded('--json', '-')
    runs = report(done, 1)
    broke = [r for r in runs if 'failed' in r]
    # One entry each: a cell that has failed is not run again.
    assert sorted((r['id'], r['test'], r['conns']) for r in broke) == [('af_unix', 'conns', 100), ('tcp', 'conns', 100)], broke
    assert all('Too many open files' in r['failed'] and 'cpu_s' not in r for r in broke), broke
    for who, test, conns in (('af_unix', 'conns', 1), ('tcp', 'rtt', None), ('zvsock', 'conns', 100), ('zvsock', 'conns', 1)):
        assert sum(r['id'] == who and r.get('test') == test and r.get('conns') == conns and r.get('errors') == 0 for r in runs) == 2, (who, test)
    last = done.stderr.splitlines()[-1]
    assert last.endswith('2 of 12 cells failed: af_unix conns, 64 B, g2h, 100 connections; tcp conns, 64 B, g2h, 100 connections'), done.stderr
    done = bounded()
    rows = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 1 and ['AF_UNIX', 'g2h', 'FAILED:', 'AF_UNIX:', 'socket:', 'Too', 'many', 'open', 'files'] in rows, done.stdout
    assert sum(row[:2] == ['zvsock', 'zero-copy'] for row in rows) == 3, done.stdout


def nothing_to_measure():
    done = bench('--target', 'af_vsock,vhost-user')
    assert done.returncode == 1 and 'af_vsock: ' in done.stderr and 'vhost-user: ' in done.stderr, done.stderr
    done = bench('--target', 'af_unx')
    assert done.returncode == 2 and done.stderr.count('\n') == 1, done.stderr


def scaled(path, factor):
    """The report @path as if everything had been @factor times as fast: the name of the file."""
    with open(path, encoding='utf-8') as f:
        report = json.load(f)
    for r in report['runs']:
        for key in ('messages', 'msgs_per_s', 'gbit_per_s'):
            r[key] = r.get(key, 0) * factor
        r['rtt_ns'] = {k: v / factor for k, v in r.get('rtt_ns', {}).items()}
    with open(f'{path}.{factor}', 'w', encoding='utf-8') as f:
        json.dump(report, f)
    return f.name


def a_baseline_guards(folder):
    """No figure is judged: beside a millionth of what was measured nothing is worse, beside a million times that everything is."""
    path = os.path.join(folder, 'before.json')
    done = subprocess.run([BENCH, '--target', 'raw', '--size', '64', '--duration', '0.02', '--repeat', '2', '--json', path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for factor, code in ((1e-6, 0), (1e6, 1)):
        done = bench('--target', 'raw', '--size', '64', '--baseline', scaled(path, factor))
        assert done.returncode == code and 'Beside the earlier run' in done.stderr, done.stderr
        assert json.loads(done.stdout)['runs'] and ('WORSE' in done.stderr) == bool(code)
    done = bench('--target', 'raw', '--test', 'rtt', '--baseline', '/nonexistent')
    assert done.returncode == 1 and '/nonexistent' in done.stderr
    done = bench('--target', 'raw', '--size', '128', '--test', 'throughput', '--baseline', path)
    assert done.returncode == 1 and 'no row' in done.stderr, done.stderr


def what_was_not_asked_for_is_not_missing():
    done = subprocess.run([BENCH, '--no-baselines', '--path', 'virtqueue', '--test', 'rtt', '--size', '64', '--duration', '0.02',
                           '--repeat', '1'], capture_output=True, text=True, check=True)
    assert 'zvsock' in done.stdout and 'absent' not in done.stdout, done.stdout


def list_says_the_same():
    text = subprocess.run([BENCH, '--list-targets'], capture_output=True, text=True, check=True).stdout
    assert {line.split()[0] for line in text.splitlines() if not line.startswith(' ')} == ALWAYS | ELSEWHERE, text


with tempfile.TemporaryDirectory() as place:
    all_are_measured_or_absent()
    several_queues()
    channels_of_any_size()
    an_installed_backend_is_started(place)
    one_that_does_not_start_is_listed(place)
    a_cell_that_fails_ends_nothing()
    nothing_to_measure()
    a_baseline_guards(place)
    what_was_not_asked_for_is_not_missing()
    list_says_the_same()
