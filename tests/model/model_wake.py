# SPDX-License-Identifier: BSD-3-Clause
"""zv_wake (api/socket/call/wait.c): two threads each leave a word and wake the queue's owner, who arms, sets its own
time-out and sleeps. If it sleeps for ever, a wake was lost."""
from steps import (Model, at, branch, check, exchange, goto, label, let, load, store, system)

WAIT, POLL, ARM, ARM_H = (f'api/socket/{f}' for f in ('call/wait.c', 'queue/poll.c', 'queue/arm.c', 'queue/arm.h'))
WOKEN = '__atomic_load_n(&q->arm.wake, __ATOMIC_SEQ_CST)'
ARMED = '__atomic_store_n(&q->arm.state, armed, __ATOMIC_SEQ_CST)'
# The flag spares a read(2); without its orders the timer stays readable for longer, and the owner looks once too often.
WAS_SET = (at(ARM, 'queue_timer_was_set'), store('set', 1, '__atomic_store_n(&q->arm.timer, 1, __ATOMIC_RELEASE)', 'rlx'))


def waker(n):
    return [
        store(f'word{n}', 1),
        at(WAIT, 'zv_wake'),
        exchange('was', 'wake', lambda was: 1, '__atomic_exchange_n(&q->arm.wake, 1, __ATOMIC_SEQ_CST)'),
        branch(lambda was: was, 'over'),
        load('a', 'armed', '__atomic_load_n(&q->arm.state, __ATOMIC_SEQ_CST)'),
        branch(lambda a: not a, 'over'),
        system('timer', lambda t: 1, 'timerfd_settime(q->arm.timerfd, 0, &now, NULL)'),
        *WAS_SET,
        label('over'),
    ]


def owner(wakers, timer, look, look_again):
    need = 'rlx' if timer else None  # the system call that sets the timer is a barrier as well
    again = [load('w', 'wake', WOKEN, need), branch(lambda w: w, 'poll')]
    time_out = [
        at(ARM, 'set_timer'),
        system('timer', lambda t: 0, 'timerfd_settime(q->arm.timerfd, TFD_TIMER_ABSTIME, &t, NULL)'),
        *WAS_SET,
        at(ARM_H, 'queue_woken'),
        *(again if look_again else []),
    ]
    return [
        label('poll'),
        at(ARM, 'set_armed'),
        store('armed', 0, ARMED, need),
        at(ARM, 'clear_timer'),
        load('f', 'set', '__atomic_load_n(&q->arm.timer, __ATOMIC_ACQUIRE)', 'rlx'),
        branch(lambda f: not f, 'quiet'),
        store('set', 0, '__atomic_store_n(&q->arm.timer, 0, __ATOMIC_RELAXED)'),
        system('timer', lambda t: 0, 'read(q->arm.timerfd, &ticks, sizeof(ticks))'),
        label('quiet'),
        at(ARM_H, 'queue_woken'),
        load('w', 'wake', WOKEN, need),
        branch(lambda w: not w, 'arm'),
        at(POLL, 'queue_poll'),
        exchange('w', 'wake', lambda w: 0, '__atomic_exchange_n(&q->arm.wake, 0, __ATOMIC_ACQUIRE)'),
        let('got', lambda: 0),
        *[step for n in range(wakers) for step in (
            load('x', f'word{n}'), let('got', lambda got, x: got + x))],
        let('reports', lambda reports: reports + 1),
        branch(lambda got: got == wakers, 'end'),
        check(lambda reports: reports < wakers, 'the last wake is reported without its word'),
        label('arm'),
        at(ARM, 'set_armed'),
        store('armed', 1, ARMED, need),
        at(ARM_H, 'queue_woken'),
        *(again if look else []),
        *(time_out if timer else []),
        system('timer', lambda t: t or None),  # epoll_wait(2): it stays readable
        goto('poll'),
        label('end'),
    ]


def threads(wakers=2, timer=True, look=True, look_again=True):
    return {'owner': owner(wakers, timer, look, look_again), **{f'waker {n}': waker(n) for n in range(wakers)}}


MODEL = Model(
    'wake', 'W', 'no wake is lost, and what was written before it is there',
    memory={'wake': 0, 'armed': 0, 'timer': 0, 'set': 0, 'word0': 0, 'word1': 0},
    threads=threads, init={'owner': {'reports': 0}},
    holds=[('a time-out in the timer', {}), ('none there', {'timer': False})],
    breaks=[('no last look', {'timer': False, 'look': False}),
            ('the time-out is set after the last look', {'look_again': False})])
