# SPDX-License-Identifier: BSD-3-Clause
"""Stock guests inside a VM: one on the kernel's vhost-vsock, one on zvsockd, measured in turn.

Only a kernel of ours has /dev/vhost-vsock, so both backends, the programs that they connect to, and the two guests'
QEMUs are in a VM. The guests have the same kernel and the same driver; QEMU's device and what is behind it is the
only difference. Emulation in an emulator: a guest boots in 45 s, and no absolute figure means anything.
"""
import glob
import json
import os
import shutil
import socket

import image
from guest import Agent, BOOT, CPU, Guest, QEMU
from procs import Failure, LIMIT, Log, Owner
from testbed import Skip
from testbed_compare import sections

NOTE = ('Stock guests ("stock-...") ran in QEMU inside the VM, each alone while it was measured: both sides of what is compared '
        'are emulated twice, so trust their ratios only. CPU time of QEMU, vhost and zvsockd is not known.')
MODULES = ('virtio_pci', 'virtio_console', 'vmw_vsock_virtio_transport')
OUTER_MODULES = ('virtio_pci', 'virtio_console', 'vhost_vsock')
FIRMWARE = ('bios-256k.bin', 'kvmvapic.bin', 'linuxboot_dma.bin')
CALL_LIMIT = 10 * LIMIT  # one call measures for as long as it was asked to
SLOWER = 10  # a run is longer by that, to have as many messages as elsewhere
BUF_ALLOC = '4M'  # vsock-bench's own default, which it asks the kernel for; zvsockd has another
# The device of each guest. zvsockd needs shared memory, so both have it.
BACKENDS = {'stock-vhost': '-device vhost-vsock-pci,guest-cid=3',
            'stock-zvsockd': '-chardev socket,id=v,path=/tmp/z.sock -device vhost-user-vsock-pci,chardev=v'}
ZVSOCKD = ('exec zvsockd -s control=/tmp/c.sock -s af_vsock=/tmp/af_vsock '
           f'-g name=z,cid=4,socket=/tmp/z.sock,buf_alloc={BUF_ALLOC}')


class NestedGuest(Agent):
    """A stock guest in the VM @outer; its agent's line passes through the VM's virtio-serial port @port."""

    def __init__(self, outer, line, port, device, log):
        super().__init__(log)
        self.outer, self.vmm = outer, outer.vmm
        self.attach_agent(line)
        agent = f'/tmp/agent{port}'
        self.job = outer.start(
            f'exec qemu-system-x86_64 -L /share/qemu -nodefaults -no-user-config -display none -no-reboot -m 128 '
            f'-object memory-backend-memfd,id=mem,size=128M,share=on -machine q35,memory-backend=mem,accel=tcg -cpu {CPU} '
            f'-kernel /nested/vmlinuz -initrd /nested/initrd -append "{BOOT}" -serial file:/tmp/console{port} '
            f'-device virtio-serial-pci -chardev socket,id=agent,path={agent},server=on,wait=off '
            f'-device virtserialport,chardev=agent {device}')
        outer.run(f'until [ -S {agent} ]; do sleep 0.1; done', LIMIT)
        outer.start(f'exec socat UNIX-CONNECT:{agent} OPEN:/dev/{port},rdwr')

    def wait_ready(self, limit=4 * LIMIT):
        try:
            return super().wait_ready(limit)
        except Failure:
            self.log.write(f'[driver] its QEMU says: {self.job.output.strip()[-1000:]}\n')
            raise


def qemu_files():
    """What the machine's QEMU needs beside its program: [(source, name in the RAM disk)]."""
    out = []
    for name in FIRMWARE:
        found = [p for p in (f'/usr/share/{d}/{name}' for d in ('qemu', 'seabios')) if os.path.exists(p)]
        if not found:
            raise Skip(f'{name} is not where Debian\'s QEMU has it, in /usr/share/qemu or /usr/share/seabios')
        out.append((os.path.realpath(found[0]), f'share/qemu/{name}'))
    for module in glob.glob('/usr/lib/*/qemu/accel-tcg-x86_64.so'):
        out.append((module, os.path.join('lib', os.path.relpath(module, '/usr/lib'))))
    return out


