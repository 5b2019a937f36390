# SPDX-License-Identifier: BSD-3-Clause
"""All executions of a few small threads on an x86-64 (TSO) or an aarch64-like (weak) machine, or on one
that does what C11 permits compilers to do on such a machine.

A thread runs as a window of instructions that have been fetched and not retired. One of them at a
time is performed: a load takes its value from memory, a store becomes visible to all other threads
at once. A machine is the rule that says which instruction of the window may be performed before
an older one of the same thread:

tso   a load may overtake older stores (the store buffer), and nothing else may overtake anything.
      A load takes the value of the youngest older store to its address. A sequentially consistent
      store, a read-modify-write, a full barrier and a system call wait for all that is older.
weak  anything may overtake anything, except
      - accesses of one address keep their order; a load may take an older store's value early;
      - nothing overtakes a full barrier or a system call, nor is overtaken by it;
      - nothing overtakes an acquire; a release overtakes nothing;
      - a sequentially consistent load does not overtake a release or sequentially consistent
        store; an acquire load does (LDAPR; gcc for Armv8.0 uses LDAR, which is stronger);
      - what computes with a loaded value waits for the load. A store waits for older branches to
        be decided and for older addresses to be known; a load does not (speculation: a branch
        is guessed, and an execution with a wrong guess is none);
      - a read-modify-write is an exclusive load and an exclusive store: accesses that are younger
        may come between the two as far as the rules for them say, other threads' stores to that
        address may not.

c11   as weak, but a sequentially consistent load may overtake a store that is only a release, and a
      store does not wait for branches either: C11 knows no control dependencies. What other threads
      make of such a store counts only if the branch is decided as guessed.

membarrier(2) is a full barrier of the caller, then, one thread after the other, an interrupt at some
point of each: what is older than that point has been performed, what is younger has not.

Not modelled: compilers that reorder what the source's atomics allow (the models follow the order of
the source, as gcc and clang do), machines on which two threads can see two stores of others in
different orders (POWER), accesses of mixed size, reordering further than `window` memory accesses.
A system call is one full barrier, its effect one step.
"""
import collections

FULL = ('fence', 'sys', 'memb', 'rmw')
PRIVATE = ('set', 'br', 'check')
NAMES = {'ld': 'load', 'st': 'store', 'xl': 'exclusive load', 'xs': 'exclusive store', 'rmw': 'exchange',
         'sys': 'system call on', 'memb': 'membarrier'}
# Of a window. guess: of a branch; of a load that has taken its value from a store of the window, how
# far back that is.
Entry = collections.namedtuple('Entry', 'pc done val guess')
Local = collections.namedtuple('Local', 'pc regs window failed')  # a thread's state


class WrongGuess(Exception):
    """An execution that does not exist."""


