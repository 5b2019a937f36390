# SPDX-License-Identifier: BSD-3-Clause
"""The command lines of the scripts under tests/.

A script's docstring has a line "usage: NAME.py WORD... [OPTIONAL...]". --help, and words that do not fit that line, are answered
here, before the script does anything.
"""
import re
import sys


def arguments():
    """The words of the command line. Ends the program with the usage for --help (exit code 0) and for words that do not fit (2)."""
    doc = sys.modules['__main__'].__doc__
    words = sys.argv[1:]
    if '--help' in words or '-h' in words:
        print(doc.strip())
        sys.exit(0)
    usage, form = re.search(r'^(usage: \S+(.*))$', doc, re.M).groups()
    least = len(form.split('[')[0].split())
    most = sys.maxsize if '...' in form else len(form.split())
    wrong = next((f'unknown option {w}' for w in words if w.startswith('-')), None)
    if not wrong and len(words) < least:
        wrong = f'{form.split()[len(words)]} is missing'
    if not wrong and len(words) > most:
        wrong = f'unexpected argument {words[most]}'
    if wrong:
        print(f'{wrong}\n{usage}', file=sys.stderr)
        sys.exit(2)
    return words
