# SPDX-License-Identifier: BSD-3-Clause
"""What the style checks share: the source tree, and verdicts in the form that cmocka prints."""
import os
import re
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402 pylint: disable=wrong-import-position

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '..', '..'))


def files(*suffixes):
    """Paths relative to ROOT of every file of the project whose name ends in one of @suffixes."""
    found = []
    for here, dirs, names in os.walk(ROOT):
        at_root = here == ROOT
        dirs[:] = sorted(d for d in dirs if d not in ('.git', '__pycache__')
                         and not (at_root and d.startswith('build')))
        found += [os.path.relpath(os.path.join(here, n), ROOT) for n in sorted(names)
                  if n.endswith(suffixes)]
    return found


def read(path):
    with open(os.path.join(ROOT, path), encoding='utf-8') as f:
        return f.read()


def blank(match):
    return re.sub(r'[^\n]', ' ', match.group(0))


def without_comments(text):
    """C text with comments and string contents blanked; lines stay where they are."""
    text = re.sub(r'/\*.*?\*/', blank, text, flags=re.S)
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', lambda m: '"' + ' ' * (len(m.group(0)) - 2) + '"', text)
    return re.sub(r'//[^\n]*', blank, text)


def line_of(text, offset):
    return text.count('\n', 0, offset) + 1


class Skip(Exception):
    """Raised by a check that cannot be made here; the argument says why."""


def run(*checks):
    """Runs the checks: functions that return a list of complaints. Exits 1 when there is one."""
    usage.arguments()
    bad = 0
    for check in checks:
        print(f'[ RUN      ] {check.__name__}')
        try:
            complaints = check()
        except Skip as why:
            print(f'{why}\n[  SKIPPED ] {check.__name__}')
            continue
        for text in complaints:
            print(text)
        print(f'[  FAILED  ] {check.__name__}' if complaints else f'[       OK ] {check.__name__}')
        bad += bool(complaints)
    sys.exit(1 if bad else 0)
