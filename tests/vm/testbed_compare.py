# SPDX-License-Identifier: BSD-3-Clause
"""A VM in which vsock-bench compares: the kernel's vhost-vsock, its loopback and its guest driver beside zvsock."""
import os
import shutil
import sys

import image
from guest import Guest, QEMU, vsock_args
from procs import Failure, LIMIT
from testbed_daemon import DaemonTestbed

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'bench', 'compare'))

import compare
import sections  # noqa: F401  (for those who add rows)

NOTE = ('Measured inside a VM without KVM (QEMU, TCG): emulation makes instructions expensive and distorts absolute figures, and '
        'ratios too where one side waits for devices. af_vsock has its other end, a service of zvsockd, outside the VM: the CPU '
        'time of that is not known, and from host to guest it sends as much at a time as fits, whatever the message size.')
MODULES = ('virtio_pci', 'virtio_console', 'vmw_vsock_virtio_transport', 'vhost_vsock', 'vsock_loopback')
SERVICES = {'echo': 7, 'discard': 9, 'source': 19}
CALL_LIMIT = 20 * LIMIT  # one call of vsock-bench measures for as long as it was asked to
END = '@@ended '


class CompareTestbed(DaemonTestbed):
    """One VM with vsock-bench and zvsockd in it, and with a vsock device that a zvsockd outside serves."""

    def __init__(self, bench, name, vcpus=1):
        keys = {'builtin': ', '.join(f'{s}:{p}' for s, p in SERVICES.items())}
        super().__init__(bench, name, {'stock': keys}, boot=False)
        try:
            ramdisk = os.path.join(self.folder, 'initrd')
            image.build(self.kernel, [bench.program('vm_agent')], ramdisk, MODULES, [bench.program('vsock-bench'), bench.program('zvsockd')])
            vm = self.vms['stock']
            self.guest = Guest(self.owner, self.folder, vm.log, self.kernel, ramdisk, vsock_args(vm.socket), memory=1024,
                               smp=f'{vcpus},maxcpus=2').wait_ready()
        except BaseException:
            self.close()
            raise

    def call(self, args):
        """vsock-bench in the VM: what it printed, its exit code, its words."""
        job = self.guest.start(f'vsock-bench {" ".join(args)} 2>/tmp/words; echo; echo "{END}$?"; cat /tmp/words')
        job.wait(CALL_LIMIT)
        text, _, rest = job.output.partition(END)
        code, _, words = rest.partition('\n')
        if not code.isdigit():
            raise Failure(f'vsock-bench in the VM said nothing of its end; see {self.log.path}')
        if code == '2':
            raise Failure(words.strip())
        return text, int(code), words

    def calls(self, options):
        """The calls of compare, and in each round those of the kernel's guest driver."""
        services = ','.join(f'{s}:{p}' for s, p in SERVICES.items())
        out, made = [], compare.calls(options)
        for nth in range(options.rounds):
            mine = [c for c in made if c[0] == nth]
            out += mine
            if options.target != 'all':
                continue
            common = ['--client', 'af_vsock:2', '--services', services, '--cpus', options.cpus[0], '--repeat', '1',
                      '--duration', f'{options.duration:g}', '--json', '-']
            out += [(nth, 'sizes', ['--test', 'throughput', '--size', ','.join(map(str, options.sizes)), *common]),
                    (nth, 'latency', ['--test', 'rtt,connrate', '--size', '64', *common])]
        return out

    def measure(self, options):
        got = compare.measure(options, self.call, self.calls(options))
        words = image.call(*QEMU.split(), '--version').stdout.splitlines()
        got.head['system'] = f'a VM of {words[0] if words else QEMU}, {got.head["system"]}'
        return got

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)