class Machine:
    """@kind 'tso', 'weak' or 'c11', @program: {thread: instructions, of steps.compile_thread()}."""

    def __init__(self, kind, memory, program, window=6):
        self.weak, self.control = kind != 'tso', kind == 'weak'
        self.window = window
        self.vars = {v: i for i, v in enumerate(memory)}
        self.start = tuple(memory.values())
        self.names = list(program)
        self.progs = list(program.values())
        self.live = [liveness(p) for p in self.progs]
        self.known = [{} for _ in self.progs]

    # ---- one thread ----

    def lookup(self, prog, local, k, reg):
        """(True, value) of @reg as the @k-th of the window sees it; (False, None): not known yet."""
        for e in reversed(local.window[:k]):
            if prog[e.pc].get('reg') == reg:
                return e.done, e.val
        return True, dict(local.regs)[reg]

    def value(self, prog, local, k, fn):
        """As lookup, of a constant or of a function whose arguments are called after registers."""
        if not callable(fn):
            return True, fn
        args = []
        for reg in fn.__code__.co_varnames[:fn.__code__.co_argcount]:
            known, v = self.lookup(prog, local, k, reg)
            if not known:
                return False, None
            args.append(v)
        return True, fn(*args)

    def settle(self, t, local):
        """All that needs no memory: fetch, compute, decide, retire. A list: branches are guessed."""
        prog, out, todo = self.progs[t], [], [local]
        while todo:
            local = todo.pop()
            before = None
            try:
                while local is not before:
                    before = local
                    local = self.retire(t, prog, self.resolve(prog, local))
                    forks = self.fetch(prog, local)
                    if forks:
                        todo += forks[1:]
                        local = forks[0]
            except WrongGuess:
                continue
            out.append(local)
        return out

    def resolve(self, prog, local):
        window, older_done = list(local.window), True
        for k, e in enumerate(window):
            ins = prog[e.pc]
            op = ins['op']
            if not e.done and op in ('set', 'br', 'check', 'fence'):
                known, v = (True, None) if op == 'fence' else self.value(prog, local, k, ins['val'])
                if op == 'set' and known:
                    window[k] = e = e._replace(done=True, val=v)
                elif op == 'br' and known:
                    if bool(v) != e.guess:
                        raise WrongGuess
                    window[k] = e = e._replace(done=True)
                elif op == 'check' and older_done:
                    if not v and not local.failed:
                        local = local._replace(failed=ins['text'])
                    window[k] = e = e._replace(done=True)
                elif op == 'fence' and older_done:
                    window[k] = e = e._replace(done=True)
                if e.done:
                    local = local._replace(window=tuple(window))
            older_done = older_done and e.done
        return local

    def retire(self, t, prog, local):
        n, regs = 0, None
        while n < len(local.window) and local.window[n].done:
            e = local.window[n]
            if 'reg' in prog[e.pc]:
                regs = regs or dict(local.regs)
                regs[prog[e.pc]['reg']] = e.val
            n += 1
        if not n:
            return local
        window = local.window[n:]
        live = self.live[t][window[0].pc if window else local.pc]
        regs = {r: v if r in live else None for r, v in (regs or dict(local.regs)).items()}
        return Local(local.pc, tuple(sorted(regs.items())), window, local.failed)

    def fetch(self, prog, local):
        """None: nothing to fetch. Otherwise the states with one more instruction."""
        if local.pc == len(prog):
            return None
        if local.window:
            if sum(prog[e.pc]['op'] not in PRIVATE for e in local.window) >= self.window:
                return None
            for e in local.window:  # what nothing overtakes: fetching on changes nothing
                ins = prog[e.pc]
                if not e.done and (ins['op'] in FULL or ins.get('acq')):
                    return None
        ins = prog[local.pc]
        if ins['op'] == 'goto':
            return [local._replace(pc=ins['to'])]
        if ins['op'] == 'choose':
            return [local._replace(pc=local.pc + 1), local._replace(pc=ins['to'])]
        if ins['op'] != 'br':
            n = 2 if ins['op'] == 'xl' else 1  # with its store
            return [local._replace(pc=local.pc + n, window=local.window + tuple(
                Entry(local.pc + i, False, None, None) for i in range(n)))]
        known, v = self.value(prog, local, len(local.window), ins['val'])
        if not known and not self.weak:
            return None
        return [local._replace(pc=ins['to'] if g else local.pc + 1,
                               window=local.window + (Entry(local.pc, False, None, g),))
                for g in ((bool(v),) if known else (True, False))]

    def address(self, prog, local, k):
        return self.value(prog, local, k, prog[local.window[k].pc]['addr'])

    def may(self, prog, local, k):
        """None: the @k-th of the window may not be performed now. Otherwise (address, store that it
        takes its value from or None)."""
        ins = prog[local.window[k].pc]
        op, older = ins['op'], [(j, e) for j, e in enumerate(local.window[:k]) if not e.done]
        if op in FULL:
            return None if older else (self.address(prog, local, k)[1] if 'addr' in ins else None, None)
        if op not in ('ld', 'st', 'xl', 'xs'):
            return None
        known, addr = self.address(prog, local, k)
        if not known:
            return None
        source, store = None, op in ('st', 'xs')
        for j, e in older:
            o = prog[e.pc]
            oop = o['op']
            if oop in ('set', 'check'):
                continue
            if oop == 'br':
                if not self.weak or (store and self.control):
                    return None
                continue
            if oop in FULL or o.get('acq') or (store and ins.get('rel')):
                return None
            ostore = oop in ('st', 'xs')
            if not self.weak and not (ostore and not store):
                return None
            if self.weak and ostore and not store and ins.get('sc') and o.get(
                    'rel' if self.control else 'sc'):
                return None
            oknown, oaddr = self.address(prog, local, j)
            if not oknown:
                if store:
                    return None
                continue
            if oaddr == addr:
                if op != 'ld' or oop != 'st':
                    return None
                source = j
        for j in range(k + 1, len(local.window)):  # overtook us before our address was known
            e = local.window[j]
            forwarded = e.guess is not None and j - e.guess >= k  # from us, or a younger store
            if (e.done and 'addr' in prog[e.pc] and not forwarded
                    and self.address(prog, local, j) == (True, addr)):
                raise WrongGuess
        return addr, source

    def moves(self, t, local):
        """What thread @t can do in state @local: (kind, variable, value or function, position); of a
        load from a store of the window (fw) the distance in place of the variable, of membarrier the
        thread that is interrupted."""
        prog, found = self.progs[t], []
        for k, e in enumerate(local.window):
            if e.done:
                continue
            ins = prog[e.pc]
            ok = self.may(prog, local, k)
            if not ok:
                continue
            addr, source = ok
            if addr is not None and addr not in self.vars:
                if any(not o.done and prog[o.pc]['op'] == 'br' for o in local.window[:k]):
                    continue  # the guess is wrong
                raise KeyError(f'{addr} is not in memory')
            var = None if addr is None else self.vars[addr]
            op = ins['op']
            if op in ('ld', 'xl') and source is None:
                found.append(('ld', var, None, k))
            elif op == 'ld':
                known, v = self.value(prog, local, source, prog[local.window[source].pc]['val'])
                if known:
                    found.append(('fw', k - source, v, k))
            elif op in ('st', 'xs'):
                known, v = self.value(prog, local, k, ins['val'])
                if known:
                    found.append(('st', var, v, k))
            elif op in ('rmw', 'sys'):
                found.append(('sys', var, self.bound(prog, local, k, ins), k))
            elif op == 'memb':
                found += [('memb', i, None, k) for i in range(len(self.progs))
                          if i != t and i not in (e.val or ())]
        return found

    def bound(self, prog, local, k, ins):
        """The function of a system call or read-modify-write, with its registers' values bound."""
        fn, regs = ins['val'], {}
        for reg in fn.__code__.co_varnames[1:fn.__code__.co_argcount]:
            regs[reg] = self.lookup(prog, local, k, reg)[1]
        return lambda v: fn(v, **regs)

    def perform(self, t, local, k, val, back=None):
        window, done = list(local.window), True
        if self.progs[t][window[k].pc]['op'] == 'memb':
            val = (window[k].val or frozenset()) | {val}
            done = len(val) == len(self.progs) - 1
        window[k] = window[k]._replace(done=done, val=val, guess=back)
        return self.settle(t, local._replace(window=tuple(window)))

    # ---- all threads ----

    def first(self):
        states = [()]
        for t, prog in enumerate(self.progs):
            regs = sorted({i['reg'] for i in prog if 'reg' in i})
            init = tuple((r, prog.init.get(r)) for r in regs)
            states = [s + (x,) for s in states for x in
                      [self.intern(t, l) for l in self.settle(t, Local(0, init, (), None))] if x]
        return [(self.start, s) for s in states]

    def intern(self, t, local):
        """A thread's state with its moves, computed once; the same object for the same state. None: it
        is of an execution that does not exist."""
        table = self.known[t]
        if local not in table:
            try:
                table[local] = Known(self, local, self.moves(t, local), self.progs[t])
            except WrongGuess:
                table[local] = None
        return table[local]

    def nexts(self, t, known, k, val, back=None):
        key = (k, val, back)
        got = known.after.get(key)
        if got is None:
            got = [self.intern(t, x) for x in self.perform(t, known.local, k, val, back)]
            got = [x for x in got if x]
            known.after[key] = got
        return got

    def successors(self, state):
        """([(thread, position, value, next state)], any move at all)."""
        mem, threads = state
        out, any_move = [], False
        for t, known in enumerate(threads):
            for kind, var, x, k in known.moves:
                m, val = mem, x
                if kind == 'ld':
                    val = mem[var]
                elif kind == 'memb':
                    if not threads[var].clean:
                        any_move = True
                        continue
                    val = var
                elif kind != 'fw':
                    new = x
                    if any(var in o.reserved for i, o in enumerate(threads) if i != t):
                        any_move = True
                        continue
                    if kind == 'sys':
                        new = x(mem[var])
                        if new is None:
                            continue
                        val = mem[var]
                    m = mem[:var] + (new,) + mem[var + 1:]
                any_move = True
                after = self.nexts(t, known, k, val, var if kind == 'fw' else None)
                for n in after:
                    out.append((t, k, val, (m, threads[:t] + (n,) + threads[t + 1:])))
        return out, any_move

    def explore(self, limit=2000000):
        """('holds' or what went wrong, states seen, the execution that led there)."""
        seen = dict.fromkeys(self.first(), None)
        todo = list(seen)
        while todo:
            state = todo.pop()
            failed = [x.local.failed for x in state[1] if x.local.failed]
            # What others make of a store counts once the branches before it are decided.
            if failed and not any(x.bold for x in state[1]):
                return failed[0], len(seen), self.trace(seen, state)
            after, moved = self.successors(state)
            if not moved and not all(x.over for x in state[1]):
                stuck = ', '.join(n for n, x in zip(self.names, state[1]) if not x.over)
                return f'for ever asleep: {stuck}', len(seen), self.trace(seen, state)
            for t, k, val, n in after:
                if n not in seen:
                    seen[n] = (state, t, k, val)
                    todo.append(n)
            if len(seen) > limit:
                return f'more than {limit} states', len(seen), []
        return 'holds', len(seen), []

    def said(self, state, t, k, val):
        known = state[1][t]
        ins = self.progs[t][known.local.window[k].pc]
        addr = self.address(self.progs[t], known.local, k)[1] if 'addr' in ins else ''
        return f'    {self.names[t]}: {NAMES[ins["op"]]} {addr} [{val}] {ins["text"]}'

    def trace(self, seen, state):
        lines = []
        while seen[state]:
            before, t, k, val = seen[state]
            lines.append(self.said(before, t, k, val))
            state = before
        return lines[::-1]


