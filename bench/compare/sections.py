# SPDX-License-Identifier: BSD-3-Clause
"""What is run, and which figures are drawn of it."""
from collections import namedtuple

from page import name_text, size_text
from plots import SIZE_TICS, Plot

SIZES = (64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
QUEUES = (1, 2, 4, 8, 16)
CONNS = (1, 10, 100, 1000)

# One call of vsock-bench: a part of the report, its arguments, and what must be there for it (targets).
Step = namedtuple('Step', 'part args')


def steps(options):
    """Of one round."""
    sizes = ','.join(map(str, options.sizes))
    out = []
    for cpus in options.cpus:
        where = ['--cpus', cpus, '--target', options.target]
        out += [Step('sizes', [*where, '--test', 'throughput', '--size', sizes]),
                Step('latency', [*where, '--test', 'rtt,connrate', '--size', '64'])]
    where = ['--cpus', options.cpus[0], '--target', options.target]
    out += [Step('queues', [*where, '--test', 'throughput', '--size', '64', '--direction', 'g2h', '--zero-copy', '--queues', str(n)])
            for n in options.queues]
    if options.conns:
        out.append(Step('conns', [*where, '--test', 'conns', '--size', '64', '--zero-copy', '--active', ','.join(map(str, options.conns))]))
    return out


PINNING = {'1cpu': 'both sides on one CPU', '2cpu': 'one CPU each', 'free': 'not pinned'}
# Of rows that ran in a guest of the VM that all others ran in.
NESTED = 'nested'
PLACES = {**PINNING, NESTED: 'a stock guest inside the VM'}
NO_PEER = {'raw', 'raw-split', 'raw-packed'}  # nobody's transport: no part of CPU figures


def points(curve):
    return [(x, s.median, s.low, s.high) for x, s in curve]


def drawn(figures, options):
    """[(head, paragraph, [Plot])]"""
    palette, out = {}, []

    def plot(title, xlabel, ylabel, curves, hide=(), **how):
        p = Plot(title, xlabel, ylabel, palette=palette, **how)
        for (ident, way), curve in curves.items():
            if ident not in hide and way != 'coalesced':
                p.add(name_text(ident, way), points(curve))
        return [p] if p.curves else []

    by_size = {'log': 'xy', 'xtics': SIZE_TICS}
    for cpus in options.cpus:
        plots = []
        for direction, words in (('g2h', 'guest to host'), ('h2g', 'host to guest')):
            plots += plot(f'Throughput, {words}, {PLACES[cpus]}', 'message size', 'Gbit/s (payload)',
                          figures.curves('gbit_per_s', 'size', part='sizes', cpus=cpus, direction=direction), **by_size)
        out.append((f'Throughput over message size, {PLACES[cpus]}',
                    'One connection. Payload is written in full by the sender and verified in full by the receiver. Bars reach from '
                    'the worst round to the best. Sockets are measured in one direction, the other is the same.', plots))
    for cpus in options.cpus:
        p = Plot(f'Round trip of 64 B, {PLACES[cpus]}', 'microseconds', 'share of all round trips', log='x', palette=palette,
                 fit=False, extra=['set yrange [0:1]'])
        for k in figures.select(part='latency', cpus=cpus, test='rtt'):
            p.add(name_text(k.id, k.how), figures.distribution(k), bars=False)
        if p.curves:
            out.append((f'Latency, {PLACES[cpus]}', 'Distribution of the times of round trips: left is better, upright is steady.', [p]))
    out.append(('Scaling over queues', 'Messages of 64 B, guest to host, a connection on each queue. Sockets have a connection and a '
                'thread on each side for each queue; zvsock has one thread a side for all.',
                plot('64 B messages over queues', 'queues', 'million messages a second',
                     millions(figures.curves('msgs_per_s', 'queues', part='queues')), hide=NO_PEER, log='xy',
                     xtics=', '.join(f'"{q}" {q}' for q in options.queues))))
    out.append(('Scaling over connections', 'Messages of 64 B, guest to host, one queue; all connections send in turn.',
                plot('64 B messages over connections', 'connections', 'million messages a second',
                     millions(figures.curves('msgs_per_s', 'conns', part='conns')), log='xy')))
    for cpus in options.cpus:
        plots = []
        for metric, words in (('cpu_s_per_gb', 'CPU seconds per GB'), ('cpu_s_per_million', 'CPU seconds per million messages')):
            plots += plot(f'{words}, guest to host, {PLACES[cpus]}', 'message size', words,
                          figures.curves(metric, 'size', part='sizes', cpus=cpus, direction='g2h'), hide=NO_PEER, **by_size)
        out.append((f'CPU cost, {PLACES[cpus]}',
                    'User and system time of all processes, a program between them included; time that kernel threads (vhost) and interrupts '
                    'take is in it only as far as the kernel charges it to them. Less is better.', plots))
    return [(h, w, p) for h, w, p in out if p]


def cost_drawn(found):
    """The same of instructions a message (cost.py)."""
    p = Plot('Instructions of a 64-byte message, driver and device', 'open connections', 'instructions of both sides', log='x',
             extra=['set yrange [0:*]'])
    for mode in ('active', 'idle'):
        for queues in sorted({c['queues'] for c in found}):
            # Idle ones come on top of one that is busy on each queue.
            mine = [c for c in found if c['queues'] == queues and (c['mode'] == mode or c['conns'] == queues)]
            p.add(f'{queues} queue{"s" if queues > 1 else ""}, {mode}',
                  [(c['conns'], c['per_message']) for c in sorted(mine, key=lambda c: c['conns'])], bars=False)
    words = ('By the copying calls, in one process that is driver and device, counted by the CPU or by callgrind. Active: all connections send in '
             'turn, a batch of 32 each. Idle: one of each queue sends, the others are open. Flat is what it should be.')
    return [('Cost of a message over connections and queues', words, [p])] if p.curves else []


def millions(curves):
    return {name: [(x, type(s)(s.median / 1e6, s.low / 1e6, s.high / 1e6, s.n)) for x, s in curve] for name, curve in curves.items()}


def method(options):
    return [f'{options.rounds} rounds of everything, {options.duration:g} s for a run of a cell; within a round the targets run one after the '
            'other. Figures are medians over the rounds, with the least and the largest in brackets; ratios are medians of the ratios within '
            'each round. Trust ratios: absolute figures move with the machine.',
            f'Message sizes {", ".join(map(size_text, options.sizes))}. '
            f'zvsock and what it drives {"poll without end" if options.busy_poll else "poll for 50 us, then sleep"}.',
            'What the rows mean and how each is measured: docs/benchmarking.md.']
