#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The scripts parse, and the entry points keep the promises that cost nothing to check."""
import os
import subprocess
import sys
import tempfile

import tree

RUN = os.path.join(tree.ROOT, 'run')


def call(*args, **kw):
    return subprocess.run(args, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                          check=False, **kw)


def shell_scripts_parse():
    scripts = [p for p in tree.files('.sh') + ['run', '.ci/run']]
    return [done.stderr for p in scripts
            if (done := call('bash', '-n', os.path.join(tree.ROOT, p))).returncode]


def python_scripts_parse():
    wrong = []
    for path in tree.files('.py'):
        try:
            compile(tree.read(path), path, 'exec')
        except SyntaxError as e:
            wrong.append(f'{path}: {e}')
    return wrong


def run_works_from_anywhere():
    """By a link, with a space in its name, from a directory that is not the project."""
    wrong = []
    with tempfile.TemporaryDirectory(prefix='zv style ') as folder:
        link = os.path.join(folder, 'a link')
        os.symlink(RUN, link)
        done = call(link, '--help', cwd=folder)
        if done.returncode or 'usage: ./run' not in done.stdout:
            wrong.append(f'by a link: exit code {done.returncode}: {done.stderr}')
    return wrong


def run_refuses_in_one_line():
    wrong = []
    for args in (['nonsense'], ['build', '--sanitize=nonsense'], ['bench', '--hugepages'],
                 ['fmt', '--nonsense', '--no-install']):
        done = call(RUN, *args)
        errors = [s for s in done.stderr.splitlines() if s.startswith('run: ')]
        if not done.returncode or len(errors) != 1:
            wrong.append(f'run {" ".join(args)}: exit code {done.returncode}: {done.stderr}')
    return wrong


def readme_shows_the_example_as_it_is():
    code = tree.read('examples/echo_client.c')
    return [] if f'```c\n{code}```' in tree.read('README.md') else [
        'README.md does not contain examples/echo_client.c word for word']


if __name__ == '__main__':
    sys.dont_write_bytecode = True
    tree.run(shell_scripts_parse, python_scripts_parse, run_works_from_anywhere,
             readme_shows_the_example_as_it_is,
             run_refuses_in_one_line)
