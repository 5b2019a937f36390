# SPDX-License-Identifier: BSD-3-Clause
"""membarrier(2) is refused from now on (api/quiesce.c): a first thread that stops queues makes owners run
the barrier themselves, while a second one stops a queue whose owner may not have begun to. The pause is
a barrier in every thread, as that many context switches are."""
from steps import (Model, at, branch, check, exchange, goto, label, load, maybe, mb, membarrier, store)

HEADER, SOURCE = 'api/quiesce.h', 'api/quiesce.c'
PAUSE = membarrier(None)


def lost():
    return [
        at(SOURCE, 'barrier_lost'),
        exchange('was', 'owner_fence', lambda was: 1,
                 '__atomic_exchange_n(&quiesce_owner_fence, 1, __ATOMIC_SEQ_CST)', need='rlx'),
        PAUSE,
        store('fenced', 1, '__atomic_store_n(&fenced, 1, __ATOMIC_RELEASE)', need='rlx'),
    ]


def threads(asks_owners=False):
    flag = [load('f', 'owner_fence')] if asks_owners else [
        at(SOURCE, 'quiesce_barrier'),
        load('f', 'fenced', '__atomic_load_n(&fenced, __ATOMIC_ACQUIRE)', need='rlx')]
    return {
        'owner': [
            label('call'),
            at(HEADER, 'quiesce_enter'),
            store('busy', 1, '__atomic_store_n(&q->busy, 1, __ATOMIC_RELAXED)'),
            load('f', 'owner_fence'),
            branch(lambda f: not f, 'go on'),
            mb('__atomic_thread_fence(__ATOMIC_SEQ_CST)'),
            label('go on'),
            load('s', 'stop', '__atomic_load_n(&q->stop, __ATOMIC_ACQUIRE)'),
            branch(lambda s: s == 1, 'out'),
            load('a', 'map_a'),
            load('b', 'map_b'),
            check(lambda a, b: a == b, 'the owner uses a map that is being changed'),
            label('out'),
            at(HEADER, 'quiesce_leave'),
            store('busy', 0, '__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE)'),
            maybe('call'),
        ],
        'first': lost(),
        'second': [
            at(SOURCE, 'quiesce_stop'),
            store('stop', 1, '__atomic_store_n(&q->stop, 1, __ATOMIC_SEQ_CST)', need='rlx'),
            *flag,
            branch(lambda f: f, 'fence'),
            *lost(),
            goto('wait'),
            label('fence'),
            at(SOURCE, 'quiesce_barrier'),
            mb('shm_mb()'),
            label('wait'),
            at(SOURCE, 'quiesce_stop'),
            load('b', 'busy', '__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST)', need='acq'),
            branch(lambda b: b, 'wait'),
            store('map_a', 1),
            store('map_b', 1),
            at(SOURCE, 'quiesce_resume'),
            store('stop', 0, '__atomic_store_n(&q->stop, 0, __ATOMIC_RELEASE)'),
        ],
    }


MODEL = Model(
    'refused', 'Q', 'owner and control threads exclude each other while membarrier goes',
    memory={'busy': 0, 'stop': 0, 'owner_fence': 0, 'fenced': 0, 'map_a': 0, 'map_b': 0},
    threads=threads,
    breaks=[('the second thread relies on what owners are told to do', {'asks_owners': True})])
