# SPDX-License-Identifier: BSD-3-Clause
"""Guests whose vsock devices our driver has (vfio: or uio:), beside zvsockd."""
import json
import os
import shutil

from guest import Guest, QEMU, vsock_args
from procs import Failure, LIMIT, Log, Owner, Process, until
from qemu import DEVICE
from testbed_daemon import DaemonTestbed, Vm

# A vIOMMU of QEMU under TCG; without interrupt remapping VFIO finds it unsafe.
IOMMU = ('-machine', 'kernel-irqchip=split', '-device', 'intel-iommu,intremap=on,caching-mode=on')
HUGEPAGES = 96  # of the guest, reserved as it boots; its memory is twice as much


class App:
    """vm_pmd_app in a guest: drives the devices, and does what it is told through a FIFO."""

    def __init__(self, vm, uri, *options, fifo='/tmp/app'):
        self.vm, self.next, self.answers, self.fifo = vm, 1, {}, fifo
        vm.guest.run(f'rm -f {fifo}; mkfifo {fifo}')
        self.job = vm.guest.start(f'exec vm_pmd_app {uri} {" ".join(options)} <>{fifo}')
        self.job.expect('(?m)^serving$')

    def start(self, command):
        number, self.next = str(self.next), self.next + 1
        self.vm.guest.run(f'echo {number} {command} >{self.fifo}')
        return number

    def wait(self, number, limit=LIMIT):
        line = self.job.expect(rf'(?m)^{number} (ok|FAILED) .*\n', limit)
        _, verdict, text = line.strip().split(' ', 2)
        if verdict != 'ok':
            raise Failure(f'guest: {text}')
        return text

    def run(self, command, limit=LIMIT):
        return self.wait(self.start(command), limit)

    def quit(self):
        self.start('quit')
        if code := self.job.wait():
            raise Failure(f'vm_pmd_app ended with {code}: {self.job.output[-400:]}')


def one_device(path, queues):
    """The generic device, with @queues pairs: QEMU 10.2 and later."""
    return ['-chardev', f'socket,id=vsock,path={path}', '-device',
            f'{DEVICE},chardev=vsock,virtio-id=19,num_vqs={2 * queues + 1},vq_size=256,config_size=8,iommu_platform=on']


class PmdVm(Vm):
    """@how: vfio or uio. @devices: so many of one CID; @queues: so many in each, and @generic: QEMU's generic device,
    which both take a newer QEMU.
    @platform: VIRTIO_F_ACCESS_PLATFORM is offered, so the device's addresses are translated. @extra: more
    properties of the devices. @hugepages: so many for the driver; 0 takes translated addresses."""

    def __init__(self, testbed, name, keys, how='vfio', devices=1, queues=1, platform=False, reboots=False, extra='',
                 hugepages=HUGEPAGES, generic=False):
        super().__init__(testbed, name, keys)
        self.reboots, self.extra, self.hugepages = reboots, extra, hugepages
        self.how, self.platform, self.app = how, platform, None
        self.queues, self.generic = queues, generic or queues > 1
        self.qemu = testbed.bench.newer_qemu() if self.generic else (QEMU,)
        self.sockets = [f'{self.socket}.{i}' for i in range(devices)] if devices > 1 else [self.socket]
        self.every = self.sockets  # the VM's; zvsockd may be given fewer
        self.n_queues = devices * queues  # that the program has opened

    def section(self):
        self.keys['socket'] = ', '.join(self.sockets)
        if self.queues > 1:
            self.keys['queues'] = self.queues
        return super().section()

    def qemu_args(self):
        args = list(IOMMU) if self.how == 'vfio' else []
        for i, path in enumerate(self.every):
            one = (one_device(path, self.queues) if self.generic else
                   vsock_args(path, self.keys.get('mode') == 'client'))
            one = [a.replace('id=vsock', f'id=vsock{i}').replace('chardev=vsock', f'chardev=vsock{i}') for a in one]
            if self.platform:
                one[-1] += ',iommu_platform=on'
            one[-1] += self.extra
            args += one
        return args

    def power_on(self):
        testbed = self.testbed
        self.guest = Guest(testbed.owner, testbed.folder, self.log, testbed.kernel,
                           testbed.bench.pmd_ramdisk(testbed.kernel), self.qemu_args(), memory=512, reboots=self.reboots, qemu=self.qemu,
                           boot=f'{"intel_iommu=on " if self.how == "vfio" else ""}hugepages={self.hugepages}')

    def bind(self):
        """All vsock devices go to the driver; their addresses, as they stand behind vfio: or uio:."""
        driver = {'vfio': 'vfio-pci', 'uio': 'uio_pci_generic'}[self.how]
        found = [w for w in self.guest.run('zv-bind status').split() if w.startswith('0000:')]
        if len(found) != len(self.every):
            raise Failure(f'zv-bind status shows {found}, not {len(self.every)} devices')
        self.guest.run(f'zv-bind bind --driver {driver} {" ".join(found)}')
        self.guest.run('zv-bind check')
        return ','.join(found)

    def serve(self):
        self.start_app()

    def start_app(self, *options, devices=None, queues=None):
        """@devices: only so many, the first ones; @queues: only so many of one device."""
        found = self.bind().split(',')[:devices]
        self.n_queues = queues or len(found) * self.queues
        if self.queues > 1:
            options = (f'queues={self.n_queues}', *options)
        self.app = App(self, f'{self.how}:{",".join(found)}', *options)
        return self.app

    def stats(self):
        return json.loads(self.app.run('stats'))


def pmd_testbed(bench, name, how='vfio', shared=True, keys=None, beside=None, boot=True, vm=PmdVm, **kw):
    """zvsockd with the guest "pmd" of our driver; a testbed of its own when not @shared. @keys: more of its
    section; @beside: stock guests; @vm: its class, @kw: what that is to know."""
    guests = {'pmd': {'builtin': 'echo:7, discard:9', **(keys or {})}, **(beside or {})}
    kinds = {'pmd': lambda *args: vm(*args, how=how, **kw)}
    testbed = {'boot': boot}
    if shared:
        return bench.shared(DaemonTestbed, name, guests, kinds=kinds, **testbed)
    return bench.own(DaemonTestbed, guests, kinds=kinds, **testbed)


class BenchTestbed:
    """`vsock-bench --server` is the backend of a guest of our driver; there is no zvsockd."""

    def __init__(self, bench, name, how='vfio', devices=1, platform=False):
        self.bench, self.name, self.kernel = bench, name, bench.kernel()
        self.owner, self.folder = Owner(), bench.new_folder()
        self.log = self.owner.add(Log(bench.log_path(name)))
        try:
            self.vm = PmdVm(self, 'pmd', {}, how, devices, platform=platform)
            self.server = Process(self.owner, [bench.program('vsock-bench'), '--queues', str(devices), '--server',
                                               f'host:{",".join(self.vm.sockets)},cid={self.vm.cid}'], self.log)
            until(lambda: all(map(os.path.exists, self.vm.sockets)), 'vsock-bench to listen')
            self.vm.power_on()
            self.vm.guest.wait_ready()
        except BaseException:
            self.close()
            raise

    def measure(self, *options):
        """What vsock-bench in the guest says, as data; what it complains of is in self.said."""
        uri = f'{self.vm.how}:{self.vm.bind()}'
        text = self.vm.guest.run(f'exec vsock-bench-guest --client {uri} --queues {len(self.vm.sockets)} '
                                 f'{" ".join(options)} --json - 2>/tmp/said')
        self.said = self.vm.guest.run('cat /tmp/said')
        return json.loads(text[text.index('{'):])

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)
