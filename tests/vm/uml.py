# SPDX-License-Identifier: BSD-3-Clause
"""User-mode Linux as a guest: Debian's kernel as a program of the host, without QEMU or KVM.

Its driver of the bus, virtio_uml, is itself the vhost-user frontend; the virtio-vsock driver above it is the
one of any guest. The agent's line is its second console.
"""
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

from guest import Agent
from image import Missing
from procs import LIMIT, Process, Stream

MIB = 256
MEMORY = f'{MIB} MiB of memory, User-mode Linux'
VSOCK = 19  # the device's virtio ID
# Helpers of the kernel would outlive it, and the kernel dies with the driver.
GUARD = 'read -r _ || kill -s KILL -- "-$1"'


def memory_folder(mib):
    """Where the kernel can have its memory: a file that it also runs code from."""
    folders = ('/dev/shm', tempfile.gettempdir())
    for folder in folders:
        try:
            f = os.statvfs(folder)
        except OSError:
            continue
        if not f.f_flag & os.ST_NOEXEC and f.f_bavail * f.f_frsize >= (mib + 64) << 20 and os.access(folder, os.W_OK):
            return folder
    raise Missing(f'User-mode Linux needs {mib} MiB in one of {", ".join(folders)}, not mounted noexec')


def environment(mib=MIB):
    return {**os.environ, 'TMPDIR': memory_folder(mib)}


def uml_args(kernel, ramdisk, path, folder, mib=MIB):
    """The program and its arguments, consoles left out. @path: the vhost-user socket; None: no vsock device."""
    return [kernel.image, f'mem={mib}M', f'initrd={ramdisk}', 'rdinit=/init', 'quiet', 'panic=-1',
            'random.trust_cpu=on', f'uml_dir={folder}', *([f'virtio_uml.device={path}:{VSOCK}'] if path else [])]


def check(kernel):
    """Missing: it does not run on this machine, which may forbid ptrace."""
    with subprocess.Popen([kernel.image, 'mem=32M', 'con=null'], env=environment(), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as run:
        stream, deadline = Stream(run.stdout.fileno()), time.monotonic() + LIMIT
        while not re.search(rb'PROT_EXEC mmap in \S+OK|Linux version', stream.data) and stream.fill(deadline):
            pass
        os.killpg(run.pid, signal.SIGKILL)
    if stream.ended:
        raise Missing(f'User-mode Linux does not run here: {stream.data.decode(errors="replace").strip()[-300:]}')


class Guard:
    """Kills the process group @group when this program ends without dismiss()."""

    def __init__(self, group):
        self.sh = subprocess.Popen(['sh', '-c', GUARD, 'guard', str(group)], stdin=subprocess.PIPE,
                                   start_new_session=True)

    def dismiss(self):
        if self.sh.returncode is None:
            self.sh.communicate(b'\n')


class Uml(Process):
    """The kernel: a group of processes, which is there as long as the first of them has not been waited for."""

    def __init__(self, owner, argv, log, **kw):
        super().__init__(owner, argv, log, env=environment(), **kw)
        self.guard = Guard(self.popen.pid)

    def alive(self):
        return self.popen.returncode is None and not os.waitid(os.P_PID, self.popen.pid,
                                                               os.WEXITED | os.WNOHANG | os.WNOWAIT)

    def kill(self, sig=signal.SIGKILL):
        if self.popen.returncode is None:
            os.killpg(self.popen.pid, sig)
            if sig == signal.SIGKILL:
                self.popen.wait()
                self.guard.dismiss()  # the number is free now


class UmlGuest(Agent):
    """A guest on the vhost-user socket @path, with the interface of guest.Guest; nothing can be plugged into it,
    and it has no monitor."""

    def __init__(self, owner, folder, log, kernel, ramdisk, path=None):
        super().__init__(log)
        self.memory = MEMORY
        ours, theirs = socket.socketpair()
        self.attach_agent(owner.add(ours))
        with theirs:
            fd = theirs.fileno()
            self.vmm = Uml(owner, [*uml_args(kernel, ramdisk, path, folder), 'con=null', 'con0=null,fd:2',
                                   f'con1=fd:{fd},fd:{fd}', 'zv.port=/dev/tty1'], log, pass_fds=[fd])
