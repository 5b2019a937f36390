# SPDX-License-Identifier: BSD-3-Clause
"""Bells (shm-ring/bell_page.h): each ringer sends in a channel of its own, whose receiver is armed, and rings its
bit of a page that they share; the receiver looks at the channels whose bells it finds, arms them again, and sleeps.
If it sleeps for ever, a bell was lost."""
from steps import (Model, at, branch, eventfd_write, exchange, goto, label, let, load, mb, sleep_on, store, system)

PAGE, PAGE_H, BELL, BELL_C = (f'shm-ring/{f}' for f in ('bell_page.c', 'bell_page.h', 'doorbell.h', 'doorbell.c'))

# The full barriers of [D], before a bell is rung and when a channel is armed again, order what a bit announces.
BIT = 'rlx'


def reg(name, then=''):
    """A function of the register @name: functions' arguments are those of registers."""
    return eval(f'lambda {name}: {name} {then}')  # pylint: disable=eval-used


def ringer(n, messages, bit_first):
    bit = [at(PAGE, 'bell_ring'),
           exchange('_', 'bits', lambda _: _ | 1 << n,
                    'shm_or_release64(&r->page->bits[i], UINT64_C(1) << bell % 64)', BIT)]
    word = [exchange('_', 'words', lambda _: _ | 1, 'shm_or_release64(&r->page->words, UINT64_C(1) << i)')]
    steps = []
    for i in range(messages):
        steps += [
            store(f'ring{n}', i + 1),
            at(BELL, 'doorbell_ring'),
            mb('shm_mb()'),
            at(BELL, 'doorbell_due'),
            load('turn', f'need{n}', 'shm_load64(&p->word->need_wakeup)'),
            branch(lambda turn, rung: turn in (0, rung), f'sent {i}'),
            let('rung', lambda turn: turn),
            *(bit + word if bit_first else bit[:1] + word + bit[1:]),
            at(BELL, 'doorbell_ring'),
            mb('shm_mb()'),
            at(BELL, 'doorbell_due'),
            load('asleep', 'sleep', 'shm_load64(&p->word->need_wakeup)'),
            branch(lambda asleep: not asleep, f'sent {i}'),
            eventfd_write('eventfd'),
            label(f'sent {i}'),
        ]
    return steps


def look(n, where, rearm):
    """The bell of channel @n was found: look, and arm it again with one more look if there was nothing."""
    again = [
        at(BELL, 'doorbell_announce'),
        let(f'turn{n}', reg(f'turn{n}', '+ 1')),
        store(f'need{n}', reg(f'turn{n}'), 'shm_store64(&d->word->need_wakeup, ++d->turn)'),
        at(BELL, 'doorbell_arm'),
        mb('shm_mb()'),
        load('m', f'ring{n}'),
        let(f'got{n}', lambda m: m),
    ]
    return [load('m', f'ring{n}'), let(f'got{n}', lambda m: m), *(again if rearm else []), label(f'{where} {n}')]


def threads(ringers=2, messages=1, bit_first=True, last_look=True, rearm=True):
    owner = [
        label('poll'),
        at(PAGE, 'bells_take'),
        exchange('w', 'words', lambda w: 0, 'shm_take_acquire64(&o->page->words)'),
        branch(lambda w: not w, 'arm'),
        exchange('b', 'bits', lambda b: 0, 'shm_take_acquire64(&o->page->bits[i])', BIT),
    ]
    for n in range(ringers):
        owner += [branch(reg('b', f'& {1 << n} == 0'), f'seen {n}'), *look(n, 'seen', rearm)]
    for n in range(ringers):
        owner.append(branch(reg(f'got{n}', f'!= {messages}'), 'arm'))
    owner += [
        goto('end'),
        label('arm'),
        at(BELL, 'doorbell_announce'),
        store('sleep', 1, 'shm_store64(&d->word->need_wakeup, ++d->turn)'),
        at(BELL, 'doorbell_arm'),
        mb('shm_mb()'),
        at(PAGE_H, 'bells_any'),
        load('w', 'words', 'shm_load64(&o->page->words)'),
        *([branch(lambda w: w, 'awake')] if last_look else []),
        sleep_on('eventfd'),
        system('eventfd', lambda n: 0),  # the sleep takes its event; who is awake anyway leaves it
        label('awake'),
        at(BELL_C, 'doorbell_disarm'),
        store('sleep', 0, 'shm_store64(&d->word->need_wakeup, 0)'),
        goto('poll'),
        label('end'),
    ]
    return {'owner': owner, **{f'ringer {n}': ringer(n, messages, bit_first) for n in range(ringers)}}


MODEL = Model(
    'bells', 'K', 'no bell is lost',
    memory={'words': 0, 'bits': 0, 'sleep': 0, 'eventfd': 0, 'ring0': 0, 'ring1': 0, 'need0': 1, 'need1': 1},
    threads=threads,
    init={'owner': {'got0': 0, 'got1': 0, 'turn0': 1, 'turn1': 1},
          **{f'ringer {n}': {'rung': 0} for n in range(2)}},
    holds=[('', {}), ('one ringer, two messages', {'ringers': 1, 'messages': 2})],
    breaks=[('the summary before the bit', {'bit_first': False}),
            ('no last look before the sleep', {'last_look': False}),
            ('a channel that is not armed again', {'ringers': 1, 'messages': 2, 'rearm': False})])
