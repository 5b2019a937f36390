#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Prototypes in the public headers = the version maps = what the shared libraries export.

usage: check_symbols.py [BUILDDIR]
"""
import glob
import os
import re
import subprocess
import sys

import tree

LIBRARIES = {  # name: (public headers, version map)
    'libzvsock': (['api/include/zvsock.h', 'api/include/zvsock_broker.h', 'api/include/zvsock_dgram.h', 'api/include/zvsock_mem.h'], 'api/libzvsock.map'),
    'libshm-ring': (['shm-ring/shm_ring.h'], 'shm-ring/libshm-ring.map'),
    'libzvsock-host': (['api/include/zvsock_host.h'], 'host-dpdk/libzvsock-host.map'),
}
PROTOTYPE = re.compile(r'^(?:ZV|SHM)_API\s[^;(]*?\b(\w+)\(', re.M)


def prototypes(headers):
    return {name for h in headers for name in PROTOTYPE.findall(tree.read(h))}


def map_nodes(path):
    """{node: set of global names}"""
    text = tree.without_comments(tree.read(path))
    nodes = {}
    for name, body in re.findall(r'([\w.]+)\s*\{(.*?)\}', text, flags=re.S):
        body = re.sub(r'local:.*', '', body, flags=re.S)
        nodes[name] = set(re.findall(r'([\w*]+)\s*;', body))
    return nodes


def differ(what, a, a_name, b, b_name):
    return ([f'{what}: {n} is in {a_name}, not in {b_name}' for n in sorted(a - b)] +
            [f'{what}: {n} is in {b_name}, not in {a_name}' for n in sorted(b - a)])


def maps_name_the_public_functions():
    wrong = []
    for lib, (headers, version_map) in LIBRARIES.items():
        named = set()
        for node, names in map_nodes(version_map).items():
            if not node.endswith('_PRIVATE'):
                named |= names
        wrong += differ(lib, prototypes(headers), ', '.join(headers), named, version_map)
    return wrong


def libraries_export_their_maps():
    build = sys.argv[1] if len(sys.argv) > 1 else os.path.join(tree.ROOT, 'build')
    wrong, seen = [], []
    for lib, (_, version_map) in LIBRARIES.items():
        found = glob.glob(os.path.join(glob.escape(build), '**', f'{lib}.so'), recursive=True)
        if not found:
            continue
        seen.append(lib)
        done = subprocess.run(['nm', '-D', '--defined-only', '--format=posix', found[0]],
                              text=True, capture_output=True, check=True)
        exported = {line.split()[0] for line in done.stdout.splitlines()}
        exported = {n.split('@')[0] for n in exported} - set(map_nodes(version_map))
        wanted = set().union(*map_nodes(version_map).values())
        wrong += differ(lib, exported, os.path.basename(found[0]), wanted, version_map)
    if not seen:
        raise tree.Skip(f'no shared library in {build}')
    return wrong


def public_functions_are_documented():
    """A comment stands right above each prototype, or above the group that it belongs to."""
    wrong = []
    for header in [h for headers, _ in LIBRARIES.values() for h in headers]:
        text = tree.read(header)
        for m in PROTOTYPE.finditer(text):
            above = text[:m.start()].rstrip(' \t')
            # Climb over the prototypes of the same group: no blank line in between.
            while re.search(r';[ \t]*\n$', above) and not above.endswith('\n\n'):
                start = above.rfind('\nSHM_API' if 'shm' in header else '\nZV_API')
                if start < 0:
                    break
                above = above[:start + 1]
            last = above.rstrip('\n').rsplit('\n', 1)[-1]
            if above.endswith('\n\n') or not last.endswith('*/') or '----' in last:
                wrong.append(f'{header}:{tree.line_of(text, m.start())}: {m.group(1)}() has no comment')
    return wrong


if __name__ == '__main__':
    tree.run(maps_name_the_public_functions, libraries_export_their_maps,
             public_functions_are_documented)
