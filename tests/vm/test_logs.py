#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Two runs of the tests with VMs in one build directory: each keeps its own logs.

usage: test_logs.py
"""
import os
import sys
import tempfile

sys.dont_write_bytecode = True

import testbed


def names(build):
    return sorted(f for f in os.listdir(os.path.join(build, 'vm')) if not f.endswith('.lock'))


def begin(build):
    """A run, with a log in it."""
    run = testbed.Bench(build)
    with open(run.log_path('a'), 'w', encoding='utf-8') as f:
        f.write(run.logs)
    return run


def logged(run):
    with open(run.log_path('a'), encoding='utf-8') as f:
        return f.read() == run.logs


def two_runs_have_their_own_logs(build):
    one = begin(build)
    two, three = begin(build), begin(build)
    assert names(build) == ['logs', 'logs-2', 'logs-3'], names(build)
    assert logged(one) and logged(two) and logged(three)
    two.close()
    assert begin(build).logs == two.logs, 'the first that is free'
    assert logged(one) and logged(three)


def one_run_after_another_has_the_same(build):
    for _ in range(3):
        run = testbed.Bench(build)
        assert not os.listdir(run.logs), 'the logs of the run before'
        with open(run.log_path('b'), 'w', encoding='utf-8'):
            pass
        run.close()
    assert names(build) == ['logs'], names(build)


for case in two_runs_have_their_own_logs, one_run_after_another_has_the_same:
    print(f'[ RUN      ] {case.__name__}')
    with tempfile.TemporaryDirectory() as folder:
        case(folder)
    print(f'[       OK ] {case.__name__}')
