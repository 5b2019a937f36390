# SPDX-License-Identifier: BSD-3-Clause
"""Notifications of a packed ring, each way and by each means. There is no index: a descriptor says itself that
it is there, and the first of a burst is written last. The publisher offers entries in bursts; the sleeper
takes them, arms and sleeps until it has all. If it sleeps for ever, a wake-up was lost."""
from steps import (Model, at, branch, check, eventfd_write, goto, label, let, load, mb, sleep_on, store)

DEVICE, DRIVER, PAIR = ('host-dpdk/backend/ring/vhost_ring_packed.h', 'guest-pmd/virtqueue_packed.c',
                        'host-dpdk/backend/pair/vhost_pair.c')

BURSTS = (1, 2, 1)
ALL = sum(BURSTS)
NEVER, ALWAYS = 0, -1  # what a sleeper can want beside the number of a descriptor

PUBLISH = {  # (store of all but the first, of the first, barrier, look at the wish), each with its place
    'kick': ((at(DRIVER, 'post_at'), 'shm_store64(&d->word, avail_word(vq, id, len, vq->posted, table))'),
             (at(DRIVER, 'packed_publish'),
              'shm_store_release64(&s->desc[old & vq->mask].word, w)'),
             (at(DRIVER, 'packed_publish'), 'shm_mb()'),
             (at(DRIVER, 'wants_kick'), 'shm_load32(device_event(vq))')),
    'interrupt': ((at(DEVICE, 'vhost_packed_put'),
                   'shm_store64(&vhost_packed_ring(r)[b->used.at].word, htole64(w))'),
                  (at(DEVICE, 'vhost_packed_publish'),
                   'shm_store_release64(&vhost_packed_ring(r)[b->first_at].word, htole64(b->first))'),
                  (at(PAIR, 'notify'), 'shm_mb()'),
                  (at(DEVICE, 'vhost_packed_want_call'), 'shm_load32(r->area.part[VHOST_DRIVER_AREA])')),
}
SLEEP = {  # (look, wish, barrier, last look, wish not to be told)
    'kick': ((at(DEVICE, 'vhost_packed_load'), 'shm_load_acquire64(&vhost_packed_ring(r)[at].word)'),
             (at(DEVICE, 'vhost_packed_arm'), 'shm_store32(r->area.part[VHOST_DEVICE_AREA], htole32(wish))'),
             (at(PAIR, 'arm'), 'shm_mb()'),
             (at(DEVICE, 'vhost_packed_load'), 'shm_load_acquire64(&vhost_packed_ring(r)[at].word)'),
             (at(DEVICE, 'vhost_packed_disarm'),
              'shm_store32(r->area.part[VHOST_DEVICE_AREA], '
              'htole32((uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16))')),
    'interrupt': ((at(DRIVER, 'packed_refresh'), 'shm_load_acquire64(&s->desc[at].word)'),
                  (at(DRIVER, 'packed_arm'), 'shm_store32(driver_event(vq), wish)'),
                  (at(DRIVER, 'packed_arm'), 'shm_mb()'),
                  (at(DRIVER, 'packed_used_beyond'),
                   'shm_load64(&packed_const(vq)->desc[taken & vq->mask].word)'),
                  (at(DRIVER, 'packed_disarm'),
                   'shm_store32(driver_event(vq), (uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16)')),
}


def burst(way, old, new, first_last):
    others, first, barrier, look = PUBLISH[way]
    told = f'told {new}'
    behind = [others[0], *[store(f'desc{i}', 1, others[1]) for i in range(old + 2, new + 1)]] if new > old + 1 else []
    begin = [first[0], store(f'desc{old + 1}', 1, first[1])]
    payload = [store(f'entry{i}', i) for i in range(old + 1, new + 1)]
    return [
        *(payload + behind + begin if first_last else begin + payload + behind),
        barrier[0], mb(barrier[1]),
        look[0], load('wish', 'wish', look[1]),
        branch(lambda wish: wish != ALWAYS and not old < wish <= new, told),
        eventfd_write('eventfd'),
        label(told),
    ]


def publisher(way, first_last):
    steps, old = [], 0
    for n in BURSTS:
        steps += burst(way, old, old + n, first_last)
        old += n
    return steps


def sleeper(way, event_idx, last_look):
    look, wish, barrier, last, never = SLEEP[way]
    again = [last[0], load('there', lambda u: f'desc{u + 1}', last[1]), branch(lambda there: there, 'awake')]
    return [
        label('look'),
        look[0], load('there', lambda u: f'desc{u + 1}', look[1]),
        branch(lambda there: not there, 'arm'),
        let('u', lambda u: u + 1),
        load('v', lambda u: f'entry{u}'),
        check(lambda u, v: u == v, 'an entry is taken before it is there'),
        branch(lambda u: u == ALL, 'end'),
        goto('look'),
        label('arm'),
        wish[0], store('wish', (lambda u: u + 1) if event_idx else ALWAYS, wish[1]),
        barrier[0], mb(barrier[1]),
        *(again if last_look else []),
        sleep_on('eventfd'),
        label('awake'),
        never[0], store('wish', NEVER, never[1]),
        goto('look'),
        label('end'),
    ]


def threads(way='kick', event_idx=True, last_look=True, first_last=True):
    return {'publisher': publisher(way, first_last), 'sleeper': sleeper(way, event_idx, last_look)}


MODEL = Model(
    'packed', 'ABC', 'packed rings: no entry too early, no lost wake-up',
    memory={'wish': NEVER, 'eventfd': 0,
            **{f'entry{i}': 0 for i in range(1, ALL + 1)}, **{f'desc{i}': 0 for i in range(1, ALL + 1)}},
    threads=threads, init={'sleeper': {'u': 0}},
    holds=[('kick by place', {}), ('kick by flag', {'event_idx': False}),
           ('interrupt by place', {'way': 'interrupt'}),
           ('interrupt by flag', {'way': 'interrupt', 'event_idx': False})],
    breaks=[('kick, no last look before the sleep', {'last_look': False}),
            ('interrupt, no last look before the sleep', {'way': 'interrupt', 'last_look': False}),
            ('the first of a burst is written first', {'first_last': False})])
