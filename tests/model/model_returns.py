# SPDX-License-Identifier: BSD-3-Clause
"""The completion ring of a channel (shm-ring/mark_ring.h): slots go back in another order than they came, each of
them once, and none is written again before it has been read. How they are sent is model_mark_ring's matter."""
from steps import Model, at, branch, check, label, let, load, store, system

SLOTS = 2
RING = 'shm-ring/mark_ring.h'
WORD = '&words[pos & ((1u << shift) - 1)]'


def equal(n):
    return lambda v: v == n


def below(n):
    return lambda sent: sent < n


def collect(n):
    """Takes the @n-th slot back; words hold lap * SLOTS + slot, from lap 1 on."""
    return [
        label(f'collect {n}'),
        at(RING, 'mark_get'),
        load('w', f'word{n % SLOTS}', f'shm_load_acquire64({WORD})'),
        branch(lambda w: w // SLOTS != n // SLOTS + 1, f'collect {n}'),
        let('s', lambda w: w % SLOTS),
        check(lambda s, out: out >> s & 1, 'a slot comes back that is not out'),
        let('out', lambda out, s: out & ~(1 << s)),
    ]


def send(n, slot):
    """Payload @n in @slot."""
    return [store(f'slot{slot}', n), system('sent', lambda was: n), let('out', lambda out: out | 1 << slot)]


def receive(n, slot, turn):
    """Payload @n is in @slot, which is the @turn-th to go back."""
    return [
        label(f'wait {n}'),
        system('sent', lambda was: was, reg='sent'),
        branch(below(n), f'wait {n}'),
        load('v', f'slot{slot}'),
        check(equal(n), 'a slot is written again before it was read'),
        at(RING, 'mark_put'),
        store(f'word{turn % SLOTS}', (turn // SLOTS + 1) * SLOTS + slot,
              f'shm_store_release64({WORD}, marked)'),
    ]


def threads(wait=True):
    """Two slots are sent, come back in reverse order, and are sent again, by a free list that the order does not
    matter to."""
    back = collect(0) + collect(1) if wait else []
    return {
        'sender': send(1, 0) + send(2, 1) + back + send(3, 0) + send(4, 1)
                  + (collect(2) + collect(3) if wait else []),
        'receiver': [label('both'), system('sent', lambda was: was, reg='sent'), branch(below(2), 'both'),
                     *receive(2, 1, 0), *receive(1, 0, 1), *receive(3, 0, 2), *receive(4, 1, 3)],
    }


MODEL = Model(
    'returns', 'R', 'each slot comes back once, and is not written before it was read',
    memory={'sent': 0, **{f'{x}{i}': 0 for i in range(SLOTS) for x in ('word', 'slot')}},
    threads=threads, init={'sender': {'out': 0}},
    breaks=[('slots are used again before they are back', {'wait': False})])
