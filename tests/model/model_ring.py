# SPDX-License-Identifier: BSD-3-Clause
"""The ring of one producer and one consumer (shm-ring/spsc_ring.h), two entries long: no entry is read
before it is written, none overwritten before it is read."""
from steps import Model, at, branch, check, label, let, load, store

SIZE, ALL = 2, 5
HEADER = 'shm-ring/spsc_ring.h'


def threads(check_room=True):
    full = [branch(lambda c, p: p - c == SIZE, 'refresh')] if check_room else []
    return {
        'producer': [
            label('refresh'),
            at(HEADER, 'spsc_prod_refresh'),
            load('c', 'cons', 'shm_load_acquire32(&p->sh->cons)'),
            label('next'),
            *full,
            store(lambda p: f'entry{p % SIZE}', lambda p: p),
            let('p', lambda p: p + 1),
            at(HEADER, 'spsc_submit'),
            store('prod', lambda p: p, 'shm_store_release32(&p->sh->prod, p->submitted)'),
            branch(lambda p: p < ALL, 'next'),
        ],
        'consumer': [
            label('look'),
            at(HEADER, 'spsc_cons_refresh'),
            load('p', 'prod', 'shm_load_acquire32(&c->sh->prod)'),
            label('next'),
            branch(lambda c, p: c == p, 'look'),
            load('v', lambda c: f'entry{c % SIZE}'),
            check(lambda c, v: c == v, 'the entry is not the one that was meant'),
            let('c', lambda c: c + 1),
            at(HEADER, 'spsc_release'),
            store('cons', lambda c: c, 'shm_store_release32(&c->sh->cons, c->released)'),
            branch(lambda c: c < ALL, 'next'),
        ],
    }


MODEL = Model(
    'ring', 'S', 'entries are neither read too early nor overwritten too early',
    memory={'prod': 0, 'cons': 0, **{f'entry{i}': None for i in range(SIZE)}},
    threads=threads, init={'producer': {'p': 0}, 'consumer': {'c': 0}},
    breaks=[('the producer does not look for room', {'check_room': False})])
