#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One interactive guest on this terminal, attached to a zvsockd. Nothing is left when it ends."""
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import tty

sys.dont_write_bytecode = True

import cli
import uml
from guest import BOOT, CPU, Memory, QEMU, vsock_args
from image import Missing
from procs import Failure, die_with_parent
from testbed import Bench, Skip
from testbed_daemon import DaemonTestbed

WELCOME = '''vm: kernel {release}, {memory}
vm: zvsockd serves this guest, CID {cid}; its log: {log}
vm: commands to try, guest# here and host$ in another terminal:
vm: zvsockd's echo service
      guest# echo hello | socat -t 9 - VSOCK-CONNECT:2:7
vm: from the guest to the host
      host$  socat - UNIX-LISTEN:{unix}_1234
      guest# socat - VSOCK-CONNECT:2:1234
vm: from the host to the guest, by a Unix socket, or by AF_VSOCK without vsock in the host's kernel
      guest# socat - VSOCK-LISTEN:1234
      host$  socat - UNIX-CONNECT:{unix}        then type: CONNECT 1234
      host$  {run} --dir {dropin} socat - VSOCK-CONNECT:{cid}:1234
vm: all connections
      host$  {ctl} -s {control} list
vm: the guest ends with  exit  or Ctrl-A X'''
CTRL_A = 1


class VmTestbed(DaemonTestbed):
    """With a directory for AF_VSOCK programs of the host."""

    def dropin(self):
        return os.path.join(self.folder, 'af_vsock')

    def daemon_keys(self):
        return f'af_vsock = {self.dropin()}\n'


def welcome(testbed, vm, memory):
    print(WELCOME.format(release=testbed.kernel.release, memory=memory, cid=vm.cid, unix=vm.unix,
                         log=testbed.log.path, ctl=testbed.programs[1], control=testbed.control,
                         run=testbed.bench.program('zvsock-run'), dropin=testbed.dropin()),
          file=sys.stderr)


def in_qemu(testbed, vm):
    memory = Memory(512)
    welcome(testbed, vm, memory.text)
    # Not -nographic: with it the firmware writes to the serial line, and clears the screen.
    subprocess.run([
        QEMU, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', *memory.args, '-cpu', CPU,
        '-kernel', testbed.kernel.image, '-initrd', testbed.bench.ramdisk(testbed.kernel),
        '-append', BOOT + ' zv.shell', '-serial', 'mon:stdio', *vsock_args(vm.socket)],
        preexec_fn=die_with_parent, check=False, pass_fds=memory.fds)


def relay(terminal):
    """Between this terminal and the guest's, until either ends or Ctrl-A X is typed, as in QEMU."""
    ways, after_a = {0: terminal, terminal: 1}, False
    while True:
        for fd in select.select(list(ways), [], [])[0]:
            try:
                data = os.read(fd, 4096)
            except OSError:  # the other end of the guest's terminal is closed
                return
            if fd == 0:
                typed = bytes([CTRL_A] if after_a else []) + data
                after_a = data[-1:] == bytes([CTRL_A])
                if bytes([CTRL_A]) + b'x' in typed.lower():
                    return
            if not data and fd == 0:
                del ways[0]  # the guest goes on without
            elif not data:
                return
            else:
                os.write(ways[fd], data)


def in_uml(testbed, vm):
    """On a terminal of its own, with which it is a session: all of it can be ended."""
    argv = [*uml.uml_args(testbed.kernel, testbed.bench.ramdisk(testbed.kernel), vm.socket, testbed.folder),
            'con=null', 'con0=fd:0,fd:1', 'zv.shell']
    env = uml.environment()
    welcome(testbed, vm, uml.MEMORY)
    before = termios.tcgetattr(0) if os.isatty(0) else None
    pid, terminal = pty.fork()
    if pid == 0:
        die_with_parent()
        os.execvpe(argv[0], argv, env)
    guard = uml.Guard(pid)
    try:
        if before:
            tty.setraw(0)
        relay(terminal)
    finally:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
        guard.dismiss()
        if before:
            termios.tcsetattr(0, termios.TCSADRAIN, before)


def main():
    p = cli.parser('vm', '[--uml]', __doc__)
    p.add_argument('--uml', action='store_true', help='in User-mode Linux, which needs no emulation; otherwise in QEMU')
    options = p.parse_args()
    cli.checked()
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    bench = Bench(options.build, 'logs-vm')
    bench.which = 'uml' if options.uml else 'stable'
    testbed = None
    try:
        testbed = VmTestbed(bench, 'interactive', {'vm': {'builtin': 'echo:7'}}, boot=False)
        run = in_uml if bench.which == 'uml' else in_qemu
        run(testbed, testbed.vms['vm'])
    except (Skip, Failure, Missing) as why:
        sys.exit(f'vm: {why}')
    finally:
        if testbed:
            testbed.close()


if __name__ == '__main__':
    main()
