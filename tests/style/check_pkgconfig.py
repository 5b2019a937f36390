#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What the pkg-config files hand to users: our headers and libraries, nothing that only the build needs.

usage: check_pkgconfig.py [BUILDDIR]
"""
import glob
import os
import re
import shutil
import subprocess
import sys

import tree


def ask(build, *args):
    """pkg-config with no other package in sight."""
    env = {**os.environ, 'PKG_CONFIG_LIBDIR': build, 'PKG_CONFIG_PATH': build}
    done = subprocess.run(['pkg-config', *args], env=env, text=True, capture_output=True, check=False)
    return done.stdout.split(), done.stderr.strip()


def files_stand_alone():
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tree.ROOT, 'build')
    names = sorted(os.path.basename(p)[:-3] for pattern in ('zvsock*.pc', 'shm-ring.pc')
                   for p in glob.glob(os.path.join(glob.escape(build), pattern)))
    if not names:
        raise tree.Skip(f'no zvsock.pc in {build}')
    if not shutil.which('pkg-config'):
        raise tree.Skip('no pkg-config on this machine')
    wrong = []
    for name in names:
        for what, allowed in (('--cflags', r'-I/\S+/include'), ('--libs', r'-L\S+|-lzvsock(-host)?|-lshm-ring')):
            said, error = ask(build, what, name)
            if error:
                wrong.append(f'{name} {what}: {error}')
            wrong += [f'{name} {what} gives {f}' for f in said if not re.fullmatch(allowed, f)]
    return wrong


if __name__ == '__main__':
    tree.run(files_stand_alone)
