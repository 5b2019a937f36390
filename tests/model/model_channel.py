# SPDX-License-Identifier: BSD-3-Clause
"""A channel with its two bells (shm-ring/channel.c): the sender sleeps while the ring is full, the receiver while
it is empty. Each message arrives once; if one of the two sleeps for ever, a wake-up was lost."""
from steps import (Model, at, branch, check, eventfd_write, goto, label, let, load, mb, sleep_on, store,
                   system)

RING, TX, INT = 'shm-ring/mark_ring.h', 'shm-ring/channel_tx.c', 'shm-ring/channel_int.h'
CHANNEL, BELL, BELL_C = 'shm-ring/channel.c', 'shm-ring/doorbell.h', 'shm-ring/doorbell.c'
WORD = '&words[pos & ((1u << shift) - 1)]'


def fits(n, size):
    return lambda c: n - c < size


def there(n, size):
    return lambda w: w == n // size + 1


def meant(n):
    return lambda v: v == n


def ring(where, need, eventfd):
    """wake_peer(): looks at the word @need behind a barrier."""
    return [
        at(BELL, 'doorbell_due'),
        load('t', need, 'shm_load64(&p->word->need_wakeup)'),
        branch(lambda t, rung: t in (0, rung), f'rung {where}'),
        let('rung', lambda t: t),
        eventfd_write(eventfd),
        label(f'rung {where}'),
    ]


def arm(need):
    return [
        at(BELL, 'doorbell_announce'),
        let('turn', lambda turn: turn + 1),
        store(need, lambda turn: turn, 'shm_store64(&d->word->need_wakeup, ++d->turn)'),
        at(CHANNEL, 'shm_channel_arm'),
        mb('shm_mb()'),
    ]


def disarm(need, eventfd):
    return [
        at(BELL_C, 'doorbell_disarm'),
        store(need, 0, 'shm_store64(&d->word->need_wakeup, 0)'),
        system(eventfd, lambda n: 0),
    ]


NOTIFY = [at(CHANNEL, 'shm_channel_notify'), mb('shm_mb()')]


def word_of(reg, n):
    return [at(RING, 'mark_get'), load(reg, f'word{n}', f'shm_load_acquire64({WORD})')]


def threads(messages=3, size=1, look_data=True, look_room=True, tell_room=True, by_arm=False):
    """@by_arm: the receiver's last notify before it sleeps is the one that arming does."""
    sender = []
    for n in range(messages):
        refresh = [at(TX, 'tx_refresh'), load('c', 'cons', 'shm_load_acquire32(tx->cons_word)')]
        sender += [
            label(f'room {n}'),
            *refresh,
            branch(fits(n, size), f'send {n}'),
            *arm('need_room'),
            *(refresh if look_room else []),
            branch(fits(n, size), f'awake {n}'),
            sleep_on('sender_fd'),
            label(f'awake {n}'),
            *disarm('need_room', 'sender_fd'),
            goto(f'room {n}'),
            label(f'send {n}'),
            store(f'line{n % size}', n),
            at(RING, 'mark_put'),
            store(f'word{n % size}', n // size + 1, f'shm_store_release64({WORD}, marked)'),
            *NOTIFY,
            *ring(f's {n}', 'need_data', 'receiver_fd'),
        ]
    receiver = []
    publish = [at(INT, 'rx_publish'), store('cons', lambda n: n, 'shm_store_release32(rx->cons_word, rx->head)')]
    for n in range(messages):
        tell = ring(f'r {n}', 'need_room', 'sender_fd') if tell_room else []
        before = tell if by_arm and n else []
        receiver += [
            label(f'look {n}'),
            *word_of('w', n % size),
            branch(there(n, size), f'take {n}'),
            *(publish if by_arm and n else []),
            *arm('need_data'),
            *[{**s, **({'name': s['name'] + ' a'} if s['op'] == 'label' else {}),
               **({'to': s['to'] + ' a'} if s['op'] == 'br' else {})} for s in before],
            *(word_of('w', n % size) if look_data else []),
            branch(there(n, size), f'awake {n}'),
            sleep_on('receiver_fd'),
            label(f'awake {n}'),
            *disarm('need_data', 'receiver_fd'),
            goto(f'look {n}'),
            label(f'take {n}'),
            load('v', f'line{n % size}'),
            check(meant(n), 'the payload is not the one that was meant'),
            let('n', lambda n: n + 1),
            *([] if by_arm and n < messages - 1 else publish + NOTIFY + tell),
        ]
    return {'sender': sender, 'receiver': receiver}


MODEL = Model(
    'channel', 'DR', 'no wake-up is lost, and no message',
    memory={'cons': 0, 'need_room': 0, 'need_data': 0, 'sender_fd': 0, 'receiver_fd': 0,
            'word0': 0, 'line0': 0},
    threads=threads,
    init={'sender': {'rung': 0, 'turn': 0, 'c': 0}, 'receiver': {'rung': 0, 'turn': 0, 'n': 0}},
    holds=[('', {}), ('the receiver says what it has released when it goes to sleep', {'by_arm': True})],
    breaks=[('the receiver takes no last look', {'look_data': False}),
            ('the sender takes no last look', {'look_room': False}),
            ('the receiver does not look at the sender\'s bell', {'tell_room': False})])
