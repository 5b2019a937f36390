# SPDX-License-Identifier: BSD-3-Clause
"""What the user reads: report.html, one file that needs nothing else, and the summary on the terminal."""
import html

STYLE = '''
:root { color-scheme: light dark; --text: #1c1c1e; --page: #fff; --soft: #5b5b62; --grid: #d4d4da; --box: #f4f4f7; --warn: #8a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8ea; --page: #16171a; --soft: #a5a5ad; --grid: #3a3b41; --box: #212226; --warn: #ffb454; }
}
body { color: var(--text); background: var(--page); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 82rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } p, li { max-width: 60rem; }
.soft { color: var(--soft); } .warn { color: var(--warn); font-weight: 600; }
.wide { overflow-x: auto; } .wide svg { display: block; min-width: 44rem; width: 100%; height: auto; }
svg .gridline { stroke: var(--grid); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); white-space: nowrap; }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
td.words { white-space: normal; min-width: 14rem; } thead th { background: var(--box); white-space: normal; min-width: 4.5rem; vertical-align: bottom; }
details { margin-top: 1rem; } code { background: var(--box); padding: 0 .25em; }
'''


def number(v):
    """Three digits that matter."""
    if v is None:
        return '-'
    for limit, unit in ((1e9, ' G'), (1e6, ' M'), (1e4, ' k')):
        if v >= limit:
            return f'{v / (1e3 if unit == " k" else limit):.3g}{unit}'
    return f'{v:.0f}' if v >= 1000 else f'{v:.3g}'


def size_text(n):
    return f'{n >> 20} MiB' if n >= 1 << 20 else f'{n >> 10} KiB' if n >= 1024 else f'{n} B'


def name_text(ident, how):
    return f'{ident} {how}'.strip()


def spread_text(s, ratio=False):
    if not s:
        return '-'
    text = number(s.median) + ('x' if ratio else '')
    return text if s.n < 2 else f'{text} [{number(s.low)} .. {number(s.high)}]'


def table(head, rows, words=()):
    """@words: columns of text."""
    def cell(tag, i, v):
        return f'<{tag}{" class=words" if i in words else ""}>{html.escape(str(v))}</{tag}>'
    out = ['<div class="wide"><table><thead><tr>', *(cell('th', i, h) for i, h in enumerate(head)), '</tr></thead><tbody>']
    for row in rows:
        out += ['<tr>', *(cell('td', i, v) for i, v in enumerate(row)), '</tr>']
    return ''.join(out) + '</tbody></table></div>'


def text_table(head, rows):
    """The same for a terminal."""
    widths = [max(len(str(r[i])) for r in [head, *rows]) for i in range(len(head))]
    return '\n'.join('  ' + '  '.join(str(v).ljust(w) if i == 0 else str(v).rjust(w)
                                      for i, (v, w) in enumerate(zip(r, widths))) for r in [head, *rows])


# What the summary shows: head, metric, and what its cells have.
def summary_columns(sizes):
    cols = []
    for direction, arrow in (('g2h', 'guest to host'), ('h2g', 'host to guest')):
        cols += [(f'{arrow}, {size_text(s)}, Gbit/s', 'gbit_per_s', {'test': 'throughput', 'direction': direction, 'size': s})
                 for s in sizes]
    return [*cols, ('round trip p50, us', 'rtt_p50_us', {'test': 'rtt'}),
            ('p99, us', 'rtt_p99_us', {'test': 'rtt'}),
            ('connects/s', 'conns_per_s', {'test': 'connrate', 'conns': 1, 'direction': 'g2h'}),
            ('CPU s per GB, 64 KiB', 'cpu_s_per_gb', {'test': 'throughput', 'direction': 'g2h', 'size': 65536}),
            ('CPU s per million, 64 B', 'cpu_s_per_million', {'test': 'throughput', 'direction': 'g2h', 'size': 64})]


def lines_of(figures, cpus, parts):
    """(id, how) of everything that was measured there. Connections have no way of calling: no line of their own
    where the rest has one."""
    found = list(dict.fromkeys((k.id, k.how) for k in figures.cells if k.cpus == cpus and k.part in parts))
    return [(i, way) for i, way in found if way or not any(i == other and w for other, w in found)]


def summary(figures, cpus, columns, parts, ratio_of=None):
    """Rows of the summary; with @ratio_of, an (id, how): how many times better that is than each row."""
    rows = []
    for ident, way in lines_of(figures, cpus, parts):
        row = [name_text(ident, way)]
        for _, metric, want in columns:
            keys = [k for part in parts for k in figures.select(part=part, cpus=cpus, id=ident, how=way, **want)]
            if not keys and want['test'] == 'connrate':  # connections have no way of calling
                keys = [k for part in parts for k in figures.select(part=part, cpus=cpus, id=ident, how='', **want)]
            if not keys:
                row.append('-')
            elif not ratio_of:
                s = figures.spread(keys[0], metric)
                row.append(number(s.median) if s else '-')
            else:
                way_of = '' if want['test'] == 'connrate' else ratio_of[1]
                row.append(spread_text(figures.ratio(keys[0]._replace(id=ratio_of[0], how=way_of), keys[0], metric), True))
        if (ident, way) != ratio_of and any(v != '-' for v in row[1:]):
            rows.append(row)
    return rows


def page(title, facts, warnings, sections, absent, method):
    """@facts: [(name, value)]; @sections: [(head, paragraph, [svg or table])]; @absent: rows."""
    out = ['<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
           '<meta name="viewport" content="width=device-width, initial-scale=1">',
           f'<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><h1>{html.escape(title)}</h1>',
           '<p class="soft">', '<br>'.join(f'{html.escape(n)}: {html.escape(v)}' for n, v in facts), '</p>']
    out += [f'<p class="warn">{html.escape(w)}</p>' for w in warnings]
    for head, words, parts in sections:
        out += [f'<h2>{html.escape(head)}</h2>', f'<p>{html.escape(words)}</p>' if words else '']
        out += [p if p.startswith('<div') else f'<div class="wide">{p}</div>' for p in parts]
    if absent:
        out += ['<h2>What is absent</h2>', table(('target', 'what it is', 'why', 'how to get it'), absent, (1, 2, 3))]
    out += ['<h2>How it was measured</h2>', *(f'<p>{html.escape(m)}</p>' for m in method), '</body></html>\n']
    return ''.join(out)
