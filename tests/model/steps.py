# SPDX-License-Identifier: BSD-3-Clause
"""What a model is written in. A model is one file, model_NAME.py, with one object, MODEL.

Each step of a thread names the place in the code that it stands for: at(file, function) for all that
follow, and the text of the access, which must be found in that function. The memory order is read
from that text, so a model cannot say more, or less, than the code. A step without text is an
access to plain memory, or private to the model.

Values and addresses are constants or functions; the names of a function's arguments are those of
registers: load('i', 'idx'), then load('e', lambda i: f'slot{i % 2}') or check(lambda e: e == 1).
"""
import os
import re

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '..', '..'))


class Program(list):
    """Instructions, and what registers hold at the beginning."""

    def __init__(self, instructions, init):
        super().__init__(instructions)
        self.init = init


def _order(code):
    """The memory order that @code gives."""
    if code is None:
        return 'rlx'
    orders = re.findall(r'__ATOMIC_(\w+)', code)
    if orders:
        return {'RELAXED': 'rlx', 'ACQUIRE': 'acq', 'RELEASE': 'rel', 'ACQ_REL': 'acq_rel',
                'SEQ_CST': 'sc'}[orders[0]]
    for name, order in (('shm_load_acquire', 'acq'), ('shm_store_release', 'rel'),
                        ('shm_take_acquire', 'acq'), ('shm_or_release', 'rel')):
        if name in code:
            return order
    return 'rlx'


def _access(op, code, need, **more):
    return {'op': op, 'code': code, 'order': _order(code), 'need': need, **more}


def load(reg, addr, code=None, need=None):
    """@need: the weakest order that suffices, where the code has a stronger one."""
    return _access('ld', code, need, reg=reg, addr=addr)


def store(addr, val, code=None, need=None):
    return _access('st', code, need, addr=addr, val=val)


def exchange(reg, addr, val, code, need=None):
    """Read-modify-write. @val: a function whose first argument is called @reg, what was there."""
    return _access('xchg', code, need, reg=reg, addr=addr, val=val)


def mb(code, need='fence'):
    """Full barrier. need='rlx': others suffice."""
    return {'op': 'fence', 'code': code, 'order': 'fence', 'need': need}


def membarrier(code):
    """A full barrier in every thread."""
    return {'op': 'memb', 'code': code, 'order': 'memb', 'need': 'memb'}


def system(addr, fn, code=None, reg=None):
    """System call: fn(what is at @addr, registers...) is what is there afterwards; None: it sleeps."""
    return {'op': 'sys', 'code': code, 'order': None, 'addr': addr, 'val': fn, 'reg': reg}


def eventfd_write(addr, code=None):
    return system(addr, lambda n: 1, code)


def sleep_on(addr, code=None):
    """Sleeps until the eventfd is readable, and reads it."""
    return system(addr, lambda n: 0 if n else None, code)


def lock(addr, code=None):
    return system(addr, lambda n: None if n else 1, code)


def unlock(addr, code=None):
    return system(addr, lambda n: 0, code)


def let(reg, fn):
    return {'op': 'set', 'reg': reg, 'val': fn}


def label(name):
    return {'op': 'label', 'name': name}


def goto(name):
    return {'op': 'goto', 'to': name}


def branch(cond, name):
    """To @name if cond(registers...)."""
    return {'op': 'br', 'val': cond, 'to': name}


def maybe(name):
    """On, or to @name: both are tried."""
    return {'op': 'choose', 'to': name}


def check(cond, text):
    """cond(registers...) must hold."""
    return {'op': 'check', 'val': cond, 'text': text}


def at(path, function):
    """The steps that follow are there."""
    return {'op': 'at', 'path': path, 'function': function}


class Model:
    """
    @name      of the test; @pairs: letters in docs/memory-ordering.md; @what must hold
    @memory    {variable: value at the beginning, or a function of the flags}
    @threads   a function of flags: {name: steps}
    A thread that spins for ever hides one that sleeps for ever: bound loops that wait for no other.
    @holds     [(what it is, flags)]: must hold as the code stands, and with each barrier taken out
               must not
    @breaks    [(what is done wrong, flags)]: must not hold
    @init      {register: value at the beginning}; @window: accesses that a thread has under way
    """

    def __init__(self, name, pairs, what, memory, threads, holds=(('', {}),), breaks=(), init=None,
                 window=6):
        self.name, self.pairs, self.what = name, pairs, what
        self.memory, self.threads = memory, threads
        self.holds, self.breaks = holds, breaks
        self.init, self.window = init or {}, window


def placed(steps):
    """@steps with their places: the key is what one line of code is known by."""
    out, where = [], (None, None)
    for s in steps:
        if s['op'] == 'at':
            where = (s['path'], s['function'])
            continue
        s = dict(s)
        s['key'] = (*where, s['code']) if s.get('code') else None
        out.append(s)
    return out


