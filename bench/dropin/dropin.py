#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What an AF_VSOCK program costs under zvsock-run: beside the same program on the hybrid socket, and, where it uses no
vsock, beside itself.

zvsockd and zvsockd-guest, whose `builtin` services answer, are started in a temporary directory. Each round runs all
kinds one after another, so that what else the machine does meets all of them; printed are the medians of what each did
in a second, and of the ratios within a round. Nothing is judged.
"""
import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def build_dir(path):
    path = os.path.realpath(path)
    if not os.path.exists(f'{path}/bench/dropin-bench'):
        raise argparse.ArgumentTypeError(f'no bench/dropin-bench in {path}: name a build directory, after ninja')
    return path


def rounds(text):
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f'{text} is not a number of rounds')
    return int(text)


def parse():
    p = argparse.ArgumentParser(description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('build', metavar='BUILDDIR', type=build_dir, help='where zvsock was built')
    p.add_argument('rounds', metavar='ROUNDS', type=rounds, nargs='?', default=9, help='9 when nothing is said')
    return p.parse_args()


OPTIONS = parse()
BUILD, ROUNDS = OPTIONS.build, OPTIONS.rounds
CLIENT, RUN = f'{BUILD}/bench/dropin-bench', f'{BUILD}/drop-in/run/zvsock-run'
# test, how many, unit, what one of them is in that unit
TESTS = (('connect', 3000, 'connections', 1), ('rtt', 20000, 'round trips', 1), ('send', 1000, 'Gbit', 8 * 2**20 / 1e9))
MODES = ('preload', 'seccomp')


def start(folder, program, name, text):
    with open(f'{folder}/{name}.conf', 'w', encoding='utf-8') as f:
        f.write(text.replace('DIR', folder))
    with open(f'{folder}/{name}.log', 'w', encoding='utf-8') as log:
        return subprocess.Popen([f'{BUILD}/host-dpdk/daemon/{program}', '-c', f'{folder}/{name}.conf'], stderr=log)


def up(folder, name, proc):
    for _ in range(600):
        with open(f'{folder}/{name}.log', encoding='utf-8') as f:
            if ' is up' in f.read():
                return
        if proc.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f'dropin.py: {name} did not come up: {folder}/{name}.log')


def measure(folder, words, mode=None):
    argv = [RUN, '--mode', mode, CLIENT, *words] if mode else [CLIENT, *words]
    done = subprocess.run(argv, env={**os.environ, 'ZVSOCK_AF_VSOCK': f'{folder}/host'}, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f'dropin.py: {" ".join(argv)}: {done.stderr}')
    return float(done.stdout)


def compare(name, unit, amount, plain, kinds):
    """@kinds: {what it is called: function that returns seconds}; their rates beside that of @plain."""
    rates = {k: [] for k in ('plain', *kinds)}
    for _ in range(ROUNDS):
        rates['plain'].append(amount / plain())
        for k, run in kinds.items():
            rates[k].append(amount / run())
    base = statistics.median(rates['plain'])
    print(f'{name}: {base:,.1f} {unit}/s beside it')
    for k in kinds:
        ratio = statistics.median(a / b for a, b in zip(rates[k], rates['plain']))
        print(f'    {k:10} {statistics.median(rates[k]):12,.1f} {unit}/s  {ratio:.3f}')


def main(folder):
    host = start(folder, 'zvsockd', 'h', '[daemon]\ncontrol = DIR/hc\naf_vsock = DIR/host\n'
                 '[guest vm]\ncid = 5\nsocket = DIR/vm.sock\nunix = DIR/vsock\n')
    up(folder, 'h', host)
    guest = start(folder, 'zvsockd-guest', 'g', '[daemon]\ncontrol = DIR/gc\n[device vm0]\nuri = vhost-user:DIR/vm.sock\n'
                  'builtin = echo:7, discard:9\n')
    up(folder, 'g', guest)
    try:
        for test, n, unit, one in TESTS:
            words = test, str(n)
            compare(test, unit, n * one, lambda w=words: measure(folder, [f'hybrid:{folder}/vsock', *w]),
                    {m: lambda w=words, m=m: measure(folder, ['vsock:5', *w], m) for m in MODES})
        words = ['unix', 'connect', '20000']
        compare('a program without vsock: AF_UNIX connect', 'connections', 20000, lambda: measure(folder, words),
                {m: lambda m=m: measure(folder, words, m) for m in MODES})
        moves = ['pair', 'move', '300000']
        compare('a program without vsock: write and read of 64 bytes', 'pairs', 300000, lambda: measure(folder, moves),
                {m: lambda m=m: measure(folder, moves, m) for m in MODES})
    finally:
        for p in (guest, host):
            p.send_signal(signal.SIGTERM)
            p.wait()


if __name__ == '__main__':
    with tempfile.TemporaryDirectory(prefix='zvdi') as d:
        main(d)
