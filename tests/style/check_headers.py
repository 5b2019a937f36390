#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Each header compiles alone; the public ones in C99, C11 and C++ as well.

A header sees only the include paths of its layer, so this checks the arrows once more.

usage: check_headers.py [BUILDDIR]
"""
import os
import shlex
import shutil
import subprocess

import check_tree
import tree

CC = shlex.split(os.environ.get('CC', 'cc'))
WARN = ['-fsyntax-only', '-Wall', '-Wextra', '-Werror']
WARN_C = ['-Wstrict-prototypes', '-Wshadow']


def compile_alone(command, language, include, paths):
    """'' or what the compiler says of a unit that includes nothing but @include, twice."""
    unit = f'#include {include}\n#include {include}\ntypedef int not_empty;\n'
    paths = [a for p in paths for a in ('-I', os.path.join(tree.ROOT, p))]
    done = subprocess.run([*command, *paths, '-x', language, '-'], input=unit, text=True,
                          capture_output=True, check=False)
    return done.stderr.strip() if done.returncode else ''


def dpdk_flags():
    done = subprocess.run(['pkg-config', '--cflags', 'libdpdk'], text=True, capture_output=True,
                          check=False)
    return shlex.split(done.stdout.replace('-I', '-isystem '))


def every_header_compiles_alone():
    wrong = []
    for path in tree.files('.h'):
        layer = check_tree.layer_of(path)
        if not layer:
            continue
        paths = [p.rstrip('/') for p in check_tree.LAYERS[layer] if p.endswith('/')]
        if 'api' in paths:
            paths.append('api/include')
        if 'api/include' in paths:
            paths.append('shm-ring')  # of shm_ring.h, which zvsock_broker.h includes
        if layer in ('api/proto/', 'host-dpdk/daemon/'):  # "proto/local/client_msg.h"
            paths.append('api')
        if layer.startswith('drop-in/'):
            paths.append('api')
        for root in ('bench', 'host-dpdk/daemon', 'drop-in', 'tests/daemon'):  # its headers name the folder: "core/plan.h"
            if layer.startswith(root + '/'):
                paths.append(root)
        paths += [os.path.dirname(p) for p in check_tree.LAYERS[layer] if p.endswith('.h')]
        command = [*CC, '-std=gnu11', '-D_GNU_SOURCE', *WARN, *WARN_C]
        if path in check_tree.DPDK_FILES:
            command += dpdk_flags()
        said = compile_alone(command, 'c', f'"{os.path.join(tree.ROOT, path)}"', paths)
        if said:
            wrong.append(f'{path}:\n{said}')
    return wrong


def public(command, language):
    wrong = []
    for name in sorted([*os.listdir(os.path.join(tree.ROOT, 'api/include')), 'shm_ring.h']):
        said = compile_alone([*command, '-pedantic', *WARN], language, f'<{name}>', ['api/include', 'shm-ring'])
        if said:
            wrong.append(f'{name} with {" ".join(command)}:\n{said}')
    return wrong


def public_headers_are_c99():
    return public([*CC, '-std=c99', *WARN_C], 'c')


def public_headers_are_c11():
    return public([*CC, '-std=c11', *WARN_C], 'c')


def public_headers_are_cxx():
    cxx = next((c for c in ('g++', 'clang++-14', 'clang++') if shutil.which(c)), None)
    if not cxx:
        raise tree.Skip('no C++ compiler here: neither g++ nor clang++-14')
    strict = [cxx, '-Wshadow', '-Wold-style-cast', '-Wuseless-cast', '-Wnon-virtual-dtor']
    strict = strict if cxx == 'g++' else [cxx, '-Wshadow', '-Wold-style-cast']
    return [said for std in ('c++11', 'c++17', 'c++20') for said in public([*strict, f'-std={std}'], 'c++')]


if __name__ == '__main__':
    tree.run(every_header_compiles_alone, public_headers_are_c99, public_headers_are_c11,
             public_headers_are_cxx)