WEAKER = {
    ('ld', 'sc'): ['acq'], ('ld', 'acq'): ['rlx'],
    ('st', 'sc'): ['rel'], ('st', 'rel'): ['rlx'],
    ('xchg', 'sc'): ['acq_rel'], ('xchg', 'acq_rel'): ['acq', 'rel'],
    ('xchg', 'acq'): ['rlx'], ('xchg', 'rel'): ['rlx'],
    ('fence', 'fence'): ['none'], ('memb', 'memb'): ['fence'],
}


def mutations(threads):
    """{(key, weaker order): kind of access} for each barrier that is needed."""
    found = {}
    for steps in threads.values():
        for s in placed(steps):
            if s['key'] and s['order']:
                for weaker in WEAKER.get((s['op'], s['need'] or s['order']), ()):
                    found[s['key'], weaker] = s['op']
    return found


def compile_thread(steps, kind, init, orders):
    """Instructions of @steps for a machine of that kind. @orders(step): the order to use."""
    labels, code = {}, []
    for s in placed(steps):
        op = s['op']
        text = f"{s['key'][1]}: {s['code']}" if s.get('key') else s.get('text', '')
        order = orders(s) if s.get('order') else None
        if op == 'label':
            labels[s['name']] = len(code)
        elif op == 'fence':
            if order != 'none' and order != 'rlx':
                code.append({'op': 'fence', 'text': text})
        elif op == 'memb':
            code.append({'op': order, 'text': text})
        elif op == 'xchg' and kind != 'tso':
            both = {'reg': s['reg'], 'addr': s['addr'], 'text': text}
            code.append({**both, 'op': 'xl', 'acq': order in ('acq', 'acq_rel', 'sc'),
                         'sc': order == 'sc' or (kind == 'weak' and order in ('acq', 'acq_rel'))})
            both.pop('reg')
            code.append({**both, 'op': 'xs', 'rel': order in ('rel', 'acq_rel', 'sc'),
                         'sc': order == 'sc', 'val': s['val']})
        elif op == 'xchg':
            code.append({'op': 'rmw', 'reg': s['reg'], 'addr': s['addr'], 'val': s['val'], 'text': text})
        elif op == 'st' and order == 'sc' and kind == 'tso':
            code.append({'op': 'rmw', 'addr': s['addr'], 'val': ignoring_old(s['val']), 'text': text})
        elif op in ('ld', 'st'):
            code.append({'op': op, 'addr': s['addr'], 'text': text,
                         **({'reg': s['reg']} if op == 'ld' else {'val': s['val']}),
                         'acq': op == 'ld' and order in ('acq', 'sc'),
                         'rel': op == 'st' and order in ('rel', 'sc'), 'sc': order == 'sc'})
        elif op == 'sys':
            code.append({k: s[k] for k in ('op', 'addr', 'val', 'reg') if s[k] is not None} |
                        {'text': text})
        else:
            code.append({k: v for k, v in s.items() if k != 'key'})
    for ins in code:
        if 'to' in ins:
            ins['to'] = labels[ins['to']]
    return Program(code, init)


def ignoring_old(val):
    """A store's value as what a read-modify-write makes of the old one."""
    if not callable(val):
        return lambda _old: val
    args = ', '.join(val.__code__.co_varnames[:val.__code__.co_argcount])
    return eval(f'lambda _old, {args}: val({args})', {'val': val})  # pylint: disable=eval-used


# ---- the code ----

def _plain(text):
    return re.sub(r'\s+', ' ', re.sub(r'/\*.*?\*/', ' ', text, flags=re.S))


def body_of(path, function):
    """The text of a function, without comments, on one line. None: there is none."""
    try:
        with open(os.path.join(ROOT, path), encoding='utf-8') as f:
            text = f.read()
    except OSError:
        return None
    m = re.search(rf'^[\w#][^\n;]*\b{function}\([^;{{}}]*\)\s*\n{{(.*?)^}}', text, re.M | re.S)
    return _plain(m.group(1)) if m else None


def not_in_code(model):
    """Complaints: steps whose text is not in the function that they name."""
    wrong, bodies = {}, {}
    for _, flags in model.holds:
        for steps in model.threads(**flags).values():
            for s in placed(steps):
                if not s['key']:
                    continue
                path, function, code = s['key']
                if (path, function) not in bodies:
                    bodies[path, function] = body_of(path, function)
                body = bodies[path, function]
                if body is None:
                    wrong[f'{path}: there is no function {function}'] = 1
                elif _plain(code) not in body:
                    wrong[f'{path}: {function} does not say {code}'] = 1
    return list(wrong)
