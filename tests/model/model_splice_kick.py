# SPDX-License-Identifier: BSD-3-Clause
"""A splice's kick (host-dpdk/daemon/relay/splice.c): one side advances head and tells the other by a message,
unless one is under way. If the other waits for ever, it was not told of the last change."""
from steps import (Model, at, branch, check, exchange, goto, label, let, load, sleep_on, store, system)

LIFE, DATA = 'host-dpdk/daemon/relay/splice.c', 'host-dpdk/daemon/relay/splice_data.c'


def side(changes):
    steps = []
    for i in range(1, changes + 1):
        steps += [
            store(f'slot{i}', i),
            at(DATA, 'splice_lend'),
            store('head', i, '__atomic_store_n(&s->head, head, __ATOMIC_RELEASE)'),
            at(LIFE, 'splice_kick'),
            exchange('was', 'kicked', lambda was: 1,
                     '__atomic_exchange_n(&to->kicked, true, __ATOMIC_RELEASE)'),
            branch(lambda was: was, f'kicked {i}'),
            system('mail', lambda n: n + 1, 'lcore_post(lc, posted, to)'),
            label(f'kicked {i}'),
        ]
    return steps


def other(changes, clear):
    how = {
        'exchange': exchange('was', 'kicked', lambda was: 0,
                             '__atomic_exchange_n(&s->kicked, false, __ATOMIC_ACQUIRE)'),
        'store': {**store('kicked', 0), 'order': 'sc'},
    }
    late = [how['exchange']] if clear == 'late' else []
    return [
        label('wait'),
        sleep_on('mail'),
        at(LIFE, 'posted'),
        *([how[clear]] if clear in how else []),
        at(DATA, 'copy_all'),
        load('h', 'head', '__atomic_load_n(&from->head, __ATOMIC_ACQUIRE)'),
        label('copy'),
        branch(lambda h, t: h == t, 'copied'),
        let('t', lambda t: t + 1),
        load('v', lambda t: f'slot{t}'),
        check(lambda v, t: v == t, 'a buffer is read before it is there'),
        goto('copy'),
        label('copied'),
        at(LIFE, 'posted'),
        *late,
        branch(lambda t: t < changes, 'wait'),
    ]


def threads(changes=3, clear='exchange'):
    return {'side': side(changes), 'other': other(changes, clear)}


MODEL = Model(
    'splice_kick', 'P', 'the other side learns of every change',
    memory={'head': 0, 'kicked': 0, 'mail': 0, **{f'slot{i}': 0 for i in (1, 2, 3)}},
    threads=threads, init={'other': {'t': 0}},
    breaks=[('cleared by a seq_cst store', {'clear': 'store'}),
            ('cleared after the look', {'clear': 'late'})])
