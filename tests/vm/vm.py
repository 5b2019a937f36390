#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""One interactive guest on this terminal, with a host side that answers; all is gone when it ends.

usage: vm.py BUILDDIR
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True

from guest import CPU, QEMU, memory_args, vsock_args
from procs import die_with_parent
from world import AppWorld, Bench, Skip

WELCOME = '''
vm: the host application answers on CID 2: port 5007 echo, 5008 echo of messages (SEQPACKET).
vm: try in the guest:    echo hello | socat -t 9 - VSOCK-CONNECT:2:5007
vm:                      vsock_peer xfer 2 5009 64000000 0        (64 MB with a hash)
vm: the guest ends with  exit  (or Ctrl-A X)
'''


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    bench = Bench(os.path.abspath(sys.argv[1]))
    world = None
    try:
        world = AppWorld(bench, 'interactive', boot=False)
        mem, what = memory_args(512)
        print(f'vm: kernel {world.kernel.release}, {what}{WELCOME}', file=sys.stderr)
        subprocess.run([
            QEMU, '-nodefaults', '-no-user-config', '-nographic', '-no-reboot', *mem, '-cpu', CPU,
            '-kernel', world.kernel.image, '-initrd', bench.ramdisk(world.kernel),
            '-append', 'console=ttyS0 quiet panic=-1 zv.shell', '-serial', 'mon:stdio',
            *vsock_args(world.socket)], preexec_fn=die_with_parent, check=False)
    except Skip as why:
        sys.exit(f'vm: {why}')
    finally:
        if world:
            world.close()


if __name__ == '__main__':
    main()
