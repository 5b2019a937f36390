# SPDX-License-Identifier: BSD-3-Clause
"""What scenarios are made of: fixtures, their life, and the list of scenarios.

A scenario is a function of one argument, the Bench, marked @scenario; its first line of
documentation says what must hold. It raises Failure (or anything else) when that does not hold, Skip
when it cannot be tried here. Testbeds (a guest with its host side) are expensive, so bench.shared()
keeps one for all scenarios that leave it as they found it; after a failure it is thrown away.
"""
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time

import cli
import image
import qemu
import uml
from guest import Guest, QEMU, vsock_args
from procs import Failure, LIMIT, Log, Owner, Process

ECHO, SEQ, XFER = 5007, 5008, 5009  # ports; peer/peer.h
# How a conversation may hear that its peer was killed: the peer's kernel closes both directions, and
# a stock guest shows even a RST as an end of file; which call meets it first is chance.
ENDS = ('reset', 'Broken pipe', 'ended early')
# Kernels that guests may have, in the order of their scenarios, and how the names of these end.
SUFFIX = {'stable': '', 'backports': '_newer_kernel', 'uml': '_uml'}
SCENARIOS = []
LOG_SHOWN = 2000  # bytes of each log, with a scenario that has failed


class Skip(Exception):
    """A scenario cannot be tried here; the text says why."""


class Scenario:
    def __init__(self, function, kernel):
        self.function, self.kernel = function, kernel
        self.name = function.__name__ + SUFFIX[kernel]
        self.says = function.__doc__.splitlines()[0]


def scenario(function):
    """Lists @function as a scenario with Debian 12's kernel in the guest."""
    SCENARIOS.append(Scenario(function, 'stable'))
    return function


def both_kernels(function):
    """The same, and once more with the kernel of bookworm-backports (6.12) when it can be had."""
    SCENARIOS.append(Scenario(function, 'backports'))
    return scenario(function)


def also_in_uml(function):
    """Lists @function once more with guests in User-mode Linux, which connects to a vhost-user socket and has no
    monitor. These are quick, and part of ./run test."""
    SCENARIOS.append(Scenario(function, 'uml'))
    return function


def every_kernel(function):
    """With Debian 12's kernel, with the newer one, and in User-mode Linux."""
    return also_in_uml(both_kernels(function))


def scenarios():
    """All of them, in the order in which they share testbeds."""
    return sorted(SCENARIOS, key=lambda s: list(SUFFIX).index(s.kernel))


def stock_guest(testbed, log, path, server=False, **vm):
    """A guest of @testbed with the kernel's own driver on the vhost-user socket @path; @server: the guest listens
    there. @vm: what Guest is to know besides. It runs, wait_ready() waits for the system in it."""
    where = (testbed.owner, testbed.folder, log, testbed.kernel, testbed.bench.ramdisk(testbed.kernel))
    if isinstance(testbed.kernel, image.UmlKernel):
        if server or vm:
            raise Failure(f'User-mode Linux cannot do this: {vm or "listen"}')
        return uml.UmlGuest(*where, path)
    return Guest(*where, vsock_args(path, server), **vm)


class HostApp:
    """vm_host_app: the host's side in an application, which is the guest's backend itself."""

    def __init__(self, owner, program, uri, log):
        self.next, self.answers = 1, {}
        self.process = Process(owner, [program, uri], log, stdin=subprocess.PIPE)
        self.process.expect('^serving$')

    def start(self, command):
        number, self.next = str(self.next), self.next + 1
        self.process.popen.stdin.write(f'{number} {command}\n'.encode())
        self.process.popen.stdin.flush()
        return number

    def wait(self, number, limit=LIMIT):
        deadline = time.monotonic() + limit
        while number not in self.answers:
            line = self.process.expect(r'^\d+ (ok|FAILED) ', max(0.0, deadline - time.monotonic()))
            who, verdict, text = line.split(' ', 2)
            self.answers[who] = (verdict, text)
        verdict, text = self.answers.pop(number)
        if verdict != 'ok':
            raise Failure(f'host: {text}')
        return text

    def run(self, command, limit=LIMIT):
        return self.wait(self.start(command), limit)

    def stats(self):
        return json.loads(self.run('stats'))

    def finish(self):
        """Ends the application as its user would; a sanitizer's complaint is in the exit code."""
        self.start('quit')
        if code := self.process.wait():
            raise Failure(f'the host application ended with {code}')


