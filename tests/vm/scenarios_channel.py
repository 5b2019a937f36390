# SPDX-License-Identifier: BSD-3-Clause
"""Channels: guests of our driver and applications of the host, whose payload goes through memory that both have mapped."""
import os
import tempfile

import image
from guest import Guest
from procs import Failure, until
from scenarios_bench import runs_of
from scenarios_region import MIB, MODULES
from testbed import HostApp, scenario
from testbed_daemon import DaemonTestbed
from testbed_pmd import PmdVm

TESTS = 'throughput,rtt,echo,connrate'
SIZE = 128  # MiB of the region
UNIT = 256 << 10  # bytes of the smallest part of one


class ChannelVm(PmdVm):
    """A guest of our driver with a region of @size MiB: an NVDIMM ('dax'), an ivshmem device, VIRTIO shared memory of its
    device, an NVDIMM of memory that QEMU keeps to itself ('private'), or none. @like: the guest whose region it has too."""

    def __init__(self, testbed, name, keys, memory='dax', size=SIZE, like=None, **kw):
        super().__init__(testbed, name, keys, generic=memory == 'virtio', **kw)
        self.memory, self.size = memory, size
        if memory == 'virtio':
            testbed.bench.needs_qemu(self.qemu, 11, 'VIRTIO shared memory')
            self.keys.update(region=f'{size}M', region_kind='virtio')
            return
        if like:
            self.region = testbed.regions[like]
            return
        self.region = testbed.regions[name] = tempfile.NamedTemporaryFile(dir='/dev/shm', prefix='zv-region-')  # pylint: disable=consider-using-with
        self.region.truncate(size * MIB)
        testbed.owner.add(self.region)

    def region_args(self):
        if self.memory in ('none', 'virtio'):
            return []
        device, machine = ('ivshmem-plain', []) if self.memory == 'ivshmem' else ('nvdimm', ['-machine', 'nvdimm=on'])
        where = 'ram' if self.memory == 'private' else f'file,mem-path={self.region.name},share=on'
        return [*machine, '-object', f'memory-backend-{where},id=region,size={self.size}M', '-device', f'{device},memdev=region']

    def power_on(self):
        testbed, bench = self.testbed, self.testbed.bench
        disk = os.path.join(bench.vmdir, f'initrd-channel-{testbed.kernel.release}')
        image.build(testbed.kernel, [bench.program(p) for p in ('vm_agent', 'vm_pmd_app', 'vm_region', 'vsock-bench-guest')], disk,
                    MODULES, (bench.program('zv-bind'),))
        self.guest = Guest(testbed.owner, testbed.folder, self.log, testbed.kernel, disk,
                           [*self.qemu_args(), *self.region_args()], memory=512, room=512, qemu=self.qemu,
                           boot=f'{"intel_iommu=on " if self.how == "vfio" else ""}hugepages={self.hugepages}')

    def serve(self):
        if self.memory in ('dax', 'private'):
            self.guest.run('zv-bind dax')
        self.uri = f'{self.how}:{self.bind()}'

    def measure(self, kind, *options):
        """vsock-bench in the guest, against the application of the host; the number of its runs."""
        text = self.guest.run(f'exec vsock-bench-guest --client {self.uri} --queues {self.n_queues} --test {TESTS} '
                              f'--type {kind} --rx-buf 4K --size 64,5000,64K --duration 0.1 --repeat 1 {" ".join(options)} '
                              '--json - 2>/dev/null')
        return len(runs_of(text, 'zvsock', TESTS))


class ChannelTestbed(DaemonTestbed):
    """@vms: {name: what ChannelVm is to know}; zvsockd, and an application of the host. @keys: {name: of the guest's section}.
    @vm: what a guest is."""

    def __init__(self, bench, name, vms, daemon_keys='', keys=None, boot=True, vm=ChannelVm):
        self.more_keys, self.regions = daemon_keys, {}  # files, by guest
        super().__init__(bench, name, {n: (keys or {}).get(n, {}) for n in vms}, boot, {
            n: (lambda *args, kw=kw: vm(*args, **kw)) for n, kw in vms.items()})

    def write_config(self, *more):
        self.apps = os.path.join(self.folder, 'apps.sock')
        super().write_config(*more)

    def daemon_keys(self):
        # On a loaded machine a guest's driver may need seconds to map its region.
        return f'applications = {self.apps}\nchannel_timeout_ms = 120000\n{self.more_keys}'

    def application(self):
        """A vsock-bench that serves."""
        server = self.program([self.bench.program('vsock-bench'), '--cpus', 'free', '--server', f'daemon:{self.apps}'])
        until(self.attached, 'the application to be attached')
        return server

    def attach_app(self):
        """vm_host_app as an application: it holds the conversations of vm_pmd_app, from both ends."""
        app = HostApp(self.owner, self.bench.program('vm_host_app'), f'daemon:{self.apps}', self.log)
        until(self.attached, 'the application to be attached')
        return app

    def attached(self):
        return any(g['kind'] == 'application' and g['state'] == 'up' for g in self.ctl('guests')['guests'])

    def counter(self, name, of='pmd'):
        stats = [g for g in self.ctl('stats')['guests'] if g['name'] == of]
        return stats[0]['endpoints'][name]

    def region(self, of='pmd'):
        """The guest's region, as zvsockd shows it; None: it knows none."""
        found = [r for r in self.ctl('regions')['regions'] if r['origin'] == of and not r['retired']]
        return found[0] if found else None

    def all_free(self, of='pmd'):
        """No part of the guest's region is held by anybody, and all bytes of it can be had."""
        return (r := self.region(of)) is not None and r['channels'] == 0 and r['size'] - r['free'] < UNIT

    def paths(self):
        """Of the connections that there are: 'channel' or 'relay'."""
        return [c.get('path') for c in self.ctl('list')['connections']]


def channels(bench, **kw):
    """Streams and messages of a guest and an application, both directions, each byte checked, none through zvsockd."""
    testbed = bench.own(ChannelTestbed, {'pmd': kw})
    vm, count = testbed.vms['pmd'], 0
    testbed.application()
    for kind in ('stream', 'seqpacket'):
        count += vm.measure(kind)
    granted, relayed = testbed.counter('channel_granted'), testbed.counter('channel_declined') + testbed.counter('channel_no_room')
    if not granted or relayed:
        raise Failure(f'{granted} connections had a channel, {relayed} had not')
    # Those of a program that has ended are free when the next one comes; until then it could be standing still.
    vm.start_app()
    until(testbed.all_free, 'all parts of the region to come back')
    return f'{count} runs, each byte verified; {granted} channels'


@scenario
def channel_dax(bench):
    """Over /dev/dax, one queue."""
    return channels(bench)


@scenario
def channel_dax_four_queues(bench):
    """Over /dev/dax, four devices of one CID as four queues."""
    return channels(bench, devices=4)


@scenario
def channel_ivshmem(bench):
    """Over the BAR of an ivshmem-plain device."""
    return channels(bench, memory='ivshmem')


@scenario
def channel_ivshmem_four_queues(bench):
    """The same, four devices of one CID as four queues."""
    return channels(bench, memory='ivshmem', devices=4)


@scenario
def channel_virtio(bench):
    """Over VIRTIO shared memory of the vsock device, through vfio-pci; four queues of one device."""
    return channels(bench, memory='virtio', queues=4)


@scenario
def channel_virtio_uio(bench):
    """The same through uio_pci_generic, one queue."""
    return channels(bench, memory='virtio', how='uio')
