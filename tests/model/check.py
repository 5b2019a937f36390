#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Explores the models named on the command line, or all; see steps.py and machine.py.

usage: check.py [NAME...]
"""
import importlib
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))

import machine
import steps
import usage  # noqa: E402  pylint: disable=wrong-import-position

KINDS = {'tso': 'x86-64', 'weak': 'aarch64', 'c11': 'C11'}
HERE = os.path.dirname(os.path.realpath(__file__))


def as_written(step):
    return step['order']


def as_needed(step):
    return step['need'] or step['order']


def explore(model, kind, flags, orders=as_written):
    threads = model.threads(**flags)
    program = {n: steps.compile_thread(s, kind, model.init.get(n, {}), orders)
               for n, s in threads.items()}
    memory = {v: x(**flags) if callable(x) else x for v, x in model.memory.items()}
    return machine.Machine(kind, memory, program, model.window).explore()


class Cases:
    """Prints verdicts in the form that cmocka prints."""

    def __init__(self):
        self.bad = 0

    def case(self, name, complaints):
        for text in complaints:
            print(text)
        print(f'[  FAILED  ] {name}' if complaints else f'[       OK ] {name}', flush=True)
        self.bad += bool(complaints)


def holds(model, flags, orders):
    """Complaints, and how many states there were."""
    wrong, sizes = [], []
    for kind, name in KINDS.items():
        verdict, states, trace = explore(model, kind, flags, orders)
        sizes.append(f'{name} {states}')
        if verdict != 'holds':
            wrong += [f'{name}: {verdict}', *trace]
    return wrong, ', '.join(sizes)


def breaks(model, flags, orders):
    """Complaints when it holds everywhere, and what went wrong where."""
    found = []
    for kind, name in KINDS.items():
        verdict, _, _ = explore(model, kind, flags, orders)
        if verdict.startswith('more than'):
            return [f'{name}: {verdict}'], ''
        if verdict != 'holds':
            found.append(f'{name}: {verdict}')
    return [] if found else ['it holds all the same, on all machines'], '; '.join(found)


def lowered(key, weaker):
    def orders(step):
        return weaker if step['key'] == key else as_needed(step)
    return orders


def run(model, cases):
    print(f'{model.name}: {"".join(f"[{p}]" for p in model.pairs)} {model.what}')
    cases.case(f'{model.name}: its steps are in the code', steps.not_in_code(model))
    for variant, flags in model.holds:
        name = model.name + (f', {variant}' if variant else '')
        wrong, size = holds(model, flags, as_written)
        cases.case(f'{name}: holds ({size} states)', wrong)
        wrong, size = holds(model, flags, as_needed)
        cases.case(f'{name}: holds with the orders that are needed', wrong)
        for (key, weaker), op in steps.mutations(model.threads(**flags)).items():
            how = 'taken out' if weaker in ('none', 'rlx') else f'weakened to {weaker}'
            wrong, found = breaks(model, flags, lowered(key, weaker))
            cases.case(f'{name}: {key[1]}: {key[2]} {how}: {found or "NOT FOUND"}',
                       wrong and wrong + [f'if the {op} needs no more, say so: need='])
    for what, flags in model.breaks:
        wrong, found = breaks(model, flags, as_written)
        cases.case(f'{model.name}: {what}: {found or "NOT FOUND"}', wrong)


def main():
    there = sorted(f[6:-3] for f in os.listdir(HERE) if f.startswith('model_') and f.endswith('.py'))
    names = usage.arguments() or there
    for name in names:
        if name not in there:
            print(f'there is no model {name}, only {", ".join(there)}', file=sys.stderr)
            sys.exit(2)
    sys.path.insert(0, HERE)
    cases = Cases()
    for name in names:
        begin = time.monotonic()
        run(importlib.import_module(f'model_{name}').MODEL, cases)
        print(f'{name}: {time.monotonic() - begin:.1f} s')
    sys.exit(1 if cases.bad else 0)


if __name__ == '__main__':
    main()
