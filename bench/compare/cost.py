#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench cost: instructions of a 64-byte message over connections and queues.

Runs vsock-bench cost-cell for each cell: with the counter of the CPU where the kernel gives it to us, otherwise
under callgrind (valgrind), which counts within cost_messages().
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

QUEUES = (1, 4, 16)
CONNS = (1, 100, 10000)
MODES = ('active', 'idle')
MESSAGES = 20480
LIMIT = 600  # seconds for one cell, which takes a few
GROWTH = 1.10  # what is more is told


class NoCounter(Exception):
    """The text says what to do."""


def cells(queues=QUEUES, conns=CONNS):
    """(queues, connections, mode); no queue is without a connection."""
    out = dict.fromkeys((q, max(q, c), m) for q in queues for c in conns for m in MODES)
    # With a connection a queue nobody is idle.
    return [(q, c, m) for q, c, m in out if m == 'active' or c > q]


def run(bench, args, callgrind):
    """The line of JSON of one cell. RuntimeError with the program's words."""
    env, argv = {**os.environ}, [bench, 'cost-cell', *map(str, args), str(MESSAGES)]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'out')
        if callgrind:
            env['ZV_BENCH_CALLGRIND'] = '1'
            argv = ['valgrind', '--tool=callgrind', '--toggle-collect=cost_messages', f'--callgrind-out-file={out}', *argv]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f'did not end within {LIMIT} s') from None
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line and not line.startswith(('==', '--'))]
            raise RuntimeError(words[-1] if words else f'ended with {done.returncode}')
        cell = json.loads(done.stdout)
        if callgrind:
            cell['instructions'] = counted(out)
    if not cell['instructions'] and cell['counter'] != 'none':
        raise RuntimeError('callgrind has not found cost_messages(): is the program stripped?')
    return cell


def counted(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        m = re.search(r'^totals: (\d+)', f.read(), re.M)
    return int(m[1]) if m else 0


def measure(bench, todo, tell=lambda text: None):
    """[{queues, conns, mode, messages, instructions, per_message, counter}], and what failed, in words."""
    out, failed = [], []
    callgrind = run(bench, (1, 1, 'active'), False)['counter'] == 'none'
    if callgrind and not shutil.which('valgrind'):
        raise NoCounter('instructions cannot be counted: the CPU has no counter for us, and valgrind is absent; to get it: '
                        'apt-get install valgrind')
    for i, (queues, conns, mode) in enumerate(todo):
        tell(f'[{i + 1}/{len(todo)}] cost, {conns} connections, {queues} queues, {mode}')
        try:
            cell = run(bench, (queues, conns, mode), callgrind)
        except RuntimeError as why:
            failed.append(f'cost, {conns} connections, {queues} queues, {mode}: {why}')
            continue
        out.append({**cell, 'per_message': cell['instructions'] / cell['messages']})
    return out, failed


def growth(found):
    """[(what grows, from, to, ratio)] from the least to the most: over connections of each number of queues, over queues
    of each number of connections. Idle connections are added to one busy connection a queue, which is where they start."""
    by = {(c['mode'], c['queues'], c['conns']): c['per_message'] for c in found}
    out = []
    for mode in MODES:
        at = {(q, c): v for (m, q, c), v in by.items() if m == mode or (m == 'active' and c == q)}
        for queues in sorted({q for q, _ in at}):
            line = sorted((c, v) for (q, c), v in at.items() if q == queues)
            if len(line) > 1:
                out.append((f'{line[0][0]} to {line[-1][0]} {mode} connections, {queues} queue{"s" if queues > 1 else ""}',
                            line[0][1], line[-1][1]))
        for conns in sorted({c for _, c in at}):
            line = sorted((q, v) for (q, c), v in at.items() if c == conns)
            if len(line) > 1:
                out.append((f'{line[0][0]} to {line[-1][0]} queues, {conns} {mode} connections', line[0][1], line[-1][1]))
    return [(what, low, high, high / low) for what, low, high in out]


def lines(found):
    """For a terminal."""
    out = [f'  {"queues":>6} {"connections":>11}  {"":6} {"instructions a message":>22}']
    out += [f'  {c["queues"]:6} {c["conns"]:11}  {c["mode"]:6} {c["per_message"]:22.1f}' for c in found]
    out += [f'  {what}: {a:.0f} to {b:.0f}, {ratio:.2f} times{"  GROWS" if ratio > GROWTH else ""}' for what, a, b, ratio in growth(found)]
    return out


def main(argv):
    p = argparse.ArgumentParser(prog='vsock-bench cost', allow_abbrev=False, description='Instructions of a 64-byte message, driver and '
                                'device together, by the copying calls, over 1, 100 and 10,000 connections and 1, 4 and 16 queues.')
    p.add_argument('--queues', type=int, nargs='+', choices=range(1, 17), default=QUEUES, metavar='N')
    p.add_argument('--conns', type=int, nargs='+', default=CONNS, metavar='N')
    p.add_argument('--json', metavar='FILE', help='the cells as JSON; - for standard output, in the place of the table')
    p.add_argument('--bench', default='vsock-bench', help=argparse.SUPPRESS)
    o = p.parse_args(argv)
    if not 1 <= min(o.conns) <= max(o.conns) <= 50000:
        p.error('--conns takes numbers from 1 to 50000')
    if not shutil.which(o.bench):
        p.error(f'{o.bench} is not in $PATH; run "vsock-bench cost", or name the program with --bench')
    try:
        found, failed = measure(o.bench, cells(o.queues, o.conns))
    except (NoCounter, RuntimeError) as why:
        sys.exit(f'vsock-bench: {why}')
    except KeyboardInterrupt:
        return 130
    text = json.dumps({'schema': 1, 'cost': found, 'failed': failed}, indent=1)
    if o.json and o.json != '-':
        with open(o.json, 'w', encoding='utf-8') as f:
            f.write(text + '\n')
    print(text if o.json == '-' else '\n'.join(lines(found)))
    for why in failed:
        print(f'vsock-bench: {why}', file=sys.stderr)
    return 1 if failed or not found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
