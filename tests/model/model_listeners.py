# SPDX-License-Identifier: BSD-3-Clause
"""Listeners (api/socket/core/listener.c): linked and unlinked by one thread while a queue looks them up without a lock.
The queue uses no listener that is not complete, or that has been freed."""
from steps import Model, at, branch, check, goto, label, load, lock, maybe, membarrier, store, system, unlock

FILE, HEADER, QUIESCE = 'api/socket/core/listener.c', 'api/socket/core/listener.h', 'api/quiesce.h'
LOCK, UNLOCK = 'pthread_mutex_lock(&dev->closed_lock)', 'pthread_mutex_unlock(&dev->closed_lock)'


def control(counts_outside, barrier):
    outside = [
        *([at('api/quiesce.c', 'quiesce_barrier'), membarrier('!barrier_everywhere()')] if barrier else []),
        at('api/quiesce.c', 'quiesce_outside'),
        load('busy', 'busy', '__atomic_load_n(&q->busy, __ATOMIC_SEQ_CST)', need='acq'),
        branch(lambda busy: not busy, 'free'),
    ] if counts_outside else []
    return [
        store('port', 'new'),
        at(FILE, 'listener_link'),
        store('head', 'l', '__atomic_store_n(head, l, __ATOMIC_RELEASE)'),
        at(FILE, 'listener_unlink'),
        store('head', None, '__atomic_store_n(pp, l->next, __ATOMIC_RELEASE)', need='rlx'),
        lock('lock', LOCK),
        system('gen', lambda n: n + 1, '__atomic_fetch_add(&dev->listen_gen, 1, __ATOMIC_ACQ_REL)'),
        store('closed', 1),
        unlock('lock', UNLOCK),
        label('reap'),
        at(FILE, 'listeners_reap'),
        lock('lock', LOCK),
        load('acked', 'acked'),
        branch(lambda acked: acked, 'free'),
        *outside,
        at(FILE, 'listeners_reap'),
        unlock('lock', UNLOCK),
        goto('reap'),
        label('free'),
        store('port', 'freed'),
        unlock('lock', UNLOCK),
    ]


def queue():
    return [
        label('call'),
        at(QUIESCE, 'quiesce_enter'),
        store('busy', 1, '__atomic_store_n(&q->busy, 1, __ATOMIC_RELAXED)'),
        at(FILE, 'listener_find'),
        load('l', 'head', '__atomic_load_n(bucket(dev, space, port), __ATOMIC_ACQUIRE)'),
        branch(lambda l: l is None, 'sync'),
        load('p', 'port'),
        check(lambda p: p == 'new', 'a listener is used that is not there'),
        load('p', 'port'),
        check(lambda p: p == 'new', 'a listener is used that is not there any more'),
        label('sync'),
        maybe('leave'),  # zv_set_accept
        at(HEADER, 'listener_closed'),
        load('g', 'gen', '__atomic_load_n(&q->dev->listen_gen, __ATOMIC_ACQUIRE)', need='rlx'),
        branch(lambda g: g == 0, 'leave'),
        at(FILE, 'listener_closed_next'),  # the first call finds the listener, the second counts the queue
        lock('lock', LOCK),
        load('closed', 'closed'),
        unlock('lock', UNLOCK),
        branch(lambda closed: not closed, 'leave'),
        lock('lock', LOCK),
        store('acked', 1),
        unlock('lock', UNLOCK),
        label('leave'),
        at(QUIESCE, 'quiesce_leave'),
        store('busy', 0, '__atomic_store_n(&q->busy, 0, __ATOMIC_RELEASE)'),
        maybe('call'),
    ]


def threads(counts_outside=True, barrier=True):
    return {'control': control(counts_outside, barrier), 'queue': queue()}


MODEL = Model(
    'listeners', 'L', 'no listener is used before it is complete or after it is freed',
    memory={'head': None, 'port': None, 'gen': 0, 'closed': 0, 'acked': 0, 'lock': 0, 'busy': 0},
    threads=threads,
    breaks=[('a queue outside is counted without a barrier', {'barrier': False})])
