# SPDX-License-Identifier: BSD-3-Clause
"""The two ends of a splice. A side that ends takes its buffers back, which the other may be copying from;
and a side that ends while the other begins must be noticed by it, or notice it."""
from steps import Model, at, branch, check, eventfd_write, goto, label, load, sleep_on, store

LIFE, DATA, HEADER = ('host-dpdk/daemon/relay/splice.c', 'host-dpdk/daemon/relay/splice_data.c',
                      'host-dpdk/daemon/relay/splice_int.h')
STATE = '__atomic_load_n(&s->state, __ATOMIC_SEQ_CST)'


def ends(waits):
    wait = [
        label('wait'),
        load('b', 'busy', '__atomic_load_n(&s->busy, __ATOMIC_SEQ_CST)'),
        branch(lambda b: b, 'wait'),
    ]
    return [
        at(LIFE, 'end'),
        store('state', 'dead', '__atomic_store_n(&s->state, state, __ATOMIC_SEQ_CST)'),
        *(wait if waits else []),
        store('slot', 'given back'),
        at(LIFE, 'splice_kick'),
        # The load of busy, also sequentially consistent, lies between the store and this one.
        load('lc', 'lc', '__atomic_load_n(&to->lc, __ATOMIC_SEQ_CST)', need='rlx' if waits else None),
        branch(lambda lc: lc is None, 'over'),
        eventfd_write('kick'),
        label('over'),
    ]


def begins_and_copies(rounds):
    return [
        at(LIFE, 'splice_connect'),
        store('lc', 1, '__atomic_store_n(&s->lc, gq->lc, __ATOMIC_SEQ_CST)'),
        at(HEADER, 'splice_state'),
        load('st', 'state', STATE),
        branch(lambda st: st == 'dead', 'over'),
        *[step for i in range(rounds) for step in copies(i)],
        label('idle'),  # until it is kicked: the other side has ended
        sleep_on('kick'),
        load('st', 'state', STATE),
        branch(lambda st: st != 'dead', 'idle'),
        label('over'),
    ]


def copies(i):
    return [
        at(DATA, 'splice_copy'),
        store('busy', 1, '__atomic_store_n(&from->busy, 1, __ATOMIC_SEQ_CST)'),
        at(HEADER, 'splice_state'),
        load('st', 'state', STATE),
        branch(lambda st: st == 'dead', f'out {i}'),
        load('v', 'slot'),
        check(lambda v: v == 'lent', 'the other side copies from a buffer that was given back'),
        label(f'out {i}'),
        at(DATA, 'splice_copy'),
        store('busy', 0, '__atomic_store_n(&from->busy, 0, __ATOMIC_RELEASE)'),
        at(HEADER, 'splice_state'),
    ]


def threads(waits=True, rounds=2):
    return {'side': ends(waits), 'other': begins_and_copies(rounds)}


MODEL = Model(
    'splice_end', 'E', 'no buffer is copied after it was given back, no end goes unnoticed',
    memory={'state': 'up', 'busy': 0, 'lc': None, 'slot': 'lent', 'kick': 0},
    threads=threads,
    breaks=[('the side that ends does not wait', {'waits': False})])
