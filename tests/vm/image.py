# SPDX-License-Identifier: BSD-3-Clause
"""Kernels and initial RAM disks of the test VMs, made from Debian's packages. No root is needed.

A kernel's package is downloaded once into VMDIR/kernel/ and unpacked there; it is never installed, except for
User-mode Linux, which is a program. The RAM disk is built anew each time, which takes less than a second:
busybox, socat and ncat as Debian ships them, with the shared libraries they want, the modules of the stock
virtio-vsock driver, and our static programs; a scenario may have one made with others. vm_agent is its first process.
"""
import lzma
import os
import re
import shutil
import stat
import subprocess
import tempfile

import cli

MODULES = ('virtio_pci', 'virtio_console', 'vmw_vsock_virtio_transport', 'vsock_diag')
# What a guest of our own driver needs besides.
PMD_MODULES = MODULES + ('vfio', 'vfio_iommu_type1', 'vfio_pci', 'uio_pci_generic')
# User-mode Linux has its bus, virtio_uml, built in.
UML_MODULES = ('vmw_vsock_virtio_transport', 'vsock_diag')
BUSYBOX = '/bin/busybox'
PROGRAMS = ('/usr/bin/socat', '/usr/bin/ncat')


class Missing(Exception):
    """What a VM needs cannot be had here; the text says why."""


def call(*args, **kw):
    return subprocess.run(args, text=True, capture_output=True, stdin=subprocess.DEVNULL,
                          check=False, **kw)


# ---- kernels ----------------------------------------------------------------------------------

def backports_options(folder):
    """apt options for bookworm-backports alone, in @folder: the machine's own lists stay as they are."""
    mirror = call('apt-get', 'indextargets', '--format', '$(REPO_URI)', 'Codename: bookworm')
    mirror = (mirror.stdout.split() or ['http://deb.debian.org/debian/'])[0]
    for name in ('lists/partial', 'cache/archives/partial'):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    sources = os.path.join(folder, 'sources.list')
    with open(sources, 'w', encoding='utf-8') as f:
        f.write(f'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {mirror} '
                'bookworm-backports main\n')
    user = ['-o', 'APT::Sandbox::User=root'] if os.getuid() == 0 else []
    return ['-o', f'Dir::Etc::SourceList={sources}', '-o', 'Dir::Etc::SourceParts=/dev/null',
            '-o', f'Dir::State::Lists={folder}/lists', '-o', f'Dir::Cache={folder}/cache', *user]


def real_package(options):
    """The versioned package behind linux-image-cloud-amd64."""
    done = call('apt-cache', *options, 'depends', 'linux-image-cloud-amd64')
    m = re.search(r'Depends: (linux-image-(\S+-cloud-amd64))', done.stdout)
    return m.groups() if m else (None, None)


def download(package, options, folder):
    cli.say(f'downloading {package} to {folder} (it is not installed)')
    done = call('apt-get', '-q', *options, 'download', package, cwd=folder)
    debs = [n for n in os.listdir(folder) if n.startswith(package + '_') and n.endswith('.deb')]
    if done.returncode or not debs:
        raise Missing(f'apt-get download {package}: {done.stderr.strip() or "no such package"}')
    deb = os.path.join(folder, debs[0])
    done = call('dpkg-deb', '-x', deb, folder)
    if done.returncode:
        raise Missing(f'dpkg-deb -x {deb}: {done.stderr.strip()}')
    os.remove(deb)


class Kernel:
    """What a guest boots: @image, of @release, with modules in @folder, those for its vsock driver and the driver's
    bus being @stock_modules."""
    stock_modules = MODULES

    def modules(self, names):
        """(their folder, [path], lines of modules.dep) of @names and all that they need; built-in ones left out."""
        deps, path_of = {}, {}
        with open(os.path.join(self.folder, 'modules.dep'), encoding='utf-8') as f:
            for line in f:
                path, _, rest = line.strip().partition(':')
                deps[path] = rest.split()
                path_of[os.path.basename(path).split('.')[0].replace('-', '_')] = path
        wanted = [path_of[n] for n in names if n in path_of]
        every = dict.fromkeys(q for p in wanted for q in [p, *deps[p]])
        return self.folder, list(every), {p: deps[p] for p in every}


