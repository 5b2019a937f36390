# SPDX-License-Identifier: BSD-3-Clause
"""An lcore's mailbox (host-dpdk/daemon/core/lcore.c): three threads post, the lcore runs what it finds or sleeps.
If it sleeps for ever, a message was left in the box."""
from steps import (Model, at, branch, eventfd_write, goto, label, let, load, lock, sleep_on, store, unlock)

FILE = 'host-dpdk/daemon/core/lcore.c'


def poster():
    return [
        at(FILE, 'mail_put'),
        lock('lock', 'pthread_mutex_lock(&lc->mail_lock)'),
        load('n', 'mail'),
        store('mail', lambda n: n + 1),
        unlock('lock', 'pthread_mutex_unlock(&lc->mail_lock)'),
        store('has_mail', 1, '__atomic_store_n(&lc->has_mail, 1, __ATOMIC_SEQ_CST)'),
        load('asleep', 'asleep', '__atomic_load_n(&lc->asleep, __ATOMIC_SEQ_CST)'),
        branch(lambda asleep: not asleep, 'over'),
        eventfd_write('eventfd', 'eventfd_write(lc->mail_fd, 1)'),
        label('over'),
    ]


def lcore(posters, flag_first, last_look):
    clear = [store('has_mail', 0, '__atomic_store_n(&lc->has_mail, 0, __ATOMIC_SEQ_CST)', need='rlx')]
    take = [
        lock('lock', 'pthread_mutex_lock(&lc->mail_lock)'),
        load('n', 'mail'),
        store('mail', 0),
        unlock('lock', 'pthread_mutex_unlock(&lc->mail_lock)'),
        let('got', lambda got, n: got + n),
    ]
    again = [load('h', 'has_mail', '__atomic_load_n(&lc->has_mail, __ATOMIC_SEQ_CST)'),
             branch(lambda h: h, 'awake')]
    return [
        label('round'),
        at(FILE, 'run_mail'),
        load('h', 'has_mail', '__atomic_load_n(&lc->has_mail, __ATOMIC_RELAXED)'),
        branch(lambda h: not h, 'doze'),
        *(clear + take if flag_first else take + clear),
        branch(lambda got: got == posters, 'end'),
        label('doze'),
        at(FILE, 'doze'),
        store('asleep', 1, '__atomic_store_n(&lc->asleep, 1, __ATOMIC_SEQ_CST)'),
        *(again if last_look else []),
        sleep_on('eventfd'),
        label('awake'),
        store('asleep', 0, '__atomic_store_n(&lc->asleep, 0, __ATOMIC_RELAXED)'),
        goto('round'),
        label('end'),
    ]


def threads(posters=3, flag_first=True, last_look=True):
    return {'lcore': lcore(posters, flag_first, last_look),
            **{f'poster {i}': poster() for i in range(posters)}}


MODEL = Model(
    'mailbox', 'M', 'no message is left in the box of an lcore that sleeps',
    memory={'lock': 0, 'mail': 0, 'has_mail': 0, 'asleep': 0, 'eventfd': 0},
    threads=threads, init={'lcore': {'got': 0}},
    breaks=[('the flag is cleared after the box', {'flag_first': False}),
            ('no last look before the sleep', {'last_look': False})])
