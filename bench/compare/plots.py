# SPDX-License-Identifier: BSD-3-Clause
"""Figures as SVG, drawn by gnuplot. Text and axes have the colour of the page around, so that they suit dark and light."""
import html
import re
import shutil
import subprocess

# Seen on white and on near-black; told apart by those who see fewer colours (Okabe and Ito, some darkened).
COLOURS = ['#d55e00', '#e69f00', '#0083c8', '#009e73', '#cc79a7', '#8a6fdf', '#56a4d9', '#8c8c8c', '#b8860b', '#5f9e4a',
           '#c44e52', '#4c9fa8', '#a0785a']
SIZE_TICS = ', '.join(f'"{n}" {v}' for n, v in (('64 B', 64), ('256 B', 256), ('1 KiB', 1024), ('4 KiB', 4096), ('16 KiB', 16384),
                                                ('64 KiB', 65536), ('256 KiB', 262144), ('1 MiB', 1048576)))


class NoGnuplot(Exception):
    pass


def version():
    """'gnuplot 5.4 patchlevel 4', or None where there is none."""
    if not shutil.which('gnuplot'):
        return None
    return subprocess.run(['gnuplot', '--version'], capture_output=True, text=True, check=False).stdout.strip() or None


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


class Plot:
    """One figure. Curves are [(x, y, low, high)] with a name; colours go by the name, the same in all figures."""

    def __init__(self, title, xlabel, ylabel, log='', xtics='', palette=None, fit=True, extra=()):
        self.title, self.xlabel, self.ylabel, self.log, self.xtics = title, xlabel, ylabel, log, xtics
        self.palette = palette if palette is not None else {}
        self.fit, self.extra, self.curves = fit, extra, []

    def add(self, name, points, bars=True):
        if points:
            self.palette.setdefault(name, len(self.palette))
            self.curves.append((name, points, bars))

    def script(self, ident):
        """What gnuplot is told, data included."""
        lines = [f'set terminal svg size 960,520 dynamic noenhanced font "sans-serif,15" name "{ident}" linewidth 1.4',
                 f'set title {quoted(self.title)}', f'set xlabel {quoted(self.xlabel)}', f'set ylabel {quoted(self.ylabel)}',
                 'set key outside right top vertical Left reverse samplen 2 spacing 1.15', 'set border 3', 'set tics nomirror',
                 'set grid xtics ytics linewidth 0.5', 'set errorbars small', 'set lmargin 10', *self.extra]
        if self.log:
            lines.append(f'set logscale {self.log}')
        xs = [p[0] for _, curve, _ in self.curves for p in curve]
        if 'x' in self.log and self.fit:
            lines.append(f'set xrange [{min(xs) * 0.8:g}:{max(xs) * 1.25:g}]')
        if self.xtics:
            lines.append(f'set xtics ({self.xtics})')
        drawn = []
        for i, (name, points, bars) in enumerate(self.curves):
            colour = COLOURS[self.palette[name] % len(COLOURS)]
            lines += [f'$d{i} << EOD', *(' '.join(f'{v:.7g}' for v in p) for p in points), 'EOD']
            style, data = f'linecolor rgb "{colour}"', f'$d{i} using 1:2'
            marks = f'with linespoints {style} linewidth 1.8 pointtype {1 + self.palette[name] % 13} pointsize 0.7'
            drawn.append(f'{data} {marks if bars else f"with lines {style} linewidth 1.8"} title {quoted(name)}')
            if bars:
                drawn.append(f'{data}:3:4 with yerrorbars {style} linewidth 0.8 pointtype 0 notitle')
        lines.append('plot ' + ', \\\n     '.join(drawn))
        return '\n'.join(lines) + '\n'

    def svg(self, ident):
        """The element, to stand in a page. NoGnuplot, or RuntimeError with gnuplot's words."""
        try:
            done = subprocess.run(['gnuplot'], input=self.script(ident), capture_output=True, text=True, timeout=60, check=False)
        except FileNotFoundError:
            raise NoGnuplot from None
        if done.returncode or '</svg>' not in done.stdout:
            raise RuntimeError(f'gnuplot: {done.stderr.strip()[:500]}')
        return adapted(done.stdout, self.title)


def adapted(text, title):
    """Without prologue; what is black takes the colour of the page's text. Grid lines have a class of their own."""
    text = text[text.index('<svg'):]
    text = re.sub(r'<(title|desc)>.*?</\1>', '', text, count=2, flags=re.S)
    text = re.sub(r' color="(black|gray|white)"', '', text)
    text = re.sub(r'<filter.*?</filter>', '', text, flags=re.S)  # of boxes around text, of which there are none
    # What it blanks behind the middle of an error bar would show on a dark page, and hides the mark.
    text = re.sub(r"<use [^>]*color='white'/>", '', text)
    text = re.sub(r"""(stroke|fill)=(["'])black\2""", r'\1="currentColor"', text)
    return text.replace('<svg', f'<svg role="img" aria-label="{html.escape(title)}"', 1)
