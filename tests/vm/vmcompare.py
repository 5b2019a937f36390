#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""vsock-bench compare inside one VM, whose kernel has vhost-vsock and vsock_loopback.

usage: vmcompare.py BUILDDIR [OPTIONS OF vsock-bench compare]
"""
import contextlib
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'bench', 'compare'))

import cli
import compare
from image import Missing
from procs import Failure
from testbed import Bench, Skip
from testbed_compare import NOTE, CompareTestbed
from testbed_nested import NestedTestbed


def measure(bench, options):
    """One VM after the other."""
    with contextlib.closing(CompareTestbed(bench, bench.current, options.vcpus)) as testbed:
        got = testbed.measure(options)
    if options.nested:
        try:
            with contextlib.closing(NestedTestbed(bench, 'nested')) as testbed:
                testbed.measure(options, got)
        except (Failure, Skip) as why:  # what there is, is kept
            got.failed.append(f'nested: {why}')
    return got


def main():
    q = compare.parser()
    q.add_argument('--nested', action='store_true', help='also two stock guests inside the VM, one on its kernel\'s vhost-vsock and one on '
                   'zvsockd, measured in turn: minutes more on a quiet machine')
    q.add_argument('--vcpus', type=int, choices=(1, 2), default=1, help='CPUs of the VM (1). 2: figures with one for each side as well; '
                   'they need a machine that has CPUs to spare for QEMU')
    p = cli.parser('vmcompare', '[OPTIONS]', (__doc__ or '').splitlines()[0] + '\n\nOPTIONS are those of "vsock-bench compare" and two more:\n\n'
                   + q.format_help())
    build = p.parse_args(sys.argv[1:2]).build
    vcpus = q.parse_args(sys.argv[2:]).vcpus
    options = compare.parse(['--cpus', '2cpu,1cpu' if vcpus == 2 else '1cpu', '--no-cost', '--note', NOTE, *sys.argv[2:]], q)
    cli.checked()
    if options.source:
        return compare.finish(options, lambda: compare.load(options))
    bench = Bench(build, 'compare-logs')
    bench.current = 'compare'
    try:
        return compare.finish(options, lambda: measure(bench, options))
    finally:
        bench.close()


if __name__ == '__main__':
    try:
        sys.exit(main())
    except (Failure, Missing, Skip) as why:
        sys.exit(f'vmcompare: {why}')
