# SPDX-License-Identifier: BSD-3-Clause
"""The doorbell (shm-ring/doorbell.h): the ringer publishes and rings once for each number; the sleeper may
arm and give up, or sleep. If it sleeps for ever, a wake-up was lost."""
from steps import (Model, at, branch, eventfd_write, goto, label, let, load, maybe, mb, sleep_on, store,
                   system)

HEADER, SOURCE = 'shm-ring/doorbell.h', 'shm-ring/doorbell.c'


def ringer(number):
    return [
        at(HEADER, 'doorbell_ring'),
        store('prod', number),
        mb('shm_mb()'),
        at(HEADER, 'doorbell_due'),
        load('turn', 'need', 'shm_load64(&p->word->need_wakeup)'),
        branch(lambda turn, rung: turn in (0, rung), f'rung {number}'),
        let('rung', lambda turn: turn),
        eventfd_write('eventfd'),
        label(f'rung {number}'),
    ]


def threads(messages=3, arms=3, modulus=100, number=True, last_look=True):
    """@arms: how often the sleeper may arm for nothing; @modulus: where the numbers wrap."""
    again = [load('p', 'prod'), branch(lambda p, c: p != c, 'awake')]
    return {
        'ringer': [s for i in range(messages) for s in ringer(i + 1)],
        'sleeper': [
            label('look'),
            load('p', 'prod'),
            let('c', lambda p: p),
            branch(lambda c: c == messages, 'end'),
            at(HEADER, 'doorbell_announce'),
            let('turn', (lambda turn: turn % (modulus - 1) + 1) if number else (lambda turn: 1)),
            store('need', lambda turn: turn, 'shm_store64(&d->word->need_wakeup, ++d->turn)'),
            at(HEADER, 'doorbell_arm'),
            mb('shm_mb()'),
            *(again if last_look else []),
            branch(lambda left: left == 0, 'sleep'),
            let('left', lambda left: left - 1),
            maybe('awake'),
            label('sleep'),
            sleep_on('eventfd'),
            label('awake'),
            at(SOURCE, 'doorbell_disarm'),
            store('need', 0, 'shm_store64(&d->word->need_wakeup, 0)'),
            system('eventfd', lambda n: 0),
            goto('look'),
            label('end'),
        ],
    }


MODEL = Model(
    'doorbell', 'D', 'no lost wake-up',
    memory={'prod': 0, 'need': 0, 'eventfd': 0}, threads=threads,
    init={'ringer': {'rung': 0}, 'sleeper': {'c': 0, 'turn': 0, 'left': 3}},
    breaks=[('no last look before the sleep', {'last_look': False}),
            ('a flag instead of a number', {'number': False}),
            ('numbers that come round', {'modulus': 3})])
