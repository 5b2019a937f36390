# SPDX-License-Identifier: BSD-3-Clause
"""Stopping a queue (api/quiesce.h). The queue's owner goes in and out for ever; the control thread stops
it and changes what belongs to it, twice. Whoever is inside sees no half of the other's work."""
from steps import (Model, at, branch, check, goto, label, let, load, mb, membarrier, store)


def owner(fence):
    barrier = [mb('__atomic_thread_fence(__ATOMIC_SEQ_CST)')] if fence else []
    return [
        label('call'),
        at('api/quiesce.h', 'quiesce_enter'),
        store('busy', 1, '__atomic_store_n(&q->busy, 1, __ATOMIC_RELAXED)'),
        *barrier,
        load('s', 'stop', '__atomic_load_n(&q->stop, __ATOMIC_ACQUIRE)'),
        branch(lambda s: s == 0, 'inside'),
        store('busy', 0, '__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE)', need='rlx'),
        goto('call'),
        label('inside'),
        load('a', 'map_a'),
        load('b', 'map_b'),
        check(lambda a, b: a == b, 'the owner uses a map that is being changed'),
        let('n', lambda n: 1 - n),
        store('idx_a', lambda n: n),
        store('idx_b', lambda n: n),
        at('api/quiesce.h', 'quiesce_leave'),
        store('busy', 0, '__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE)'),
        goto('call'),
    ]


def control(fence, barrier):
    stop = []
    if barrier:
        stop = [at('api/quiesce.c', 'quiesce_barrier')] + ([mb('shm_mb()')] if fence else [membarrier('!barrier_everywhere()')])
    once = [
        at('api/quiesce.c', 'quiesce_stop'),
        store('stop', 1, '__atomic_store_n(&q->stop, 1, __ATOMIC_SEQ_CST)', need='rlx'),
        *stop,
        at('api/quiesce.c', 'quiesce_stop'),
        label('wait'),
        load('b', 'busy', '__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST)', need='acq'),
        branch(lambda b: b, 'wait'),
        load('a', 'idx_a'),
        load('b', 'idx_b'),
        check(lambda a, b: a == b, "the control thread does not see all of the owner's work"),
        store('map_a', lambda m: m),
        store('map_b', lambda m: m),
        at('api/quiesce.c', 'quiesce_resume'),
        store('stop', 0, '__atomic_store_n(&q->stop, 0, __ATOMIC_RELEASE)'),
    ]
    twice = [dict(s, name='wait again') if s.get('name') else dict(s, to='wait again') if s.get('to') else s
             for s in once]
    return [let('m', lambda: 1), *once, let('m', lambda: 2), *twice]


def threads(fence=False, barrier=True):
    return {'owner': owner(fence), 'control': control(fence, barrier)}


MODEL = Model(
    'quiesce', 'Q', 'owner and control thread exclude each other',
    memory=dict(busy=0, stop=0, map_a=0, map_b=0, idx_a=0, idx_b=0),
    threads=threads, init={'owner': {'n': 0}},
    holds=[('membarrier', {}), ('fences', {'fence': True})],
    breaks=[('no barrier at all', {'barrier': False})])
