#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One interactive guest on this terminal, attached to a zvsockd; all is gone when it ends.

usage: vm.py BUILDDIR
"""
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True

from guest import BOOT, CPU, Memory, QEMU, vsock_args
from image import Missing
from procs import Failure, die_with_parent
from world import Bench, Skip
from world_daemon import DaemonWorld

WELCOME = '''vm: kernel {release}, {memory}
vm: zvsockd serves this guest, CID {cid}. Its log: {log}
vm: in the guest    echo hello | socat -t 9 - VSOCK-CONNECT:2:7     (echo, by zvsockd itself)
vm:                 socat - VSOCK-CONNECT:2:1234       reaches, on the host,
vm: on the host     socat - UNIX-LISTEN:{unix}_1234
vm: in the guest    socat - VSOCK-LISTEN:1234          is reached, on the host, by
vm: on the host     socat - UNIX-CONNECT:{unix}        and the line  CONNECT 1234
vm: on the host     {ctl} -s {control} list
vm: the guest ends with  exit  (or Ctrl-A X)'''


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: sys.exit(130))
    bench = Bench(os.path.abspath(sys.argv[1]))
    world = None
    try:
        world = DaemonWorld(bench, 'interactive', {'vm': {'builtin': 'echo:7'}}, boot=False)
        vm = world.vms['vm']
        memory = Memory(512)
        print(WELCOME.format(release=world.kernel.release, memory=memory.text, cid=vm.cid, unix=vm.unix,
                             log=world.log.path, ctl=world.programs[1], control=world.control),
              file=sys.stderr)
        # Not -nographic: with it the firmware writes to the serial line, and clears the screen.
        subprocess.run([
            QEMU, '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', *memory.args, '-cpu', CPU,
            '-kernel', world.kernel.image, '-initrd', bench.ramdisk(world.kernel),
            '-append', BOOT + ' zv.shell', '-serial', 'mon:stdio', *vsock_args(vm.socket)],
            preexec_fn=die_with_parent, check=False, pass_fds=memory.fds)
    except (Skip, Failure, Missing) as why:
        sys.exit(f'vm: {why}')
    finally:
        if world:
            world.close()


if __name__ == '__main__':
    main()
