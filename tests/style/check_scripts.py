#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The scripts parse, and the entry points keep the promises that cost nothing to check.

usage: check_scripts.py [BUILDDIR]
"""
import os
import shutil
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
                 ['fmt', '--nonsense', '--no-install'], ['fuzz', 'nonsense'], ['test', '--sanitize', 'address']):
        done = call(RUN, *args)
        errors = [s for s in done.stderr.splitlines() if s.startswith('run: ')]
        if done.returncode != 2 or len(errors) != 1:
            wrong.append(f'run {" ".join(args)}: exit code {done.returncode}: {done.stderr}')
    return wrong


def run_without_packages(*args):
    """By a user who is not root, on a machine that has no sudo and, as it seems, no package."""
    with tempfile.TemporaryDirectory(prefix='zv style ') as folder:
        for tool in ('bash', 'cat', 'grep', 'readlink', 'uname'):
            os.symlink(shutil.which(tool), os.path.join(folder, tool))
        os.symlink(sys.executable, os.path.join(folder, 'python3'))
        for tool, says in (('id', '1000'), ('dpkg-query', '')):
            path = os.path.join(folder, tool)
            with open(path, 'w', encoding='utf-8') as f:
                f.write(f'#!/bin/sh\necho {says}\n')
            os.chmod(path, 0o755)
        return call(RUN, *args, env={'PATH': folder})


def run_names_packages_that_it_may_not_install():
    done = run_without_packages('build')
    lines = done.stderr.splitlines()
    return [] if done.returncode == 1 and len(lines) == 1 and 'as root: apt-get install meson ' in lines[0] else [
        f'exit code {done.returncode}: {done.stderr}']


def run_refuses_options_before_it_installs_or_builds():
    return [f'run {" ".join(args)}: exit code {done.returncode}: {done.stderr}'
            for args, words in ((['vmtest', 'nonsense'], 'no scenario is called nonsense'), (['vm', '--nonsense'], '--nonsense'),
                                (['vmcompare', '--rounds', '0'], '--rounds'))
            if (done := run_without_packages(*args)).returncode != 2 or words not in done.stderr.splitlines()[-1]]


# The binding's example imports the module, which is built elsewhere.
WITHOUT_USAGE = {'bindings/python/examples/echo.py'}


def scripts_explain_themselves():
    """--help shows the usage and ends with 0, an unknown option is refused with 2, and neither leaves a file."""
    wrong, before = [], set(tree.files(''))
    scripts = [p for p in tree.files('.py') if "__name__ == '__main__'" in tree.read(p) and p not in WITHOUT_USAGE]
    with tempfile.TemporaryDirectory(prefix='zv style ') as folder:
        for path in scripts + [p for p in tree.files('.sh') if p != 'tests/e2e/usage.sh']:
            runner = [sys.executable, '-B'] if path.endswith('.py') else ['bash']
            for option, code in (('--help', 0), ('--nonsense', 2)):
                done = call(*runner, os.path.join(tree.ROOT, path), option, cwd=folder, timeout=60)
                said = done.stdout if code == 0 else done.stderr
                if done.returncode != code or not said.strip() or code == 0 and 'usage: ' not in said:
                    wrong.append(f'{path} {option}: exit code {done.returncode}: {done.stdout}{done.stderr}')
        wrong += [f'left by a script: {name}' for name in os.listdir(folder)]
    return wrong + [f'left by a script: {path}' for path in sorted(set(tree.files('')) - before)]


def run_explains_its_commands():
    return [f'run {command} --help: exit code {done.returncode}: {done.stderr}'
            for command in ('compare', 'vmcompare', 'test', 'vmtest', 'vm', 'fuzz', 'build', 'fmt')
            if (done := call(RUN, command, '--help', timeout=60)).returncode or 'usage: ' not in done.stdout]


def readme_shows_the_example_as_it_is():
    code = tree.read('examples/echo_client.c')
    return [] if f'```c\n{code}```' in tree.read('README.md') else [
        'README.md does not contain examples/echo_client.c word for word']


if __name__ == '__main__':
    sys.dont_write_bytecode = True
    tree.run(shell_scripts_parse, python_scripts_parse, run_works_from_anywhere, scripts_explain_themselves,
             run_explains_its_commands, readme_shows_the_example_as_it_is, run_refuses_in_one_line,
             run_names_packages_that_it_may_not_install, run_refuses_options_before_it_installs_or_builds)