class AppTestbed:
    """A stock guest and a host application. @vm: what Guest is to know beside its devices."""

    def __init__(self, bench, name, boot=True, **vm):
        self.bench, self.cid, self.vm = bench, bench.new_cid(), vm
        self.owner = Owner()
        self.folder = bench.new_folder()
        self.log = self.owner.add(Log(bench.log_path(name)))
        self.socket = os.path.join(self.folder, 'vsock.sock')
        self.app = self.guest = self.server = None
        self.kernel = bench.kernel()
        try:
            self.start_app()
            if boot:
                self.boot()
                self.serve()
        except BaseException:
            self.close()
            raise

    def start_app(self):
        self.app = HostApp(self.owner, self.bench.program('vm_host_app'),
                           f'host:{self.socket},cid={self.cid}', self.log)

    def boot(self):
        self.guest = stock_guest(self, self.log, self.socket, **self.vm).wait_ready()

    def serve(self):
        """Starts the conversations' servers in the guest."""
        self.server = self.guest.start('exec vsock_peer serve')
        self.server.expect('serving')

    def peer(self, command, limit=LIMIT):
        """One job of the program in the guest."""
        return self.guest.run(f'exec vsock_peer {command}', limit)

    def healthy(self):
        """Traffic flows both ways and nothing is left over from before."""
        self.peer(f'echo 2 {ECHO} 100000')
        self.app.run(f'echo {self.cid} {ECHO} 100000')

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def log_folder(parent, name):
    """(path, lock) of an empty folder for logs that only this run uses, as long as the lock is open: @name in
    @parent, or, while other runs have that, NAME-2, NAME-3, ..."""
    for n in itertools.count(1):
        path = os.path.join(parent, name if n == 1 else f'{name}-{n}')
        os.makedirs(path, exist_ok=True)
        lock = open(path + '.lock', 'w', encoding='utf-8')  # pylint: disable=consider-using-with
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if n > 1:
            cli.say(f'another run uses {os.path.join(parent, name)}: the logs of this one are in {path}')
        for old in os.listdir(path):
            os.remove(os.path.join(path, old))
        return path, lock
    raise AssertionError


