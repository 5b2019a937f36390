#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Does machine.py know its machines? Litmus tests with their known verdicts: those of the x86-TSO and
the Armv8 memory model for what gcc makes of the accesses (herd7 says the same).

usage: litmus.py
"""
import sys

sys.dont_write_bytecode = True

import check
import steps
from steps import (Model, branch, exchange, label, let, load, mb, membarrier, store, system)

RLX, ACQ, REL, SC = '__ATOMIC_RELAXED', '__ATOMIC_ACQUIRE', '__ATOMIC_RELEASE', '__ATOMIC_SEQ_CST'
ACQ_REL = '__ATOMIC_ACQ_REL'


def W(addr, val, order=RLX):
    return store(addr, val, order)


def R(reg, addr, order=RLX):
    return load(reg, addr, order)


def X(reg, addr, val, order):
    return {**exchange(reg, addr, None, order), 'val': eval(f'lambda {reg}: {val}')}  # pylint: disable=eval-used


MB = mb('fence')

# name: (threads, the outcome in question, is it possible on x86-64, on aarch64, and
# with C11 if that is not the same). Registers of all
# threads have different names; a thread puts what the outcome asks for into memory when it is over.
TESTS = {
    'store buffering': ([[W('x', 1), R('a', 'y')], [W('y', 1), R('b', 'x')]],
                        lambda a, b: a == b == 0, True, True),
    'store buffering, fences': ([[W('x', 1), MB, R('a', 'y')], [W('y', 1), MB, R('b', 'x')]],
                                lambda a, b: a == b == 0, False, False),
    'store buffering, one fence': ([[W('x', 1), MB, R('a', 'y')], [W('y', 1), R('b', 'x')]],
                                   lambda a, b: a == b == 0, True, True),
    'store buffering, release and acquire': (
        [[W('x', 1, REL), R('a', 'y', ACQ)], [W('y', 1, REL), R('b', 'x', ACQ)]],
        lambda a, b: a == b == 0, True, True),
    'store buffering, seq_cst': ([[W('x', 1, SC), R('a', 'y', SC)], [W('y', 1, SC), R('b', 'x', SC)]],
                                 lambda a, b: a == b == 0, False, False),
    'store buffering, seq_cst stores, acquire loads': (
        [[W('x', 1, SC), R('a', 'y', ACQ)], [W('y', 1, SC), R('b', 'x', ACQ)]],
        lambda a, b: a == b == 0, False, True),
    'store buffering, releases, seq_cst loads': (
        [[W('x', 1, REL), R('a', 'y', SC)], [W('y', 1, REL), R('b', 'x', SC)]],
        lambda a, b: a == b == 0, True, False, True),
    'store buffering, exchanges that acquire and release': (
        [[X('o', 'x', 1, ACQ_REL), R('a', 'y', SC)], [X('p', 'y', 1, ACQ_REL), R('b', 'x', SC)]],
        lambda a, b: a == b == 0, False, False, True),
    'store buffering, exchanges': (
        [[X('o', 'x', 1, SC), R('a', 'y', SC)], [X('p', 'y', 1, SC), R('b', 'x', SC)]],
        lambda a, b: a == b == 0, False, False),
    'store buffering, exchanges, relaxed loads': (
        [[X('o', 'x', 1, SC), R('a', 'y')], [X('p', 'y', 1, SC), R('b', 'x')]],
        lambda a, b: a == b == 0, False, True),
    'store buffering, membarrier': ([[W('x', 1), R('a', 'y')], [W('y', 1), membarrier('m'), R('b', 'x')]],
                                    lambda a, b: a == b == 0, False, False),
    'three threads, membarrier': (
        [[W('x', 1), R('a', 'y')], [W('y', 1), membarrier('m'), R('b', 'x'), R('c', 'z')],
         [W('z', 1), R('d', 'y')]],
        lambda a, b, c, d: a == b == 0 or c == d == 0, False, False),
    'message passing': ([[W('x', 1), W('y', 1)], [R('a', 'y'), R('b', 'x')]],
                        lambda a, b: (a, b) == (1, 0), False, True),
    'message passing, release': ([[W('x', 1), W('y', 1, REL)], [R('a', 'y'), R('b', 'x')]],
                                 lambda a, b: (a, b) == (1, 0), False, True),
    'message passing, acquire': ([[W('x', 1), W('y', 1)], [R('a', 'y', ACQ), R('b', 'x')]],
                                 lambda a, b: (a, b) == (1, 0), False, True),
    'message passing, release and acquire': (
        [[W('x', 1), W('y', 1, REL)], [R('a', 'y', ACQ), R('b', 'x')]],
        lambda a, b: (a, b) == (1, 0), False, False),
    'message passing, release and branch': (
        [[W('x', 1), W('y', 1, REL)],
         [R('a', 'y'), branch(lambda a: a == 0, 'end'), R('b', 'x'), label('end')]],
        lambda a, b: (a, b) == (1, 0), False, True),
    'message passing, release and address': (
        [[W('x', 1), W('y', 1, REL)], [R('a', 'y'), load('b', lambda a: 'x' if a else 'y', RLX)]],
        lambda a, b: (a, b) == (1, 0), False, False),
    'message passing, release and exchange that acquires': (
        [[W('x', 1), W('y', 1, REL)], [X('a', 'y', 2, ACQ), R('b', 'x')]],
        lambda a, b: (a, b) == (1, 0), False, False),
    'message passing, exchange that releases': (
        [[W('x', 1), X('o', 'y', 1, REL)], [R('a', 'y', ACQ), R('b', 'x')]],
        lambda a, b: (a, b) == (1, 0), False, False),
    'message passing, exchange that only acquires': (
        [[W('x', 1), X('o', 'y', 1, ACQ)], [R('a', 'y', ACQ), R('b', 'x')]],
        lambda a, b: (a, b) == (1, 0), False, True),
    'load buffering': ([[R('a', 'x'), W('y', 1)], [R('b', 'y'), W('x', 1)]],
                       lambda a, b: a == b == 1, False, True),
    'load buffering, releases': ([[R('a', 'x'), W('y', 1, REL)], [R('b', 'y'), W('x', 1, REL)]],
                                 lambda a, b: a == b == 1, False, False),
    'load buffering, data': ([[R('a', 'x'), store('y', lambda a: a, RLX)],
                              [R('b', 'y'), store('x', lambda b: b or 1, RLX)]],
                             lambda a, b: a == b == 1, False, False),
    'load buffering, branches': (
        [[R('a', 'x'), branch(lambda a: a == 0, 'end'), W('y', 1), label('end')],
         [R('b', 'y'), branch(lambda b: b == 0, 'else'), W('x', 1), label('else')]],
        lambda a, b: a == b == 1, False, False, True),
    'load buffering, a branch that is wrong': (
        [[R('a', 'x'), branch(lambda a: a == 0, 'end'), W('y', 1), label('end')], [R('b', 'y')]],
        lambda a, b: b == 1, False, False),
    'load buffering, one branch': (
        [[R('a', 'x'), branch(lambda a: a == 0, 'end'), W('y', 1), label('end')],
         [R('b', 'y', ACQ), store('x', lambda b: b, RLX)]],
        lambda a, b: a == b == 1, False, False, True),
    'coherence of two loads': ([[W('x', 1)], [R('a', 'x'), R('b', 'x')]],
                               lambda a, b: (a, b) == (1, 0), False, False),
    "a thread's own store": ([[W('x', 1), R('a', 'x'), R('b', 'y')], [W('y', 1), MB, R('c', 'x')]],
                             lambda a, b, c: (a, b, c) == (1, 0, 0), True, True),
    'two exchanges': ([[X('a', 'x', 1, RLX)], [X('b', 'x', 2, RLX)]],
                      lambda a, b: a == b == 0, False, False),
    'write to read causality': (
        [[W('x', 1)], [R('a', 'x'), store('y', lambda a: a, RLX)], [R('b', 'y', ACQ), R('c', 'x')]],
        lambda a, b, c: (a, b, c) == (1, 1, 0), False, False),
    'independent reads': (
        [[W('x', 1)], [W('y', 1)], [R('a', 'x', ACQ), R('b', 'y')], [R('c', 'y', ACQ), R('d', 'x')]],
        lambda a, b, c, d: (a, b, c, d) == (1, 0, 1, 0), False, False),
}


def possible(kind, threads, outcome):
    """Is there an execution at whose end @outcome is true?"""
    names = outcome.__code__.co_varnames[:outcome.__code__.co_argcount]
    memory = {'x': 0, 'y': 0, 'z': 0, 'over': 0, **{f'out_{n}': 0 for n in names}}
    programs = {}
    for i, t in enumerate(threads):
        mine = [s['reg'] for s in t if s.get('reg') in names]
        programs[f'thread {i}'] = (
            [let(n, lambda: -1) for n in mine] + t
            + [system(f'out_{n}', eval(f'lambda was, {n}: {n}')) for n in mine]  # pylint: disable=eval-used
            + [system('over', lambda n: n + 1)])
    judge = [system('over', lambda n: 0 if n == len(threads) else None)]
    judge += [load(n, f'out_{n}') for n in names] + [steps.check(
        eval(f'lambda {", ".join(names)}: not outcome({", ".join(names)})', {'outcome': outcome}), 'seen')]  # pylint: disable=eval-used
    programs['judge'] = judge
    model = Model('', '', '', memory, lambda: programs)
    verdict, _, _ = check.explore(model, kind, {})
    if verdict not in ('seen', 'holds'):
        raise AssertionError(verdict)
    return verdict == 'seen'


def main():
    check.usage.arguments()
    cases = check.Cases()
    for name, (threads, outcome, *known) in TESTS.items():
        known += known[-1:] if len(known) == 2 else []
        wrong = [f'{check.KINDS[kind]}: {"possible" if not want else "impossible"}, should not be'
                 for kind, want in zip(check.KINDS, known) if possible(kind, threads, outcome) != want]
        cases.case(f'litmus: {name}', wrong)
    sys.exit(1 if cases.bad else 0)


if __name__ == '__main__':
    main()
