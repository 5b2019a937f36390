# SPDX-License-Identifier: BSD-3-Clause
"""A slot of the watched ranges (api/sigbus.c), changed while the signal handler reads it: the copy
that the handler uses is of one range."""
from steps import Model, at, branch, check, label, let, load, store

FILE = 'api/sigbus.c'


def writer(changes, whole):
    steps = [at(FILE, 'slot_write')]
    for i in range(1, changes + 1):
        steps += [
            let('gen', lambda gen: gen + 1),
            *([store('gen', lambda gen: gen, '__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_SEQ_CST)',
                     need='rel')] if whole else []),
            store('addr', i, '__atomic_store_n(&s->addr, addr, __ATOMIC_SEQ_CST)', need='rel'),
            store('len', i, '__atomic_store_n(&s->len, len, __ATOMIC_SEQ_CST)', need='rel'),
            store('fault', i, '__atomic_store_n(&s->fault, fault, __ATOMIC_SEQ_CST)', need='rel'),
            let('gen', lambda gen: gen + 1),
            store('gen', lambda gen: gen, '__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_SEQ_CST)',
                  need='rel'),
        ]
    return steps


def handler(compare):
    return [
        at(FILE, 'slot_read'),
        load('gen', 'gen', 'copy->gen = __atomic_load_n(&s->gen, __ATOMIC_SEQ_CST)', need='acq'),
        load('a', 'addr', '__atomic_load_n(&s->addr, __ATOMIC_SEQ_CST)', need='acq'),
        load('n', 'len', '__atomic_load_n(&s->len, __ATOMIC_SEQ_CST)', need='acq'),
        load('f', 'fault', '__atomic_load_n(&s->fault, __ATOMIC_SEQ_CST)', need='acq'),
        load('again', 'gen', 'copy->gen == __atomic_load_n(&s->gen, __ATOMIC_SEQ_CST)', need='rlx'),
        branch(lambda gen: gen % 2, 'passed over'),
        *([branch(lambda gen, again: gen != again, 'passed over')] if compare else []),
        check(lambda a, n, f: a == n == f, 'the copy is of no range'),
        label('passed over'),
    ]


def threads(changes=2, whole=True, compare=True):
    return {'writer': writer(changes, whole), 'handler': handler(compare)}


MODEL = Model(
    'sigbus', 'F', 'the handler uses a slot only as it was between two changes',
    memory={'gen': 0, 'addr': 0, 'len': 0, 'fault': 0},
    threads=threads, init={'writer': {'gen': 0}},
    breaks=[('the generation is not odd meanwhile', {'whole': False}),
            ('the generation is not looked at again', {'compare': False})])
