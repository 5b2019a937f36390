# SPDX-License-Identifier: BSD-3-Clause
"""A QEMU that has the generic vhost-user device (10.2 and later), beside the machine's own.

It is the program ZV_QEMU names, or Debian's of trixie-backports, which fetch() unpacks into VMDIR/qemu/ with
all the libraries it wants; nothing is installed. Those are newer than Debian 12's, so it is started through
its own loader.
"""
import glob
import os
import re
import shutil
import subprocess
import tempfile

import cli
from image import Missing, call

DEVICE = 'vhost-user-test-device-pci'
PACKAGE = 'qemu-system-x86'
HOW = ('the QEMU here has no ' + DEVICE + ' (10.2 and later have): "./run vmtest --fetch-qemu" gets Debian\'s of '
       'trixie-backports into the build folder, ZV_QEMU=PATH names one of yours')


def folder_of(vmdir):
    return os.path.join(vmdir, 'qemu')


def unpacked(root):
    """How to start the QEMU in @root."""
    libraries = os.path.join(root, 'usr/lib/x86_64-linux-gnu')
    data = [a for name in ('qemu', 'seabios') for a in ('-L', os.path.join(root, 'usr/share', name))]
    return [os.path.join(root, 'usr/lib64/ld-linux-x86-64.so.2'), '--library-path', libraries,
            os.path.join(root, 'usr/bin/qemu-system-x86_64'), *data]


def has_device(argv):
    """None: @argv has the device; otherwise why not."""
    try:
        done = subprocess.run([*argv, '-device', f'{DEVICE},help'], text=True, capture_output=True, check=False,
                              stdin=subprocess.DEVNULL)
    except OSError as why:
        return f'{argv[0]}: {why.strerror}'
    if done.returncode or 'num_vqs' not in done.stdout:
        return f'{" ".join(argv)}: {done.stderr.strip() or "it has no " + DEVICE}'
    return None


def version(argv):
    """(11, 1, 3), of the QEMU that @argv starts."""
    done = subprocess.run([*argv, '--version'], text=True, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    found = re.search(r'version (\d+)\.(\d+)\.(\d+)', done.stdout)
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


def find(vmdir, usual):
    """Arguments that start a QEMU with the device; @usual is the machine's own. Missing says what to do."""
    if path := os.environ.get('ZV_QEMU'):
        if why := has_device([path]):
            raise Missing(f'ZV_QEMU: {why}')
        return [path]
    root = os.path.join(folder_of(vmdir), 'root')
    if os.path.exists(root):
        if why := has_device(unpacked(root)):
            raise Missing(f'{why}; remove {folder_of(vmdir)} and fetch it again')
        return unpacked(root)
    if has_device([usual]):
        raise Missing(HOW)
    return [usual]


# ---- fetching -----------------------------------------------------------------------------------

def apt_options(folder):
    """apt with lists of its own, which knows of no installed package: it names every one that is needed."""
    for name in ('lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(folder, name))
    mirror = call('apt-get', 'indextargets', '--format', '$(REPO_URI)').stdout.split()
    mirror = next((m for m in mirror if re.search(r'/debian/?$', m)), 'http://deb.debian.org/debian/')
    with open(os.path.join(folder, 'sources.list'), 'w', encoding='utf-8') as f:
        for suite in ('trixie', 'trixie-backports'):
            f.write(f'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} {suite} main\n')
    with open(os.path.join(folder, 'status'), 'w', encoding='utf-8'):
        pass
    user = ['-o', 'APT::Sandbox::User=root'] if os.getuid() == 0 else []
    return ['-o', f'Dir::Etc::SourceList={folder}/sources.list', '-o', 'Dir::Etc::SourceParts=/dev/null',
            '-o', f'Dir::State::Lists={folder}/lists', '-o', f'Dir::State::status={folder}/status',
            '-o', f'Dir::Cache={folder}/cache', '-o', 'Debug::NoLocking=true', *user]


def must(what, done):
    if done.returncode:
        raise Missing(f'{what}: {done.stderr.strip() or done.stdout.strip()}')


def unpack(folder):
    """All that QEMU needs, into @folder/root."""
    options = apt_options(folder)
    must('apt-get update', call('apt-get', '-q', *options, 'update'))
    must(f'apt-get install --download-only {PACKAGE}',
         call('apt-get', '-q', *options, '--no-install-recommends', '-y', '-d', '-t', 'trixie-backports',
              'install', PACKAGE))
    root = os.path.join(folder, 'root')
    os.mkdir(root)
    for deb in sorted(glob.glob(os.path.join(folder, 'cache/archives/*.deb'))):
        must(f'dpkg-deb -x {deb}', call('dpkg-deb', '-x', deb, root))
    for name in ('lists', 'cache'):
        shutil.rmtree(os.path.join(folder, name))
    if why := has_device(unpacked(root)):
        raise Missing(why)


def fetch(vmdir):
    """Makes sure that find() has one. Raises Missing."""
    where = folder_of(vmdir)
    if os.path.exists(where):
        return find(vmdir, 'qemu-system-x86_64')
    cli.say(f'downloading {PACKAGE} of trixie-backports, 38 MB, to {where} (it is not installed)')
    os.makedirs(vmdir, exist_ok=True)
    folder = tempfile.mkdtemp(prefix='qemu-', dir=vmdir)
    try:
        unpack(folder)
        os.chmod(folder, 0o755)
        if not os.path.exists(where):  # another run may have been quicker
            os.rename(folder, where)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return find(vmdir, 'qemu-system-x86_64')