class Known:
    """A thread's state and what follows from it alone. Compared by identity."""

    def __init__(self, machine, local, moves, prog):
        self.local, self.moves, self.after = local, moves, {}
        self.over = not local.window and local.pc == len(prog)
        self.clean = not any(e.done for e in local.window)
        undecided = [k for k, e in enumerate(local.window) if not e.done and prog[e.pc]['op'] == 'br']
        self.bold = bool(undecided) and any(
            e.done and prog[e.pc]['op'] in ('st', 'xs') for e in local.window[undecided[0]:])
        # Between an exclusive load and its store nobody else stores there.
        self.reserved = frozenset(
            machine.vars[machine.address(prog, local, k)[1]] for k, e in enumerate(local.window)
            if prog[e.pc]['op'] == 'xs' and not e.done and (k == 0 or local.window[k - 1].done))


def liveness(prog):
    """Registers that are read before they are written, for each place of @prog."""
    live = [set() for _ in range(len(prog) + 1)]
    changed = True
    while changed:
        changed = False
        for pc in reversed(range(len(prog))):
            ins = prog[pc]
            after = set() if ins['op'] == 'goto' else set(live[pc + 1])
            if 'to' in ins:
                after |= live[ins['to']]
            after.discard(ins.get('reg'))
            for part, first in (('addr', 0), ('val', 1 if ins['op'] in ('sys', 'rmw') else 0)):
                fn = ins.get(part)
                if callable(fn):
                    after |= set(fn.__code__.co_varnames[first:fn.__code__.co_argcount])
            if after != live[pc]:
                live[pc] = after
                changed = True
    return live