class Bench:
    """One run of the tests: paths, kernels, and the testbeds that scenarios share. @logs: the name of
    the folder of its logs."""

    def __init__(self, build, logs='logs'):
        self.build = build
        self.vmdir = os.path.join(build, 'vm')
        self.logs, self.lock = log_folder(self.vmdir, logs)
        self.testbeds, self.kernels, self.ramdisks, self.vsock_ramdisks = {}, {}, {}, {}
        self.stillborn = []  # shared testbeds that failed to start
        self.cid = 2
        self.current, self.which = None, 'stable'  # the running scenario: name, kernel
        self.temporary = Owner()

    def new_cid(self):
        self.cid += 1
        return self.cid

    def new_folder(self):
        """For sockets: their paths must be short. A run that was killed leaves its folders."""
        for name in os.listdir(tempfile.gettempdir()):
            if (m := re.match(r'zv-vm-(\d+)-', name)) and not os.path.exists(f'/proc/{m[1]}'):
                shutil.rmtree(os.path.join(tempfile.gettempdir(), name), ignore_errors=True)
        return tempfile.mkdtemp(prefix=f'zv-vm-{os.getpid()}-')

    def log_path(self, name):
        return os.path.join(self.logs, name + '.log')

    def log_sizes(self):
        return {e.path: e.stat().st_size for e in os.scandir(self.logs)}

    def logged_since(self, before):
        """The end of what each log has got since log_sizes() returned @before."""
        text = ''
        for path, size in sorted(self.log_sizes().items()):
            if (begin := max(before.get(path, 0), size - LOG_SHOWN)) < size:
                with open(path, 'rb') as f:
                    f.seek(begin)
                    lines = f.read(size - begin).decode(errors='replace').splitlines()
                text += f'\n  {path} ends so:' + ''.join(f'\n    {line.rstrip()}' for line in lines)
        return text

    def program(self, name):
        for folder in ('tests/vm', 'tests/hostile', 'tests/daemon', 'host-dpdk/daemon', 'host-dpdk/daemon/ctl', 'drop-in/run', 'drop-in/preload', 'guest-pmd', 'bench'):
            path = os.path.join(self.build, folder, name)
            if os.path.isfile(path):
                return path
        raise Skip(f'{name} is not built')

    def kernel(self):
        which = self.which
        if which not in self.kernels:
            try:
                self.kernels[which] = self.find_kernel(which)
            except image.Missing as why:
                self.kernels[which] = why
        if isinstance(self.kernels[which], image.Missing):
            if which == 'stable':
                raise Failure(str(self.kernels[which]))
            raise Skip(str(self.kernels[which]))
        return self.kernels[which]

    def find_kernel(self, which):
        if which != 'uml':
            return image.CloudKernel(self.vmdir, which == 'backports')
        kernel = image.UmlKernel()
        uml.check(kernel)
        return kernel

    def ramdisk(self, kernel):
        if kernel not in self.ramdisks:
            path = os.path.join(self.vmdir, f'initrd-{kernel.release}')
            image.build(kernel, [self.program(p) for p in ('vm_agent', 'vsock_peer', 'shut_rd')], path,
                        kernel.stock_modules)
            self.ramdisks[kernel] = path
        return self.ramdisks[kernel]

    def pmd_ramdisk(self, kernel):
        """The RAM disk of guests that our driver runs in."""
        key = (kernel, 'pmd')
        if key not in self.ramdisks:
            path = os.path.join(self.vmdir, f'initrd-pmd-{kernel.release}')
            image.build(kernel, [self.program(p) for p in ('vm_agent', 'vsock_peer', 'vm_pmd_app',
                                                                 'vsock-bench-guest')], path,
                        image.PMD_MODULES, (*image.PROGRAMS, self.program('zv-bind')))
            self.ramdisks[key] = path
        return self.ramdisks[key]

    def hostile_ramdisk(self, kernel):
        """The RAM disk of a guest that does to our backend what no driver may."""
        key = (kernel, 'hostile')
        if key not in self.ramdisks:
            path = os.path.join(self.vmdir, f'initrd-hostile-{kernel.release}')
            image.build(kernel, [self.program('vm_agent')], path, image.PMD_MODULES,
                        (self.program('zv-bind'), self.program('hostile_guest')))
            self.ramdisks[key] = path
        return self.ramdisks[key]

    def newer_qemu(self):
        """How to start a QEMU that has one device with as many queues as one likes."""
        try:
            return qemu.find(self.vmdir, QEMU)
        except image.Missing as why:
            raise Skip(str(why)) from None

    def needs_qemu(self, argv, major, what):
        """Skips the scenario where the QEMU that @argv starts is older."""
        have = qemu.version(argv)
        if have[0] < major:
            raise Skip(f'{what} takes QEMU {major} or later; this is {".".join(map(str, have))}')

    def own(self, kind, *args, **kw):
        """A testbed for this scenario alone."""
        return self.temporary.add(kind(self, self.current, *args, **kw))

    def shared(self, kind, name, *args, **kw):
        """The testbed @name with the scenario's kernel, made when there is none."""
        name += SUFFIX[self.which]
        if name not in self.testbeds:
            if self.stillborn.count(name) == 2:  # each try may take minutes
                raise Failure(f'the testbed "{name}" did not come up, twice')
            self.stillborn.append(name)
            self.testbeds[name] = kind(self, name, *args, **kw)
            self.stillborn.remove(name)
        return self.testbeds[name]

    def drop_shared(self):
        while self.testbeds:
            self.testbeds.popitem()[1].close()

    def close(self):
        self.temporary.close()
        self.drop_shared()
        self.lock.close()