class NestedTestbed:
    """The VM, with both backends, a server behind each, and both guests up."""

    def __init__(self, bench, name):
        self.owner, self.folder = Owner(), bench.new_folder()
        self.kernel = bench.kernel()
        log = self.owner.add(Log(bench.log_path(name)))
        try:
            ports = {who: os.path.join(self.folder, who) for who in BACKENDS}
            devices = [a for who, path in ports.items() for a in (
                '-chardev', f'socket,id={who},path={path},server=on,wait=off', '-device', f'virtserialport,chardev={who},name={who}')]
            self.outer = Guest(self.owner, self.folder, log, self.kernel, self.ramdisk(bench), devices, memory=1024, smp='2').wait_ready()
            self.outer.start(ZVSOCKD)
            self.outer.run('until [ -S /tmp/z.sock ]; do sleep 0.1; done')
            for run in ('', 'zvsock-run --dir /tmp/af_vsock '):
                self.outer.start(f'exec {run}vsock-bench --cpus free --server af_vsock:').expect('serving')
            self.guests = {}
            for nth, (who, path) in enumerate(ports.items()):
                line = self.owner.add(socket.socket(socket.AF_UNIX))
                line.connect(path)
                self.guests[who] = NestedGuest(self.outer, line, f'vport0p{nth + 2}', BACKENDS[who],
                                               self.owner.add(Log(bench.log_path(f'{name}-{who}'))))
            for guest in self.guests.values():
                guest.wait_ready()
        except BaseException:
            self.close()
            raise

    def ramdisk(self, bench):
        """Of the VM; the guests' own is in it."""
        inner, outer = (os.path.join(self.folder, n) for n in ('inner', 'outer'))
        qemu = shutil.which(QEMU)
        if not qemu:
            raise Skip(f'{QEMU} is not there')
        image.build(self.kernel, [bench.program(p) for p in ('vm_agent', 'vsock-bench-guest')], inner, MODULES, ())
        image.build(self.kernel, [bench.program('vm_agent')], outer, OUTER_MODULES,
                    ['/usr/bin/socat', qemu, *(bench.program(p) for p in ('vsock-bench', 'zvsockd', 'zvsock-run'))],
                    [(self.kernel.image, 'nested/vmlinuz'), (inner, 'nested/initrd'),
                     (bench.program('libzvsock-preload.so'), 'preload/libzvsock-preload.so'), *qemu_files()])
        return outer

    def call(self, who, args):
        """vsock-bench-guest in the guest @who: its report, whose rows say which guest that was."""
        text = self.guests[who].run(f'vsock-bench-guest --client af_vsock:2 {" ".join(args)} --json - 2>/tmp/words || '
                                    '{ cat /tmp/words; false; }', CALL_LIMIT)
        report = json.loads(text[text.index('{'):])
        for run in report['runs']:
            run.update(id=who, cpus=sections.NESTED, cpu_s={})
        return report

    def measure(self, options, got):
        """Adds rows of both guests to what compare has @got, as a placement of their own."""
        options.cpus = got.head['options']['cpus'] = [*options.cpus, sections.NESTED]
        got.head['notes'] = [*got.head['notes'], NOTE]
        common = ['--cpus', '1cpu', '--repeat', '1', '--duration', f'{SLOWER * options.duration:g}']
        for nth in range(options.rounds):
            for who in self.guests:
                got.take(nth, 'sizes', self.call(who, ['--test', 'throughput', '--size', ','.join(map(str, options.sizes)), *common]))
                got.take(nth, 'latency', self.call(who, ['--test', 'rtt,connrate', '--size', '64', *common]))

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)
