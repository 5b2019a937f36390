#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Rules of the tree that no compiler checks: who includes whom, what a file must and must not say.

usage: check_tree.py [BUILDDIR]
"""
import os
import re

import tree

MAX_LINES = 550
SOURCES = ('.c', '.h', '.py', '.sh', '.map', 'meson.build', 'meson_options.txt')

DAEMON = 'host-dpdk/daemon/'

# shm-ring <- api <- {guest-pmd, host-dpdk/backend} <- bench, tests. zvsockd sees neither rings nor DPDK.
# The longest matching prefix rules.
LAYERS = {
    'shm-ring/': ['shm-ring/'],
    'shm-ring/bench/': ['shm-ring/bench/', 'shm-ring/shm_ring.h', 'shm-ring/shm_access.h'],
    'api/include/': ['api/include/', 'shm-ring/shm_ring.h'],
    'api/proto/': ['api/proto/', 'shm-ring/'],
    'api/': ['api/', 'shm-ring/'],
    'guest-pmd/': ['guest-pmd/', 'api/', 'shm-ring/'],
    'host-dpdk/common/': ['host-dpdk/common/', 'api/', 'shm-ring/'],
    'host-dpdk/backend/': ['host-dpdk/backend/', 'host-dpdk/common/', 'api/', 'shm-ring/'],
    # zvsockd: {base, config} <- core <- channel <- {relay <- endpoint, control} <- main; what else each takes of the tree is named.
    'host-dpdk/daemon/config/': [DAEMON + 'config/', 'host-dpdk/common/vu_limits.h', 'api/include/', 'api/proto/ctrl/hello.h'],
    'host-dpdk/daemon/base/': [DAEMON + 'base/', 'api/include/'],
    'host-dpdk/daemon/core/': [DAEMON + 'core/', DAEMON + 'base/', DAEMON + 'config/', 'host-dpdk/common/vu_limits.h',
                               'host-dpdk/common/fd_closer.h', 'host-dpdk/common/passed.h',
                               'host-dpdk/common/mem_sleep.h', 'host-dpdk/common/mem_look.h', 'api/include/',
                               'api/spin.h'],
    'host-dpdk/daemon/channel/': [DAEMON + 'channel/', DAEMON + 'core/', DAEMON + 'base/', DAEMON + 'config/', 'host-dpdk/common/fd_closer.h', 'api/include/', 'api/proto/ctrl/ctrl_msg.h', 'shm-ring/shm_ring.h'],
    'host-dpdk/daemon/relay/': [DAEMON + 'relay/', DAEMON + 'channel/', DAEMON + 'core/', DAEMON + 'base/', 'host-dpdk/common/passed.h', 'api/include/',
                                'api/spin.h'],
    'host-dpdk/daemon/endpoint/': [DAEMON + 'endpoint/', DAEMON + 'relay/', DAEMON + 'channel/', DAEMON + 'core/', DAEMON + 'base/', DAEMON + 'config/',
                                   'api/proto/local/dropin_msg.h',
                                   'api/proto/ctrl/hello.h', 'api/proto/ctrl/ctrl_msg.h',
                                   'host-dpdk/common/passed.h', 'host-dpdk/common/fd_closer.h', 'host-dpdk/common/sock_claim.h',
                                   'host-dpdk/common/sock_connect.h', 'host-dpdk/common/dir_open.h', 'host-dpdk/common/thread_start.h', 'api/include/', 'api/spin.h'],
    'host-dpdk/daemon/control/': [DAEMON + 'control/', DAEMON + 'channel/', DAEMON + 'core/', DAEMON + 'base/', DAEMON + 'config/',
                                  'host-dpdk/common/passed.h', 'host-dpdk/common/fd_closer.h', 'host-dpdk/common/fd_send.h', 'host-dpdk/common/sock_claim.h',
                                  'host-dpdk/common/sock_connect.h', 'api/include/', 'shm-ring/spsc_ring.h'],
    'host-dpdk/daemon/ctl/': [DAEMON + 'ctl/', DAEMON + 'base/counters.h', DAEMON + 'control/protocol.h', 'api/proto/local/dropin_msg.h'],
    'host-dpdk/daemon/': ['api/proto/local/client_msg.h', 'api/proto/ctrl/hello.h', 'host-dpdk/daemon/', 'host-dpdk/common/', 'api/include/'],
    # AF_VSOCK programs: common <- {preload, seccomp <- run}. Of the tree they know the messages to zvsockd alone.
    'drop-in/common/': ['drop-in/common/', 'api/proto/local/dropin_msg.h'],
    'drop-in/preload/': ['drop-in/preload/', 'drop-in/common/', 'api/proto/local/dropin_msg.h'],
    'drop-in/seccomp/': ['drop-in/seccomp/', 'drop-in/common/'],
    'drop-in/run/': ['drop-in/run/', 'drop-in/seccomp/super.h', 'drop-in/common/'],
    'bench/': ['bench/', 'api/include/', 'shm-ring/'],
    'bench/measure/': ['bench/measure/'],
    'bench/core/': ['bench/core/', 'bench/measure/'],
    'bench/report/': ['bench/report/', 'bench/core/', 'bench/measure/', 'api/include/'],
    'bench/io/': ['bench/io/', 'bench/core/', 'bench/measure/', 'api/include/', 'shm-ring/'],
    'bench/workload/': ['bench/workload/', 'bench/report/', 'bench/io/', 'bench/core/', 'bench/measure/',
                        'api/include/', 'shm-ring/'],
    'bench/target/': ['bench/target/', 'bench/workload/workloads.h', 'bench/report/', 'bench/io/', 'bench/core/',
                      'bench/measure/', 'api/include/', 'shm-ring/'],
    'tests/': ['tests/', 'drop-in/', 'bench/', 'host-dpdk/backend/', 'host-dpdk/common/', 'guest-pmd/', 'api/', 'shm-ring/'],
    'tests/daemon/': ['tests/', 'bench/', 'host-dpdk/daemon/', 'host-dpdk/backend/',
                      'host-dpdk/common/', 'guest-pmd/', 'api/', 'shm-ring/'],
    'examples/': ['api/include/', 'shm-ring/shm_ring.h'],
}
# Within a layer: (who, must not include whom), as patterns of paths. In guest-pmd: the driver <- what
# transports share, over regions of memory <- a folder a transport; builtin.c lists them and kinds of regions.
NEVER = [
    (r'guest-pmd/(?!builtin)[^/]+$', r'guest-pmd/[^/]+/'),
    (r'guest-pmd/transport/', r'guest-pmd/(?!transport/|region/)[^/]+/'),
    (r'guest-pmd/region/', r'guest-pmd/(?!region/)'),
    # what the public header promises needs nothing private; rings and bells know no channel
    (r'shm-ring/shm_ring\.h', r'shm-ring/'),
    (r'shm-ring/(shm_access|shm_region|spsc_ring|mark_ring|doorbell|bell_page)', r'shm-ring/channel'),
    # guest memory <- rings <- queue pairs <- the device behind a vhost-user socket
    (r'host-dpdk/backend/mem/', r'host-dpdk/backend/(?!mem/)'),
    (r'host-dpdk/backend/ring/', r'host-dpdk/backend/(?!mem/|ring/)'),
    (r'host-dpdk/backend/pair/', r'host-dpdk/backend/(?!mem/|ring/|pair/)'),
    # what a message must look like <- sockets and connections <- the device, which acts on it <- what opens both,
    # and chooses how addresses are translated
    (r'host-dpdk/backend/vhost-user/vu_(rules|stream|features)', r'host-dpdk/backend/(?!ring/|vhost-user/vu_(rules|stream|features))'),
    (r'host-dpdk/backend/vhost-user/vu_(server|conn)', r'host-dpdk/backend/(?!vhost-user/vu_(rules|stream|server))'),
    (r'host-dpdk/backend/vhost-user/vu_(device|messages|translate)',
     r'host-dpdk/backend/(dpdk/|vhost-user/vu_(backend|conn|server_priv)|mem/iotlb)'),
]
# The socket layer: docs/architecture.md has the order of its files.
SOCKET = 'api/socket/'
# The only files that may know DPDK.
DPDK_FILES = {f'host-dpdk/backend/dpdk/{n}' for n in ('vu_rte.c', 'eal.c')}
# Where a name in quotes or brackets is looked for, after the file's own directory.
SEARCH = ['drop-in', 'shm-ring', 'api', 'api/include', 'guest-pmd', 'host-dpdk/backend', 'host-dpdk/common', 'host-dpdk/daemon', 'bench', 'tests/daemon', 'tests']

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"\n]+)[>"]', re.M)


def layer_of(path):
    return max((p for p in LAYERS if path.startswith(p)), key=len, default=None)


def resolve(path, name):
    for folder in [os.path.dirname(path), *SEARCH]:
        candidate = os.path.normpath(os.path.join(folder, name))
        if os.path.isfile(os.path.join(tree.ROOT, candidate)):
            return candidate
    return None


def includes_point_one_way():
    wrong = []
    for path in tree.files('.c', '.h'):
        layer = layer_of(path)
        if not layer:
            wrong.append(f'{path}: belongs to no layer')
            continue
        text = tree.read(path)
        for m in INCLUDE.finditer(text):
            where = f'{path}:{tree.line_of(text, m.start())}'
            target = resolve(path, m.group(2))
            if not target:
                if m.group(1) == '"':
                    wrong.append(f'{where}: "{m.group(2)}" is not a file of the project')
                continue
            if (not any(target.startswith(p) for p in LAYERS[layer])
                    or any(re.match(a, path) and re.match(b, target) for a, b in NEVER)):
                wrong.append(f'{where}: {layer} must not include {target}')
    return wrong


def socket_layer_order():
    """Place of each file of api/socket/ in the order of docs/architecture.md, lowest first."""
    table = tree.read('docs/architecture.md').split('\n| folder of api/socket |')[1].split('\n\n')[0]
    rows = [[cell.strip() for cell in row.split('|')] for row in table.split('\n')[2:]]
    names = [f'{folder}/{name}' for _, folder, files, *_ in rows for name in files.split(', ')]
    return {f'{SOCKET}{name}.{s}': i for i, name in enumerate(names) for s in 'hc'}


def socket_layer_has_one_direction():
    """A file of the socket layer includes headers of files before it in the table, and its own."""
    place, wrong = socket_layer_order(), []
    for path in tree.files('.c', '.h'):
        if not path.startswith(SOCKET):
            continue
        if path not in place:
            wrong.append(f'{path}: has no place in the order of docs/architecture.md')
            continue
        text = tree.read(path)
        for m in INCLUDE.finditer(text):
            target = resolve(path, m.group(2)) if m.group(1) == '"' else None
            if target in place and place[target] > place[path]:
                wrong.append(f'{path}:{tree.line_of(text, m.start())}: {target} comes after it: docs/architecture.md')
    return wrong


def socket_layer_calls_downwards():
    """No file of the socket layer calls a function that a later one defines, however it is declared."""
    place = socket_layer_order()
    define = re.compile(r'^(?!static|typedef)[a-z][\w \t*]*?[ *\t](\w+)\([^;{]*\)\s*\{', re.M)
    texts = {path: tree.without_comments(tree.read(path)) for path in tree.files('.c', '.h') if path in place}
    home = {m.group(1): path for path in texts for m in define.finditer(texts[path])}
    return [f'{path}:{tree.line_of(text, m.start())}: {m.group(1)}() is in {home[m.group(1)]}, which comes after it'
            for path, text in texts.items() for m in re.finditer(r'\b(\w+)\(', text)
            if m.group(1) in home and place[home[m.group(1)]] > place[path]
            and text[m.start() - 1] not in '>.']


def dpdk_stays_in_its_files():
    wrong = []
    for path in tree.files('.c', '.h'):
        for m in INCLUDE.finditer(tree.read(path)):
            if m.group(2).startswith('rte_') and path not in DPDK_FILES:
                wrong.append(f'{path}: includes <{m.group(2)}>; only {sorted(DPDK_FILES)} may')
    return wrong


def zvsockd_is_one_for_both_ends():
    """Below main and the configuration nothing asks whether zvsockd is a guest's host or the guest: what differs is a value
    in cfg_roles[], of which relays need none, or a key that says which section lacks it."""
    wrong = []
    for path in tree.files('.c', '.h'):
        if not re.match(DAEMON + r'(base|core|channel|relay|endpoint|control)/', path):
            continue
        text = tree.without_comments(tree.read(path))
        asks = re.compile(r'(?<!\.absent = \{\[)\bCFG_AS_\w+' + (r'|\bcfg_roles\b' if '/relay/' in path else ''))
        wrong += [f'{path}:{tree.line_of(text, m.start())}: {m.group(0)}' for m in asks.finditer(text)]
    return wrong


def driver_knows_rings_by_verbs():
    """How a ring lies in memory is known to the files of its layout only."""
    private = re.compile(r'(?:\.|->)(slot|priv|posted|published|taken|fault|used_idx|avail_idx)\b|\bvring_\w+|\bVRING_\w+')
    wrong = []
    for path in tree.files('.c', '.h'):
        if not path.startswith('guest-pmd/') or os.path.basename(path).startswith('virtqueue'):
            continue
        text = tree.without_comments(tree.read(path))
        wrong += [f'{path}:{tree.line_of(text, m.start())}: {m.group(0)} belongs to the layouts of rings '
                  '(guest-pmd/virtqueue*)' for m in private.finditer(text)]
    return wrong


def files_have_their_licence_line():
    return [f'{path}: no SPDX-License-Identifier in its first two lines'
            for path in tree.files(*SOURCES)
            if 'SPDX-License-Identifier: BSD-3-Clause' not in
            '\n'.join(tree.read(path).split('\n')[:2])]


def files_are_short():
    return [f'{path}: {n} lines; cut it (at most {MAX_LINES})'
            for path in tree.files(*SOURCES)
            if (n := tree.read(path).count('\n')) > MAX_LINES]


def nothing_is_left_for_later():
    mark = re.compile(r'\b(' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X')) + r')\b')
    wrong = []
    for path in tree.files(*SOURCES, '.md'):
        text = tree.read(path)
        wrong += [f'{path}:{tree.line_of(text, m.start())}: {m.group(1)}'
                  for m in mark.finditer(text)]
    return wrong


def no_merge_is_half_done():
    mark = re.compile('^(?:' + '<' * 7 + '|' + '>' * 7 + ') ', re.M)
    return [f'{path}:{tree.line_of(text, m.start())}: left by a merge'
            for path in tree.files(*SOURCES, '.md') for text in [tree.read(path)]
            for m in mark.finditer(text)]


def comments_keep_their_lines():
    """clang-format joins the lines of a table or list when one of them is too long for it."""
    comment, joined = re.compile(r'/\*.*?\*/', re.S), re.compile(r'\n[ \t]*\*(?=[^\s*/])')
    return [f'{path}:{tree.line_of(text, c.start() + m.start() + 1)}: no blank behind "*": the line above '
            'was too long; write it shorter'
            for path in tree.files('.c', '.h') for text in [tree.read(path)]
            for c in comment.finditer(text) for m in joined.finditer(c.group())]


def no_line_stands_there_twice():
    """Left by a merge or by a careless paste. Tests may make a call twice in a row: they see what a second one does."""
    brace_or_border, call = re.compile(r'[^\w]*$|[ \t]*#[ \t]*endif'), re.compile(r'[ \t]*[\w.>-]+\(.*\);$')
    wrong = []
    for path in tree.files('.c', '.h'):
        lines = tree.read(path).split('\n')
        wrong += [f'{path}:{i + 1}: the same as the line above: {line.strip()}'
                  for i, line in enumerate(lines[1:], 1)
                  if line == lines[i - 1] and not brace_or_border.match(line)
                  and not (path.startswith('tests/') and call.match(line) and line[0] == '\t')]
    return wrong


def no_two_comments_on_one_thing():
    """A comment of one line, and the next one below it: one of them is left from before."""
    two = re.compile(r'^([ \t]*)/\*[^\n]*\*/\n(?=\1/\*)', re.M)
    return [f'{path}:{tree.line_of(text, m.start())}: another comment follows: which is meant?'
            for path in tree.files('.c', '.h') for text in [tree.read(path)]
            for m in two.finditer(text) if 'SPDX' not in m.group()]


def libraries_neither_print_nor_exit():
    """Library code returns errors; a peer or a user must not be able to end the process."""
    call = re.compile(r'(?<![\w.>])(printf|fprintf|vfprintf|puts|putchar|perror|abort|exit|_exit'
                      r'|assert|rte_panic|rte_exit)\s*\(')
    wrong = []
    for path in tree.files('.c', '.h'):
        if not path.startswith(('shm-ring/', 'api/', 'guest-pmd/', 'host-dpdk/', 'drop-in/')):
            continue
        if path.startswith(('host-dpdk/daemon/', 'guest-pmd/bind/', 'shm-ring/bench/', 'drop-in/run/', 'drop-in/seccomp/')):  # programs
            continue
        text = tree.without_comments(tree.read(path))
        for m in call.finditer(text):
            if text[:m.start()].endswith('format('):  # __attribute__((format(printf, ...)))
                continue
            wrong.append(f'{path}:{tree.line_of(text, m.start())}: {m.group(1)}()')
    return wrong


# Files that may look into a ring on the device's side: one layout each, and the union of their states.
RING_LAYOUTS = re.compile(r'host-dpdk/backend/ring/')
RING_INSIDES = re.compile(r'\bstruct vring_|\bvhost_(?:split|packed)_\w+\s*\(|(?:->|\.)(?:split|packed)\b|\b(?:last_avail|used_idx|shadow)\b')


def device_knows_rings_by_verbs():
    """The packet layer of the device knows no layout: it would have to be written again for the next one."""
    wrong = []
    for path in tree.files('.c', '.h'):
        if not path.startswith('host-dpdk/backend/') or RING_LAYOUTS.match(path):
            continue
        text = tree.without_comments(tree.read(path))
        wrong += [f'{path}:{tree.line_of(text, m.start())}: {m.group(0)}: use the verbs of vhost_ring.h'
                  for m in RING_INSIDES.finditer(text)]
    return wrong


def barrier_pairs_are_listed():
    """Letters in the code = letters in docs/memory-ordering.md, and each has a model."""
    listed = set(re.findall(r'^### \[(\w+)\]', tree.read('docs/memory-ordering.md'), re.M))
    wrong, used = [], set()
    for path in tree.files('.c', '.h'):
        # A comment may break the line between the words and the letter.
        text = re.sub(r'\n[ \t]*\*[ \t]', lambda m: ' ' * len(m.group(0)), tree.read(path))
        for m in re.finditer(r'barrier pair +\[(\w+)\]', text):
            used.add(m.group(1))
            if m.group(1) not in listed:
                wrong.append(f'{path}: barrier pair [{m.group(1)}] is not in docs/memory-ordering.md')
    modelled = {letter for path in tree.files('.py') if path.startswith('tests/model/model_')
                for pairs in re.findall(r"Model\(\s*'\w+', '(\w+)'", tree.read(path)) for letter in pairs}
    wrong += [f'docs/memory-ordering.md: nobody uses [{x}]' for x in sorted(listed - used)]
    return wrong + [f'docs/memory-ordering.md: no model in tests/model/ explores [{x}]'
                    for x in sorted(listed - modelled)]


def every_model_is_run():
    listed = set(re.findall(r"'(\w+)'", tree.read('tests/model/meson.build')))
    return [f'{path}: not in tests/model/meson.build' for path in tree.files('.py')
            if path.startswith('tests/model/model_')
            and path[len('tests/model/model_'):-len('.py')] not in listed]


if __name__ == '__main__':
    tree.run(includes_point_one_way, socket_layer_has_one_direction, socket_layer_calls_downwards, dpdk_stays_in_its_files,
             zvsockd_is_one_for_both_ends, driver_knows_rings_by_verbs, device_knows_rings_by_verbs,
             files_have_their_licence_line,
             files_are_short, barrier_pairs_are_listed, every_model_is_run, nothing_is_left_for_later,
             no_merge_is_half_done, no_line_stands_there_twice, no_two_comments_on_one_thing, comments_keep_their_lines,
             libraries_neither_print_nor_exit)
