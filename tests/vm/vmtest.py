#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs the scenarios of the VM tests; prints "ok NAME", "FAILED NAME: why" or "skipped NAME: why" for
each of them, and at the end: N passed, N failed, N skipped.

usage: vmtest.py BUILDDIR [NAME...]      a NAME may be the beginning of one
       vmtest.py BUILDDIR --list
"""
import os
import signal
import sys
import time
import traceback

sys.dont_write_bytecode = True

from procs import Failure
from world import SCENARIOS, Bench, Skip
import scenarios_app  # noqa: F401  (importing lists its scenarios)


def one(bench, function):
    """'passed', 'failed' or 'skipped'."""
    name = bench.current = function.__name__
    begin = time.monotonic()
    try:
        function(bench)
        print(f'ok {name} ({time.monotonic() - begin:.1f} s)', flush=True)
        return 'passed'
    except Skip as why:
        print(f'skipped {name}: {why}', flush=True)
        return 'skipped'
    except Failure as why:
        text = str(why)
    except Exception:  # a scenario may fail in any way; the others go on
        text = traceback.format_exc()
    finally:
        bench.temporary.close()
    bench.drop_shared()
    print(f'FAILED {name}: {text}\n  logs: {bench.logs}', flush=True)
    return 'failed'


def choose(names):
    chosen = [f for f in SCENARIOS
              if not names or any(f.__name__.startswith(n) for n in names)]
    for n in names:
        if not any(f.__name__.startswith(n) for f in SCENARIOS):
            sys.exit(f'vmtest: no scenario is called {n}; --list shows them')
    return chosen


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    if names == ['--list']:
        for f in SCENARIOS:
            print(f'{f.__name__:32} {f.__doc__.splitlines()[0]}')
        return
    chosen = choose(names)
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    bench = Bench(build)
    for old in os.listdir(bench.logs):
        os.remove(os.path.join(bench.logs, old))
    count = {'passed': 0, 'failed': 0, 'skipped': 0}
    try:
        for function in chosen:
            count[one(bench, function)] += 1
    finally:
        bench.close()
    print(', '.join(f'{n} {verdict}' for verdict, n in count.items()))
    sys.exit(1 if count['failed'] else 0)


if __name__ == '__main__':
    main()
