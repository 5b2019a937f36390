# SPDX-License-Identifier: BSD-3-Clause
"""The command lines of vm.py, vmcompare.py and vmtest.py, which ./run calls with the build directory in front."""
import argparse
import os
import sys


def build_dir(path):
    if not os.path.isfile(os.path.join(path, 'build.ninja')):
        raise argparse.ArgumentTypeError(f'{path} is not a build directory; make one with: meson setup {path} && ninja -C {path}')
    return os.path.abspath(path)


def parser(name, form, doc):
    """A parser that knows BUILDDIR. @form: the other words, as the usage shows them."""
    p = argparse.ArgumentParser(prog=name, usage=f'./run {name} {form}\n       tests/vm/{name}.py BUILDDIR {form}', description=doc,
                                allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('build', metavar='BUILDDIR', type=build_dir, help='where zvsock was built; ./run fills it in')
    return p


def say(text):
    """A line from the command that was typed: vm, vmtest or vmcompare."""
    print(f'{os.path.splitext(os.path.basename(sys.argv[0]))[0]}: {text}', file=sys.stderr, flush=True)
