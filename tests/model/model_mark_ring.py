# SPDX-License-Identifier: BSD-3-Clause
"""The ring of messages of a channel (shm-ring/mark_ring.h), two entries long: each message arrives once, and its
payload is neither read before it is written nor overwritten before it is read."""
from steps import Model, at, branch, check, label, let, load, store

SIZE, ALL = 2, 4
RING, TX, INT = 'shm-ring/mark_ring.h', 'shm-ring/channel_tx.c', 'shm-ring/channel_int.h'
WORD = '&words[pos & ((1u << shift) - 1)]'


def threads(check_room=True, marked=True, batch=1):
    """Words: 0 at first, then the lap, from 1 on. @marked: False: a flag that says no lap."""
    full = [branch(lambda c, p: p + batch - c > SIZE, 'refresh')] if check_room else []
    lap = (lambda p: p // SIZE + 1) if marked else (lambda p: 1)
    there = (lambda w, n: w == n // SIZE + 1) if marked else (lambda w, n: w == 1)
    return {
        'sender': [
            label('refresh'),
            at(TX, 'tx_refresh'),
            load('c', 'cons', 'shm_load_acquire32(tx->cons_word)'),
            label('next'),
            *full,
            # The lines of a batch, then its words, from the last one to the first.
            *[s for _ in range(batch) for s in (
                store(lambda p: f'line{p % SIZE}', lambda p: p), let('p', lambda p: p + 1))],
            at(RING, 'mark_put'),
            *[s for _ in range(batch) for s in (
                let('p', lambda p: p - 1),
                store(lambda p: f'word{p % SIZE}', lap, f'shm_store_release64({WORD}, marked)'))],
            let('p', lambda p: p + batch),
            branch(lambda p: p < ALL, 'next'),
        ],
        'receiver': [
            label('look'),
            at(RING, 'mark_get'),
            load('w', lambda n: f'word{n % SIZE}', f'shm_load_acquire64({WORD})'),
            branch(lambda w, n: not there(w, n), 'look'),
            load('v', lambda n: f'line{n % SIZE}'),
            check(lambda n, v: n == v, 'the payload is not the one that was meant'),
            let('n', lambda n: n + 1),
            at(INT, 'rx_publish'),
            store('cons', lambda n: n, 'shm_store_release32(rx->cons_word, rx->head)'),
            branch(lambda n: n < ALL, 'look'),
        ],
    }


MODEL = Model(
    'mark_ring', 'R', 'each message once, with its payload',
    memory={'cons': 0, **{f'{x}{i}': 0 for i in range(SIZE) for x in ('word', 'line')}},
    threads=threads, init={'sender': {'p': 0}, 'receiver': {'n': 0}},
    holds=[('', {}), ('in batches of two', {'batch': 2})],
    breaks=[('the sender does not look for room', {'check_room': False}),
            ('words that do not say the lap', {'marked': False})])
