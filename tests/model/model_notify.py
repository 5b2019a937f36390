# SPDX-License-Identifier: BSD-3-Clause
"""Notifications of a split ring, each way and by each means. The publisher offers entries in bursts; the
sleeper takes them, arms and sleeps until it has all. If it sleeps for ever, a wake-up was lost."""
from steps import (Model, at, branch, check, eventfd_write, goto, label, let, load, mb, sleep_on, store)

SPLIT = 'host-dpdk/backend/ring/vhost_ring_split.h'

BURSTS = (1, 2, 1)
ALL = sum(BURSTS)
MOD = 16          # of the indices; the code's is 2^16
NEVER = 1         # of the flag: NO_NOTIFY, NO_INTERRUPT


def wanted(event, new, old):
    return (new - event - 1) % MOD < (new - old) % MOD


PUBLISH = {  # (store of the index, barrier, look at the event index, at the flag), each with its place
    'kick': ((at('guest-pmd/virtqueue_split.c', 'split_publish'),
              'shm_store_release16(&s->avail->idx, vq->posted)'),
             (at('guest-pmd/virtqueue_split.c', 'split_publish'), 'shm_mb()'),
             (at('guest-pmd/virtqueue_split.c', 'split_publish'), 'shm_load16(avail_event(vq))'),
             (at('guest-pmd/virtqueue_split.c', 'split_publish'), 'shm_load16(&s->used->flags)')),
    'interrupt': ((at(SPLIT, 'vhost_split_publish'),
                   'shm_store_release16(&used->idx, htole16(r->split.used_idx))'),
                  (at('host-dpdk/backend/pair/vhost_pair.c', 'notify'), 'shm_mb()'),
                  (at(SPLIT, 'vhost_split_want_call'),
                   'shm_load16(&avail->ring[r->area.size])'),
                  (at(SPLIT, 'vhost_split_want_call'), 'shm_load16(&avail->flags)')),
}
SLEEP = {  # (look, wish by event index, wish by flag, barrier, last look, wish not to be told)
    'kick': ((at(SPLIT, 'vhost_split_refresh'), 'shm_load_acquire16(&avail->idx)'),
             (at(SPLIT, 'vhost_split_arm'),
              'shm_store16((uint16_t *)(void *)&used->ring[r->area.size], htole16(event))'),
             (at(SPLIT, 'vhost_split_arm'), 'shm_store16(&used->flags, 0)'),
             (at('host-dpdk/backend/pair/vhost_pair.c', 'arm'), 'shm_mb()'),
             (at(SPLIT, 'vhost_split_refresh'), 'shm_load_acquire16(&avail->idx)'),
             (at(SPLIT, 'vhost_split_disarm'),
              'shm_store16(&used->flags, htole16(VRING_USED_F_NO_NOTIFY))')),
    'interrupt': ((at('guest-pmd/virtqueue_split.c', 'split_refresh'),
                   'shm_load_acquire16(&s->used->idx)'),
                  (at('guest-pmd/virtqueue_split.c', 'notify_at'),
                   'shm_store16(used_event(vq), event)'),
                  (at('guest-pmd/virtqueue_split.c', 'notify_at'),
                   'shm_store16(&s->avail->flags, event)'),
                  (at('guest-pmd/virtqueue_split.c', 'split_arm'), 'shm_mb()'),
                  (at('guest-pmd/virtqueue_split.c', 'split_arm'),
                   'shm_load16(&split_of(vq)->used->idx)'),
                  (at('guest-pmd/virtqueue_split.c', 'notify_at'),
                   'shm_store16(&s->avail->flags, event)')),
}


def burst(way, event_idx, old, new):
    index, barrier, event, flag = PUBLISH[way]
    look = event if event_idx else flag
    told = f'told {new}'
    return [
        *[store(f'entry{i}', i) for i in range(old + 1, new + 1)],
        index[0], store('idx', new, index[1]),
        barrier[0], mb(barrier[1]),
        look[0], load('wish', 'wish', look[1]),
        branch((lambda wish: not wanted(wish, new, old)) if event_idx else (lambda wish: wish == NEVER), told),
        eventfd_write('eventfd'),
        label(told),
    ]


def publisher(way, event_idx):
    steps, old = [], 0
    for n in BURSTS:
        steps += burst(way, event_idx, old, old + n)
        old += n
    return steps


def sleeper(way, event_idx, last_look):
    look, by_event, by_flag, barrier, last, never = SLEEP[way]
    wish = by_event if event_idx else by_flag
    again = [last[0], load('i', 'idx', last[1]), branch(lambda i, u: i != u, 'awake')]
    not_wanted = [] if event_idx else [never[0], store('wish', NEVER, never[1])]
    return [
        label('look'),
        look[0], load('i', 'idx', look[1]),
        branch(lambda i, u: i == u, 'arm'),
        label('take'),
        let('u', lambda u: u + 1),
        load('v', lambda u: f'entry{u}'),
        check(lambda u, v: u == v, 'an entry is taken before it is there'),
        branch(lambda i, u: i != u, 'take'),
        branch(lambda u: u == ALL, 'end'),
        goto('look'),
        label('arm'),
        wish[0], store('wish', (lambda u: u) if event_idx else 0, wish[1]),
        barrier[0], mb(barrier[1]),
        *(again if last_look else []),
        sleep_on('eventfd'),
        label('awake'),
        *not_wanted,
        goto('look'),
        label('end'),
    ]


def threads(way='kick', event_idx=True, last_look=True):
    return {'publisher': publisher(way, event_idx), 'sleeper': sleeper(way, event_idx, last_look)}


# The flag begins as "never", an event index as one that has been passed.
MODEL = Model(
    'notify', 'ABC', 'no entry too early, no lost wake-up',
    memory={'idx': 0, 'wish': lambda event_idx=True, **_: MOD - 1 if event_idx else NEVER, 'eventfd': 0,
            **{f'entry{i}': 0 for i in range(1, ALL + 1)}},
    threads=threads, init={'sleeper': {'u': 0}},
    holds=[('kick by event index', {}), ('kick by flag', {'event_idx': False}),
           ('interrupt by event index', {'way': 'interrupt'}),
           ('interrupt by flag', {'way': 'interrupt', 'event_idx': False})],
    breaks=[('kick, no last look before the sleep', {'last_look': False}),
            ('interrupt, no last look before the sleep', {'way': 'interrupt', 'last_look': False})])
