# SPDX-License-Identifier: BSD-3-Clause
"""TRANSPORT_RESET (guest-pmd): the device writes an event, then packets of the new session. The queue's owner
takes none of these before the control thread has ended the old one."""
from steps import Model, at, branch, check, goto, label, load, store

PRIV, SETUP, RING = 'guest-pmd/vsock_priv.h', 'guest-pmd/vsock_setup.c', 'guest-pmd/virtqueue_split.c'


def owner(first):
    look = [at(RING, 'split_refresh'),
            load('rx', 'rx_idx', 'shm_load_acquire16(&s->used->idx)'),
            branch(lambda rx: rx == 0, 'poll')]
    event = [at(PRIV, 'vsock_event_waits'),
             load('seen', 'seen', '__atomic_load_n(&ev->seen, __ATOMIC_ACQUIRE)'),
             at(RING, 'split_used_beyond'),
             load('ev', 'event_idx', 'shm_load16(&split_const(vq)->used->idx)'),
             branch(lambda ev, seen: ev != seen, 'poll')]
    return [
        label('poll'),
        *(look + event if first == 'packets' else event + look),
        load('s', 'session'),
        check(lambda s: s == 1, 'a packet of the new session is taken in the old one'),
    ]


def threads(first='packets'):
    return {
        'device': [
            at('host-dpdk/backend/ring/vhost_ring_split.h', 'vhost_split_publish'),
            store('event_idx', 1, 'shm_store_release16(&used->idx, htole16(r->split.used_idx))', need='rlx'),
            {**store('rx_idx', 1, 'shm_store_release16(&used->idx, htole16(r->split.used_idx))'),
             'need': 'rel'},
        ],
        'owner': owner(first),
        'control': [
            label('wait'),
            load('ev', 'event_idx'),
            branch(lambda ev: ev == 0, 'wait'),
            store('session', 1),
            at(SETUP, 'vsock_events_done'),
            store('seen', 1, '__atomic_store_n(&ev->seen, virtq_taken(&ev->vq), __ATOMIC_RELEASE)'),
        ],
    }


MODEL = Model(
    'events', 'T', 'an event comes before the packets that were sent after it',
    memory={'event_idx': 0, 'rx_idx': 0, 'seen': 0, 'session': 0},
    threads=threads,
    breaks=[('the event is looked for before the packets', {'first': 'event'})])
