# SPDX-License-Identifier: BSD-3-Clause
"""The command lines of vm.py, vmcompare.py and vmtest.py, which ./run calls with the build directory in front."""
import argparse
import os
import sys


# ./run sets it, to have the command line checked before it builds for minutes.
ONLY_CHECK = 'ZV_ONLY_CHECK' in os.environ


def build_dir(path):
    if not ONLY_CHECK and not os.path.isfile(os.path.join(path, 'build.ninja')):
        raise argparse.ArgumentTypeError(f'{path} is not a build directory; make one with: meson setup {path} && ninja -C {path}')
    return os.path.abspath(path)


def parser(name, form, doc):
    """A parser that knows BUILDDIR. @form: the other words, as the usage shows them."""
    p = argparse.ArgumentParser(prog=name, usage=f'./run {name} {form}\n       tests/vm/{name}.py BUILDDIR {form}', description=doc,
                                allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('build', metavar='BUILDDIR', type=build_dir, help='where zvsock was built; ./run fills it in')
    return p


def checked():
    """Nothing is wrong with the command line: ends the program, if that was the question."""
    if ONLY_CHECK:
        sys.exit(0)


def say(text):
    """A line from the command that was typed: vm, vmtest or vmcompare."""
    print(f'{os.path.splitext(os.path.basename(sys.argv[0]))[0]}: {text}', file=sys.stderr, flush=True)
