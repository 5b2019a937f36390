# SPDX-License-Identifier: BSD-3-Clause
"""From the runs of vsock-bench's JSON to figures: cells, medians, spreads, ratios within a round.

A round is one pass over everything; what is compared is compared within the same round.
"""
import statistics
from collections import namedtuple

# What makes two runs the same cell. Rounds repeat it.
Key = namedtuple('Key', 'part cpus id how test direction size queues conns')
Spread = namedtuple('Spread', 'median low high n')

GB = 1e9


def how(run):
    """The way of calling, where there is a choice."""
    if 'zero_copy' not in run or run['target'] not in ('zvsock', 'vhost-kernel'):
        return ''
    return 'registered' if run.get('registered') else 'coalesced' if run.get('coalesced') else 'zero-copy' if run['zero_copy'] else 'copying'


def key_of(part, run):
    return Key(part, run['cpus'], run['id'], how(run), run['test'], run['direction'], run.get('msg_size', 0),
               run['queues'], run.get('conns', run.get('in_flight', 0)))


def cpu_per(run, unit, what):
    """CPU seconds of all processes for @unit of @what ('bytes', 'messages'); None: not known."""
    return sum(run['cpu_s'].values()) / run[what] * unit if run.get(what) and run['cpu_s'] else None


METRICS = {
    'gbit_per_s': lambda r: r.get('gbit_per_s'),
    'msgs_per_s': lambda r: r.get('msgs_per_s'),
    'conns_per_s': lambda r: r.get('conns_per_s'),
    'rtt_p50_us': lambda r: r['rtt_ns']['p50'] / 1e3 if 'rtt_ns' in r else None,
    'rtt_p99_us': lambda r: r['rtt_ns']['p99'] / 1e3 if 'rtt_ns' in r else None,
    'rtt_p999_us': lambda r: r['rtt_ns']['p999'] / 1e3 if 'rtt_ns' in r else None,
    'cpu_s_per_gb': lambda r: cpu_per(r, GB, 'bytes'),
    'cpu_s_per_million': lambda r: cpu_per(r, 1e6, 'messages'),
}
LESS_IS_BETTER = {'rtt_p50_us', 'rtt_p99_us', 'rtt_p999_us', 'cpu_s_per_gb', 'cpu_s_per_million'}


def spread(values):
    """Median, least and largest of the values that are there; None: there is none."""
    values = [v for v in values if v is not None]
    return Spread(statistics.median(values), min(values), max(values), len(values)) if values else None


class Figures:
    """All runs: self.cells is {Key: {round: run}}, self.failed {Key: why}."""

    def __init__(self):
        self.cells, self.failed, self.absent, self.errors = {}, {}, {}, 0

    def add(self, part, nth, report):
        """The JSON object of one vsock-bench, which was round @nth of @part."""
        for run in report['runs']:
            if 'failed' in run:
                self.failed.setdefault(key_of(part, run), run['failed'])
            elif 'absent' not in run:
                # A run more than the one of a round is another measurement of it: the later one counts.
                self.cells.setdefault(key_of(part, run), {})[nth] = run
                self.errors += run['errors']
            elif run.get('broken') or not self.absent.get(run['id'], {}).get('broken'):
                # The reason of one that broke is kept; what was not asked for in a part may be so in another.
                if run['absent'] != 'not in --target':
                    self.absent[run['id']] = run

    def measured(self):
        """Ids in the order in which they ran."""
        return list(dict.fromkeys(k.id for k in self.cells))

    def missing(self):
        """Never measured, or broken at least once, and why: {id: absent entry}."""
        return {i: r for i, r in self.absent.items() if r.get('broken') or i not in self.measured()}

    def spread(self, key, metric):
        return spread(METRICS[metric](r) for r in self.cells.get(key, {}).values())

    def ratio(self, key, base, metric):
        """Of each round: how many times better @key is than @base; None: no round has both."""
        pairs = []
        for nth, run in self.cells.get(key, {}).items():
            other = self.cells.get(base, {}).get(nth)
            mine, theirs = METRICS[metric](run), METRICS[metric](other) if other else None
            if mine and theirs:
                pairs.append(theirs / mine if metric in LESS_IS_BETTER else mine / theirs)
        return spread(pairs)

    def select(self, **want):
        """Keys with these fields, in the order in which they ran."""
        return [k for k in self.cells if all(getattr(k, f) == v for f, v in want.items())]

    def curves(self, metric, along, **want):
        """{(id, how): [(value of field @along, Spread)]}, sorted along it; only figures above zero."""
        out = {}
        for k in self.select(**want):
            s = self.spread(k, metric)
            if s and s.median > 0:
                out.setdefault((k.id, k.how), []).append((getattr(k, along), s))
        return {name: sorted(points) for name, points in out.items()}

    def distribution(self, key):
        """[(us, share)]: the median over rounds of each point of the distribution of round trips."""
        runs = [r['rtt_cdf'] for r in self.cells.get(key, {}).values() if 'rtt_cdf' in r]
        return [(statistics.median(ns for _, ns in point) / 1e3, point[0][0]) for point in zip(*runs)]

    def rows(self):
        """For the CSV: a dictionary for each cell. One that failed in all rounds has no figures."""
        for k in [*self.cells, *(k for k in self.failed if k not in self.cells)]:
            runs = self.cells.get(k, {})
            row = dict(k._asdict(), rounds=len(runs), errors=sum(r['errors'] for r in runs.values()), failed=self.failed.get(k, ''))
            for metric in METRICS:
                s = self.spread(k, metric)
                for name in ('median', 'low', 'high'):
                    row[f'{metric}_{name}'] = f'{getattr(s, name):.6g}' if s else ''
            yield row
