#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""What is written about zvsockd is true: every key and option is described, what is described is
there, and every example is a configuration that zvsockd takes.

usage: test_docs.py ZVSOCKD
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', 'style'))
import tree  # noqa: E402  pylint: disable=wrong-import-position

ZVSOCKD = tree.usage.arguments()[0]
SECTIONS = {'daemon': ('### [daemon]', 'DAEMON SECTION'),
            'guest': ('### [guest NAME]', 'GUEST SECTIONS'),
            'device': ('### [device NAME]', 'DEVICE SECTIONS')}
# Of the keys that are in one table for both: how the table says that a section does not have it.
NOT = {'guest': '[CFG_AS_HOST] =', 'device': '[CFG_AS_GUEST] ='}


def between(text, begin, end):
    """The text from the line @begin to the next line that matches @end."""
    start = text.index(begin + '\n') + len(begin)
    stop = re.compile(end, re.M).search(text, start)
    return text[start:stop.start() if stop else len(text)]


def keys_of_table(path, name):
    """{key: its entry}"""
    table = between(tree.read(path), f'const struct key {name}_keys[] = {{', r'^};')
    found = dict(re.findall(r'^\t\{"(\w+)",(.*?)(?=^\t\{)', table, re.M | re.S))
    assert found, f'the table of keys is not found in {path}'
    return found


def shared_keys():
    """Those of guests and devices, of the endpoint types too."""
    found = keys_of_table('host-dpdk/daemon/config/config_keys.c', 'cfg_guest')
    for path in tree.files('.c'):
        if path.startswith('host-dpdk/daemon/endpoint/'):
            for name in re.findall(r'^static const struct key (\w+)_keys\[\]', tree.read(path), re.M):
                found |= keys_of_table(path, name)
    return found


def lacking(section):
    return [k for k, entry in shared_keys().items() if NOT[section] in entry]


def keys_of_parser(section):
    """What its part of the text lists: all of [guest NAME], and of [device NAME] those that no guest has."""
    if section == 'daemon':
        return list(keys_of_table('host-dpdk/daemon/config/config_keys.c', 'cfg_daemon'))
    return lacking('guest') if section == 'device' else [k for k in shared_keys() if k not in lacking('guest')]


def what_devices_lack_is_said():
    """Both texts name the keys of a guest that a device does not have: "all keys ... but A, B and C"."""
    title, sh = SECTIONS['device']
    page = between(tree.read('docs/daemon.md'), title, r'^#')
    man = between(tree.read('docs/man/zvsock.conf.5'), '.Sh ' + sh, r'^\.Sh')
    page = re.findall(r'`(\w+)`', re.search(r' but (.*?)[:.]', page, re.S)[1])
    man = re.findall(r'\b([a-z_]+) ,?', re.search(r'\bbut\n\.Cm (.*)', man)[1].replace('and', ','))
    return compare('docs/daemon.md, not of devices', lacking('device'), page) + compare(
        'zvsock.conf(5), not of devices', lacking('device'), man)


def compare(what, there, said):
    return ([f'{what}: {k} is not described' for k in there if k not in said] +
            [f'{what}: {k} is described, but not there' for k in said if k not in there] +
            [f'{what}: {k} is described {said.count(k)} times' for k in set(said) if said.count(k) > 1])


def keys_are_in_daemon_md():
    wrong = []
    for section, (title, _) in SECTIONS.items():
        part = between(tree.read('docs/daemon.md'), title, r'^#')
        said = re.findall(r'^\| `(\w+)` \|', part, re.M)
        wrong += compare(f'docs/daemon.md, {title}', keys_of_parser(section), said)
    return wrong


def keys_are_in_the_manual():
    wrong = []
    for section, (_, title) in SECTIONS.items():
        part = between(tree.read('docs/man/zvsock.conf.5'), '.Sh ' + title, r'^\.Sh')
        said = re.findall(r'^\.It Cm (\w+)$', part, re.M)
        wrong += compare(f'zvsock.conf(5), {title}', keys_of_parser(section), said)
    return wrong


def options_are_described():
    there = re.findall(r'^\t\{"([a-z-]+)", ', tree.read('host-dpdk/daemon/cli.c'), re.M)
    assert len(there) > 3, 'the table of options is not found'
    there += ['help', 'usage', 'version']  # argp's own
    man = re.findall(r'Fl -([a-z-]+)', between(tree.read('docs/man/zvsockd.8'), '.Sh DESCRIPTION', r'^\.Sh'))
    page = re.findall(r'`--([a-z]+)[^`]*`',
                      '\n'.join(re.findall(r'^\|(.*?)\|', between(tree.read('docs/daemon.md'),
                                                               '## Command line', r'^#'), re.M)))
    return compare('zvsockd(8)', there, man) + compare('docs/daemon.md', there, page)


def commands_are_in_the_manual():
    """zvsockctl's commands each have a section, and --help comes from the same table."""
    there = re.findall(r'^\t\{"([a-z-]+)", "', between(tree.read('host-dpdk/daemon/ctl/zvsockctl.c'),
                                                    '} commands[] = {', r'^\};'), re.M)
    assert len(there) > 3, 'the table of commands is not found'
    said = re.findall(r'^\.Ss ([a-z-]+)', between(tree.read('docs/man/zvsockctl.1'), '.Sh DESCRIPTION', r'^\.Sh'), re.M)
    return compare('zvsockctl(1)', there, said)


def examples():
    """(where, text) of everything that is shown as a configuration."""
    found = []
    for path in ['README.md', *(p for p in tree.files('.md') if p.startswith('docs/'))]:
        text = tree.read(path)
        found += [(f'{path}:{tree.line_of(text, m.start())}', m.group(1))
                  for m in re.finditer(r'^```ini\n(.*?)^```', text, re.M | re.S)]
    part = between(tree.read('docs/man/zvsock.conf.5'), '.Sh EXAMPLES', r'^\.Sh')
    found += [('zvsock.conf(5)', m.group(1))
              for m in re.finditer(r'^\.Bd -literal\n(.*?)^\.Ed', part, re.M | re.S)]
    path = 'host-dpdk/daemon/dist/zvsock.conf'
    text = tree.read(path)
    # As it is, and with all that is commented out: "#key", not "# words".
    return found + [(path, text), (path + ', all of it', re.sub(r'^#(?=\S)', '', text, flags=re.M))]


def examples_are_good():
    wrong, found = [], examples()
    assert len(found) > 5, 'the examples are not found'
    for where, text in found:
        # Names and CPUs of the reader's machine are not this one's.
        text = re.sub(r'^cpus.*|^socket_owner.*', '', text, flags=re.M)
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as f:
            f.write(text)
            f.flush()
            done = subprocess.run([ZVSOCKD, '--check', f.name], capture_output=True, text=True,
                                  timeout=60, check=False)
        if done.returncode:
            wrong.append(f'{where}: {done.stderr}')
    return wrong


def manuals_are_well_formed():
    if not shutil.which('mandoc'):
        raise tree.Skip('mandoc is not installed')
    wrong = []
    for path in tree.files('.1', '.5', '.8'):
        if path.startswith('docs/man/'):
            done = subprocess.run(['mandoc', '-Tlint', '-Wwarning', path], cwd=tree.ROOT, text=True,
                                  capture_output=True, timeout=60, check=False)
            if done.returncode:
                wrong.append(done.stdout + done.stderr)
    return wrong


if __name__ == '__main__':
    tree.run(keys_are_in_daemon_md, keys_are_in_the_manual, what_devices_lack_is_said,
             options_are_described, commands_are_in_the_manual,
             examples_are_good, manuals_are_well_formed)
