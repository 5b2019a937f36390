#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the scenarios of the VM tests. Prints "ok NAME", "FAILED NAME: why" or "skipped NAME: why" for
each of them, and at the end: N passed, N failed, N skipped."""
import fnmatch
import os
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True

import cli
import qemu
from image import Missing
from procs import Failure
from testbed import Bench, Skip, scenarios
import scenarios_app  # noqa: F401  (importing lists their scenarios)
import scenarios_apps  # noqa: F401
import scenarios_bench  # noqa: F401
import scenarios_capture  # noqa: F401
import scenarios_channel  # noqa: F401
import scenarios_channel_ends  # noqa: F401
import scenarios_channel_guests  # noqa: F401
import scenarios_channel_stock  # noqa: F401
import scenarios_credit  # noqa: F401
import scenarios_daemon  # noqa: F401
import scenarios_device  # noqa: F401
import scenarios_dropin  # noqa: F401
import scenarios_dropin_device  # noqa: F401
import scenarios_dropin_programs  # noqa: F401
import scenarios_dropin_services  # noqa: F401
import scenarios_hostile  # noqa: F401
import scenarios_hugepages  # noqa: F401
import scenarios_kernel  # noqa: F401
import scenarios_loopback  # noqa: F401
import scenarios_packed  # noqa: F401
import scenarios_pause  # noqa: F401
import scenarios_multi_queue  # noqa: F401
import scenarios_pmd  # noqa: F401
import scenarios_recovery  # noqa: F401
import scenarios_region  # noqa: F401
import scenarios_vm  # noqa: F401
import scenarios_vsock  # noqa: F401
import scenarios_vsock_test  # noqa: F401


def say(verdict, name, seconds, text):
    """In the words of ./run vmtest."""
    if verdict == 'passed':
        print(f'ok {name} ({seconds:.1f} s)' + (f': {text}' if text else ''), flush=True)
    else:
        print(f'{"FAILED" if verdict == "failed" else verdict} {name}: {text}', flush=True)


def say_as_test(verdict, name, seconds, text):
    """In cmocka's, which tests/summary.py counts."""
    words = {'passed': '      OK', 'failed': ' FAILED ', 'skipped': 'SKIPPED '}
    print(f'[ RUN      ] {name}\n{text or ""}\n[ {words[verdict]} ] {name}', flush=True)


def one(bench, scenario, tell=say):
    """'passed', 'failed' or 'skipped'."""
    name = bench.current = scenario.name
    bench.which = scenario.kernel
    begin, sizes = time.monotonic(), bench.log_sizes()
    try:
        note = scenario.function(bench)
        tell('passed', name, time.monotonic() - begin, note)
        return 'passed'
    except Skip as why:
        tell('skipped', name, 0, why)
        return 'skipped'
    except Failure as why:
        text = str(why)
    except Exception:  # a scenario may fail in any way; the others go on
        text = traceback.format_exc()
    finally:
        bench.temporary.close()
    bench.drop_shared()
    tell('failed', name, 0, f'{text}\n  logs: {bench.logs}{bench.logged_since(sizes)}')
    return 'failed'


def misused(text):
    cli.say(text)
    sys.exit(2)


def choose(names):
    """The scenarios called so; where a name is none, those that begin with it or match it."""
    every, chosen = scenarios(), set()
    for n in names:
        hits = [s for s in every if s.name == n] \
            or [s for s in every if fnmatch.fnmatchcase(s.name, n if '*' in n else n + '*')]
        if not hits:
            misused(f'no scenario is called {n}; --list shows them')
        chosen.update(hits)
    return [s for s in every if not names or s in chosen]


def of_kernels(kernels):
    every = scenarios()
    unknown = set(kernels) - {s.kernel for s in every}
    if unknown:
        misused(f'no scenario has the kernel {unknown.pop()}; there are {", ".join(sorted({s.kernel for s in every}))}')
    return [s for s in every if s.kernel in kernels]


def as_test(build, kernel):
    """Runs what has @kernel, and ends the program."""
    bench = Bench(build, f'logs-{kernel}')
    verdicts = []
    try:
        bench.which = kernel
        bench.kernel()
        for s in scenarios():
            if s.kernel == kernel:
                verdicts.append(one(bench, s, say_as_test))
    except Skip as why:
        print(why)
        sys.exit(77)
    finally:
        bench.close()
    sys.exit(1 if 'failed' in verdicts else 0)


def fetch_qemu(vmdir):
    try:
        print(' '.join(qemu.fetch(vmdir)))
    except Missing as why:
        sys.exit(f'vmtest: {why}')


def parse():
    p = cli.parser('vmtest', '[NAME... | --kernel KERNEL,... | --list | --fetch-qemu]', __doc__)
    p.add_argument('names', metavar='NAME', nargs='*', help='scenarios to run; also the beginning of a name, or a pattern with *')
    one_of = p.add_mutually_exclusive_group()
    one_of.add_argument('--kernel', metavar='KERNEL,...', help='run the scenarios with these kernels: stable, backports, uml')
    one_of.add_argument('--list', action='store_true', help='list the scenarios, and what must hold in each')
    one_of.add_argument('--fetch-qemu', action='store_true',
                        help='download a newer QEMU into BUILDDIR/vm, for the scenarios of one device with many queues')
    one_of.add_argument('--test', metavar='KERNEL', help="run the scenarios with that kernel and print cmocka's lines, "
                        'as a test of ./run test; exit code 77 when there is no such kernel')
    options = p.parse_intermixed_args()
    if options.names and (options.kernel or options.list or options.fetch_qemu or options.test):
        p.error('NAME goes with none of the options')
    return options


def main():
    options = parse()
    build = options.build
    chosen = of_kernels(options.kernel.split(',')) if options.kernel else choose(options.names)
    cli.checked()
    if options.fetch_qemu:
        fetch_qemu(os.path.join(build, 'vm'))
        return
    if options.list:
        for s in scenarios():
            print(f'{s.name:45} {s.says}')
        return
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    if options.test:
        of_kernels([options.test])
        as_test(build, options.test)
    bench = Bench(build)
    count = {'passed': 0, 'failed': 0, 'skipped': 0}
    try:
        for chosen_one in chosen:
            count[one(bench, chosen_one)] += 1
    finally:
        bench.close()
    print(', '.join(f'{n} {verdict}' for verdict, n in count.items()))
    sys.exit(1 if count['failed'] else 0)


if __name__ == '__main__':
    main()
