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
from world import Bench, Skip, scenarios
import scenarios_app  # noqa: F401  (importing lists their scenarios)
import scenarios_capture  # noqa: F401
import scenarios_credit  # noqa: F401
import scenarios_daemon  # noqa: F401
import scenarios_hostile  # noqa: F401
import scenarios_hugepages  # noqa: F401
import scenarios_kernel  # noqa: F401
import scenarios_loopback  # noqa: F401
import scenarios_pause  # noqa: F401
import scenarios_pmd  # noqa: F401
import scenarios_vm  # noqa: F401


def one(bench, scenario):
    """'passed', 'failed' or 'skipped'."""
    name = bench.current = scenario.name
    bench.backports = scenario.backports
    begin = time.monotonic()
    try:
        note = scenario.function(bench)
        print(f'ok {name} ({time.monotonic() - begin:.1f} s)' + (f': {note}' if note else ''),
              flush=True)
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
    """The scenarios called so; where a name is none, those that begin with it."""
    every, chosen = scenarios(), set()
    for n in names:
        hits = [s for s in every if s.name == n] or [s for s in every if s.name.startswith(n)]
        if not hits:
            sys.exit(f'vmtest: no scenario is called {n}; --list shows them')
        chosen.update(hits)
    return [s for s in every if not names or s in chosen]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    build, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    if names == ['--list']:
        for s in scenarios():
            print(f'{s.name:45} {s.says}')
        return
    chosen = choose(names)
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    bench = Bench(build)
    for old in os.listdir(bench.logs):
        os.remove(os.path.join(bench.logs, old))
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
