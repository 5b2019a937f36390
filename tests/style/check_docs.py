#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What documents and comments refer to exists: files, links, headings, functions, fields, tests.

In a document, what stands in backticks counts: paths (from the root, or the last parts of one; `*` and {a,b}
as in a shell, NAME and N for any word), and names in lower case that have a _ in them. In a comment, the names
of files count. CHANGELOG.md speaks of the past and is left out.

usage: check_docs.py [BUILDDIR]
"""
import fnmatch
import os
import re

import tree

SUFFIX = r'\.(?:c|h|py|sh|md|map|build|txt)'
# Files that belong to others: comments may name them.
FOREIGN_FILES = {'rte_config.h', 'linux/vm_sockets.h', 'net/vmw_vsock/virtio_transport_common.c'}
# Names that belong to others: the kernel, QEMU, Firecracker, DPDK.
FOREIGN_NAMES = {'device_type', 'nr_overcommit_hugepages', 'num_queues', 'queue_sizes', 'uds_path', 'vhost_vsock',
                 'virtio_id'}
# Names that a document makes up, to show how something is used.
EXAMPLES = {'test_cons_2', 'vsock_1234'}
# Whose comments name files of all layers; the others know their own folder and the public headers.
ON_TOP = ('tests', 'bench', 'examples')


def all_paths():
    """Files and folders of the tree, from the root; without what a build makes."""
    paths = set()
    for here, dirs, names in os.walk(tree.ROOT):
        at_root = here == tree.ROOT
        dirs[:] = [d for d in dirs if d not in ('.git', '__pycache__')
                   and not (at_root and d.startswith('build'))]
        paths |= {os.path.relpath(os.path.join(here, n), tree.ROOT) for n in names + dirs}
    return paths


PATHS = all_paths()
BY_NAME = {}
for _p in PATHS:
    BY_NAME.setdefault(os.path.basename(_p), []).append(_p)
TOP = {p.split('/')[0] for p in PATHS}


def meant(name):
    """The paths that @name may mean: itself, or those that end in it."""
    name = name.removeprefix('./').rstrip('/')
    if name in PATHS:
        return [name]
    if not re.search(r'[*?\[]|N', name):
        return [p for p in BY_NAME.get(os.path.basename(name), []) if p.endswith('/' + name)]
    pattern = '/'.join(re.sub(r'(?<![A-Za-z])(?:NAME|N)(?![A-Za-z])', '*', part) for part in name.split('/'))
    return [p for p in PATHS
            if fnmatch.fnmatchcase(p, pattern) or fnmatch.fnmatchcase(p, '*/' + pattern)]


def alternatives(name):
    """a{b,c} is ab and ac."""
    m = re.search(r'\{([^{}]*)\}', name)
    return [name] if not m else [x for part in m.group(1).split(',')
                                 for x in alternatives(name[:m.start()] + part.strip() + name[m.end():])]


def is_path(word):
    if not re.fullmatch(r'[\w./*{},+-]+', word) or word.startswith(('/', '-', 'build')):
        return False
    if word == 'rte_*.h':
        return False
    return bool(re.search(SUFFIX + '$', word)) or '/' in word and word.split('/')[0] in TOP


def documents():
    return [(path, tree.read(path)) for path in tree.files('.md') if path != 'CHANGELOG.md']


def quoted(text):
    """What stands in backticks outside of code blocks, with its offset."""
    for m in re.finditer(r'`([^`\n]+)`', re.sub(r'^```.*?^```', tree.blank, text, flags=re.S | re.M)):
        yield m.start(), m.group(1)


def files_in_documents_exist():
    wrong = []
    for path, text in documents():
        for at, words in quoted(text):
            for word in (w.rstrip(',;:') for w in words.split()):
                for name in alternatives(word) if is_path(word) else []:
                    found = meant(name)
                    if not found:
                        wrong.append(f'{path}:{tree.line_of(text, at)}: `{name}` is not in the tree')
                    elif len(found) > 1 and not re.search(r'[*]|\bN(AME)?\b|_NAME', name):
                        wrong.append(f'{path}:{tree.line_of(text, at)}: `{name}` may be any of {sorted(found)}')
    return wrong


def heading_ids(text):
    return {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-')
            for h in re.findall(r'^#+ +(.*?)\s*$', text, re.M)}


def links_lead_somewhere():
    wrong = []
    for path, text in documents():
        for m in re.finditer(r'\]\(([^)\s]+)\)', text):
            target, _, anchor = m.group(1).partition('#')
            if '://' in target:
                continue
            full = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
            where = f'{path}:{tree.line_of(text, m.start())}'
            if full not in PATHS:
                wrong.append(f'{where}: no {full}')
            elif anchor and anchor not in heading_ids(tree.read(full)):
                wrong.append(f'{where}: {full} has no heading #{anchor}')
    return wrong


def comments_of(path, text):
    if path.endswith(('.c', '.h')):
        return re.finditer(r'/\*.*?\*/', text, re.S)
    return re.finditer(r'(?m)(?:^|(?<=\s))#[^\n]*|"""(?:.|\n)*?"""', text)


def files_in_comments_exist():
    name = re.compile(r'(?<![\w/<.*-])((?:[\w-]+/)*[\w-]+\.(?:c|h|py|sh|md))\b(?!>|\()')
    wrong = []
    for path in tree.files('.c', '.h', '.py', '.sh', 'meson.build'):
        text, top = tree.read(path), path.split('/')[0]
        for c in comments_of(path, text):
            for m in name.finditer(c.group()):
                found = meant(m.group(1))
                near = [p for p in found if p == m.group(1) or p.startswith((top + '/', 'api/include/'))]
                unique = len(found) == 1 and (top in ON_TOP or '/' in m.group(1))
                if m.group(1) in FOREIGN_FILES or near or unique:
                    continue
                wrong.append(f'{path}:{tree.line_of(text, c.start() + m.start())}: ' + (
                    f'{m.group(1)}: say in which folder it is, {" or ".join(sorted(found))}' if found
                    else f'{m.group(1)} is not in the tree'))
    return wrong


def functions_in_comments_exist():
    """What a comment calls name() occurs in the code: a function, a macro, a member, or what is called."""
    known = set()
    for path in tree.files('.c', '.h'):
        known |= set(re.findall(r'[A-Za-z_]\w*', tree.without_comments(tree.read(path))))
    for path in tree.files('.py', '.sh', 'meson.build'):
        known |= set(re.findall(r'[A-Za-z_]\w*', tree.read(path)))
    return [f'{path}:{tree.line_of(text, c.start() + m.start())}: there is no {m.group(1)}()'
            for path in tree.files('.c', '.h') for text in [tree.read(path)]
            for c in comments_of(path, text)
            for m in re.finditer(r'(?<![\w.])([A-Za-z_]\w*)\(\)', c.group()) if m.group(1) not in known]


def names_in_documents_exist():
    known = set(FOREIGN_NAMES | EXAMPLES)
    for path in tree.files('.c', '.h', '.py', '.sh', '.map', 'meson.build', 'meson_options.txt'):
        known |= set(re.findall(r'[A-Za-z_]\w*', tree.read(path)))
    word = re.compile(r'(?<![\w/-])(?:[a-z][a-z0-9]*(?:_[a-z0-9]+)+|(?:ZV|VU|VHOST|VSOCK|CTL)(?:_[A-Z0-9]+)+)'
                      r'(?![\w*/]|' + SUFFIX + ')')
    return [f'{path}:{tree.line_of(text, at)}: `{m.group()}` is in no source'
            for path, text in documents() for at, words in quoted(text)
            for m in word.finditer(re.sub(r'\w+\.\.\.', '', words)) if m.group() not in known]


def names_are_in_the_file_that_is_named():
    """A name that a document puts into a file ("A in B", "column A of B", both in backticks) occurs there."""
    wrong = []
    for path, text in documents():
        for m in re.finditer(r'`(\w+)(?:\(\))?` (?:in|of) `([^`\s]+' + SUFFIX + ')`', text):
            found = meant(m.group(2))
            if len(found) == 1 and not re.search(rf'\b{m.group(1)}\b', tree.read(found[0])):
                wrong.append(f'{path}:{tree.line_of(text, m.start())}: {found[0]} does not have {m.group(1)}')
    return wrong


def mapped():
    """(path without suffix, line) of each file that the tables of docs/architecture.md say is there.

    | file of FOLDER | ... has names in the first column, | folder of FOLDER | files | ... folders in the first, or
    the one above, and names in the second. A name is in the folder of the one before it in the cell.
    """
    text = tree.read('docs/architecture.md')
    base, columns, folder = None, 0, ''
    for no, line in enumerate(text.split('\n'), 1):
        cells = [c.strip() for c in line.strip('|').split('|')]
        if not line.startswith('|'):
            base = None
        elif m := re.fullmatch(r'(file|folder) of (\S+)', cells[0]):
            base, columns = m.group(2), 1 if m.group(1) == 'file' else 2
            folder = base
        elif base and not cells[0].startswith('---'):
            if columns == 2:
                folder = os.path.normpath(os.path.join(base, cells[0])) if cells[0] else folder
            here = folder
            for name in filter(None, cells[columns - 1].split(', ')):
                here = os.path.join(folder, os.path.dirname(name)) if '/' in name else here
                yield os.path.normpath(os.path.join(here, os.path.basename(name))), no


def the_map_shows_every_file():
    """docs/architecture.md names the sources of each part, and no others. Private headers (*_priv, *_int) go without saying."""
    wrong, shown = [], set()
    sources = {p[:-2] for p in PATHS if re.search(r'\.c$|(?<!_priv)(?<!_int)\.h$', p)
               and not p.startswith(('tests/', 'examples/', 'api/include/', 'bench/test_'))}
    for pattern, line in mapped():
        found = fnmatch.filter(sources, pattern)
        if not found:
            wrong.append(f'docs/architecture.md:{line}: {pattern} is not in the tree')
        shown |= set(found)
    return wrong + [f'docs/architecture.md: no table shows {p}' for p in sorted(sources - shown)]


def the_benchmark_is_described():
    """Workloads, targets and options of vsock-bench have their word in docs/benchmarking.md; workloads and options in
    vsock-bench(1)."""
    said, found, wrong = tree.read('docs/benchmarking.md'), 0, []
    manual = tree.read('docs/man/vsock-bench.1')
    for path in tree.files('.c'):
        text = tree.read(path)
        if not path.startswith(('bench/opts.c', 'bench/workload/', 'bench/target/')):
            continue
        names = re.findall(r'^const struct (?:workload|target) \w+ = \{\s*\.name = "([\w-]+)"', text, re.M)
        said_only = re.findall(r'^\t\.id = "([\w-]+)"', text, re.M)
        names += said_only
        for rows in re.findall(r'struct bench_option \w+\[\] = \{\n(.*?)^\};', text, re.S | re.M):
            names += ['--' + n for n in re.findall(r'^\t\{(?:\.name = )?"([\w-]+)"', rows, re.M)]
        found += len(names)
        wrong += [f'{path}: {n} is not in docs/benchmarking.md' for n in names
                  if not re.search(rf'(?<![\w-]){re.escape(n)}(?![\w-])', said)]
        items = [rf'Cm {n}$' if n[0] != '-' else rf'.*Fl {n[1:]}\b' for n in names]
        wrong += [f'{path}: {n} is not in docs/man/vsock-bench.1' for n, item in zip(names, items)
                  if not re.search(rf'^\.It {item}', manual, re.M) and (n[0] == '-' or 'target' not in path)]
    return wrong if found > 20 else [f'only {found} workloads, targets and options of vsock-bench are found']


def tests_of_the_threat_model_exist():
    """The last column names tests as meson does (host vu_rules) or by the last word of that alone."""
    text = tree.read('docs/threat-model.md')
    rules = text[text.index('## Rules'):]
    tests = {re.sub(r'^(?:test|fuzz)_(?:hostile_|daemon_)?|\.\w+$', '', os.path.basename(p))
             for p in PATHS if re.match(r'tests/.*/(?:test|fuzz)_\w+\.(?:c|py)$', p)}
    tests |= set(re.findall(r"test\('hostile (\w+)'", tree.read('tests/hostile/meson.build')))
    wrong = []
    for m in re.finditer(r'^\|.*\|([^|]*)\|$', rules, re.M):
        cell = re.sub(r'`[^`]*`|"[^"]*"|\([^)]*\)', tree.blank, m.group(1))
        words = re.findall(r'(?:\b(?:api|host|guest|daemon|hostile|fuzz) )([a-z]\w+)|\b([a-z]+(?:_[a-z]+)+)', cell)
        wrong += [f'docs/threat-model.md:{tree.line_of(text, text.index(rules) + m.start())}: no test {w}'
                  for pair in words for w in pair if w and w not in tests and w != 'and']
    return wrong


if __name__ == '__main__':
    tree.run(files_in_documents_exist, links_lead_somewhere, files_in_comments_exist, functions_in_comments_exist,
             names_in_documents_exist, names_are_in_the_file_that_is_named, the_map_shows_every_file,
             the_benchmark_is_described,
             tests_of_the_threat_model_exist)