class CloudKernel(Kernel):
    """Debian 12's cloud kernel, or the newer one of bookworm-backports."""

    def __init__(self, vmdir, backports=False):
        self.top = os.path.join(vmdir, 'kernel', 'backports' if backports else 'stable')
        if not self.complete():
            self.fetch(backports)
        self.release = os.listdir(os.path.join(self.top, 'lib/modules'))[0]
        self.folder = os.path.join(self.top, 'lib/modules', self.release)
        self.image = os.path.join(self.top, 'boot', f'vmlinuz-{self.release}')

    def complete(self):
        return os.path.exists(os.path.join(self.top, '.complete'))

    def fetch(self, backports):
        """Made aside and moved into place whole: another run may be at the same."""
        os.makedirs(os.path.dirname(self.top), exist_ok=True)
        folder = tempfile.mkdtemp(prefix=os.path.basename(self.top) + '-', dir=os.path.dirname(self.top))
        try:
            self.unpack(folder, backports)
            os.chmod(folder, 0o755)
            if not self.complete():  # by the other run
                shutil.rmtree(self.top, ignore_errors=True)
                os.rename(folder, self.top)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def unpack(self, folder, backports):
        options = []
        if backports:
            options = backports_options(os.path.join(folder, 'apt'))
            done = call('apt-get', '-q', *options, 'update')
            if done.returncode:
                raise Missing(f'bookworm-backports cannot be had: {done.stderr.strip()}')
        package, release = real_package(options)
        if not package:
            raise Missing('apt knows no linux-image-cloud-amd64; run apt-get update')
        download(package, options, folder)
        shutil.rmtree(os.path.join(folder, 'apt'), ignore_errors=True)
        done = call('depmod', '-b', folder, release, env={**os.environ, 'PATH': '/usr/sbin:/sbin:'
                                                          + os.environ.get('PATH', '')})
        if done.returncode:
            raise Missing(f'depmod: {done.stderr.strip()}')
        with open(os.path.join(folder, '.complete'), 'w', encoding='utf-8'):
            pass


class UmlKernel(Kernel):
    """User-mode Linux as Debian's package installs it: a program of the host."""
    stock_modules = UML_MODULES

    def __init__(self):
        self.image = shutil.which('linux.uml')
        if not self.image:
            raise Missing('the package user-mode-linux is not installed')
        self.release = call(self.image, '--version').stdout.strip()
        self.folder = os.path.join('/usr/lib/uml/modules', self.release)
        lacks = [p for p in (self.folder, BUSYBOX, *PROGRAMS) if not os.path.exists(p)]
        if lacks:
            raise Missing(f'{", ".join(lacks)}: not there; packages user-mode-linux, busybox-static, socat, ncat')


# ---- the archive ------------------------------------------------------------------------------

class Cpio:
    """A "newc" archive in memory; everything in it belongs to root."""

    def __init__(self):
        self.data, self.names = bytearray(), set()

    def add(self, name, mode, body=b'', rdev=(0, 0)):
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        fields = (len(self.names), mode, 0, 0, 1, 0, len(body), 0, 0, *rdev, len(name) + 1, 0)
        self.data += b'070701' + ''.join(f'{v:08x}' for v in fields).encode()
        self.data += name.encode() + b'\0'
        self.pad()
        self.data += body
        self.pad()

    def pad(self):
        self.data += bytes(-len(self.data) % 4)

    def add_file(self, source, name=None):
        with open(source, 'rb') as f:
            self.add(name or source.lstrip('/'), stat.S_IFREG | 0o755, f.read())

    def add_program(self, source):
        """A program of this machine, in /bin, with its loader and its shared libraries."""
        self.add_file(source, 'bin/' + os.path.basename(source))
        for line in call('ldd', source).stdout.splitlines():
            if m := re.search(r'(/\S+) \(0x', line):
                system = m[1].startswith(('/lib', '/usr/'))  # others: where the loader looks anyway
                self.add_file(m[1], None if system else 'lib/' + os.path.basename(m[1]))

    def write(self, path):
        """Whole, or not at all: another run may be reading what was there."""
        self.add('TRAILER!!!', 0)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(path), delete=False) as f:
            f.write(self.data)
        os.rename(f.name, path)


def module_bytes(path):
    with open(path, 'rb') as f:
        data = f.read()
    return lzma.decompress(data) if path.endswith('.xz') else data


def build(kernel, programs, path, modules=MODULES, dynamic=PROGRAMS, files=()):
    """Writes a RAM disk for @kernel to @path, with @programs (static) and @dynamic ones in /bin. @files: [(source, name in it)]"""
    cpio = Cpio()
    for folder in ('proc', 'sys', 'dev', 'tmp', 'etc', 'root', 'run'):
        cpio.add(folder, stat.S_IFDIR | 0o755)
    cpio.add('dev/console', stat.S_IFCHR | 0o600, rdev=(5, 1))
    cpio.add_file(BUSYBOX, 'bin/busybox')
    cpio.add('bin/sh', stat.S_IFLNK | 0o777, b'busybox')
    for program in dynamic:
        cpio.add_program(program)
    for program in programs:
        cpio.add_file(program, 'bin/' + os.path.basename(program))
    cpio.add('init', stat.S_IFLNK | 0o777, b'bin/vm_agent')
    for source, name in files:
        cpio.add_file(source, name)
    base, paths, deps = kernel.modules(modules)
    target = f'lib/modules/{kernel.release}'
    plain = {p: re.sub(r'\.ko\..*', '.ko', p) for p in paths}
    for p in paths:
        cpio.add(f'{target}/{plain[p]}', stat.S_IFREG | 0o644, module_bytes(os.path.join(base, p)))
    lines = [f'{plain[p]}: {" ".join(plain[q] for q in deps[p])}\n' for p in paths]
    cpio.add(f'{target}/modules.dep', stat.S_IFREG | 0o644, ''.join(lines).encode())
    have = {os.path.basename(p).split('.')[0].replace('-', '_') for p in paths}
    cpio.add('etc/modules', stat.S_IFREG | 0o644,
             ''.join(m + '\n' for m in modules if m in have).encode())
    cpio.write(path)
