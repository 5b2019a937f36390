# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd on both sides: in the guest it drives the device, [device NAME], for programs that know only Unix sockets."""
import hashlib
import json
import os
import signal

import image
from guest import Guest
from procs import Failure, until
from scenarios_daemon import MIB, hybrid_connect, until_quiet
from world import ECHO, XFER, scenario
from world_daemon import DaemonWorld
from world_pmd import HUGEPAGES, PmdVm

UNIX = '/run/host.vsock'  # in the guest: to the host, and what the host connects to
CONTROL = '/run/zvsock.sock'


def device_ramdisk(bench, kernel):
    """The RAM disk of a guest with zvsockd and its libraries."""
    key = (kernel, 'device')
    if key not in bench.ramdisks:
        path = os.path.join(bench.vmdir, f'initrd-device-{kernel.release}')
        dynamic = [bench.program(p) for p in ('zv-bind', 'zvsockd-guest', 'zvsockctl')]
        image.build(kernel, [bench.program(p) for p in ('vm_agent', 'vsock_peer')], path, image.PMD_MODULES,
                    (*image.PROGRAMS, *dynamic))
        bench.ramdisks[key] = path
    return bench.ramdisks[key]


class DeviceVm(PmdVm):
    """A guest whose zvsockd has the device."""

    def power_on(self):
        world = self.world
        iommu = 'intel_iommu=on ' if self.how == 'vfio' else ''
        self.guest = Guest(world.owner, world.folder, self.log, world.kernel, device_ramdisk(world.bench, world.kernel),
                           self.qemu_args(), memory=512, boot=f'{iommu}hugepages={HUGEPAGES}')

    def serve(self):
        self.start_daemon()
        self.server = self.guest.start(f'exec vsock_peer serve {UNIX}')
        self.server.expect('serving')

    def start_daemon(self):
        words = f'name=host,uri={self.how}:{self.bind()},unix={UNIX},builtin=echo:7,connect_timeout_ms=120000'
        self.daemon = self.guest.start(f'exec zvsockd-guest -d {words} -s control={CONTROL}')
        self.daemon.expect('is up; devices: 1 of 1')

    def peer(self, command, **kw):
        """VERB PORT NUMBER...: a program of the guest, through zvsockd."""
        verb, rest = command.split(' ', 1)
        return self.guest.run(f'exec vsock_peer {verb} {UNIX} {rest}', **kw)

    def ctl(self, words):
        return json.loads(self.guest.run(f'exec zvsockctl -s {CONTROL} --json {words}'))


def device_world(bench, how, shared=True):
    guests, kinds = {'dev': {'builtin': 'echo:7'}}, {'dev': lambda *args: DeviceVm(*args, how=how)}
    world = (bench.shared(DaemonWorld, f'device-{how}', guests, kinds=kinds) if shared
             else bench.own(DaemonWorld, guests, kinds=kinds))
    if not hasattr(world, 'server'):
        world.server = world.host_server(world.vms['dev'])
    return world


def each_way(bench, how):
    world = device_world(bench, how)
    vm = world.vms['dev']
    vm.peer(f'xfer {XFER} {64 * MIB} 0')
    world.host_peer(vm, 'xfer', XFER, 64 * MIB, 0)
    vm.peer(f'parallel {ECHO} 50 20000')
    world.host_peer(vm, 'parallel', ECHO, 50, 20000)
    until_quiet(world)


@scenario
def device_vfio_64mib(bench):
    """Programs of the guest share zvsockd's device of vfio-pci: 64 MiB each way, 50 connections at once each way."""
    each_way(bench, 'vfio')


@scenario
def device_uio_64mib(bench):
    """The same with uio_pci_generic."""
    each_way(bench, 'uio')


@scenario
def device_socat_guest_to_host(bench):
    """socat in the guest, its zvsockd, the host's zvsockd, socat on the host: 64 MiB, sha256 is the same."""
    world = device_world(bench, 'vfio')
    vm = world.vms['dev']
    digest = vm.guest.run('dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null; sha256sum </tmp/data').split()[0]
    path, where = f'{vm.unix}_6001', os.path.join(world.folder, 'got')
    server = world.program(['socat', '-u', f'UNIX-LISTEN:{path}', f'CREATE:{where}'])
    until(lambda: os.path.exists(path), 'socat to listen')
    said = vm.guest.run(f'(echo CONNECT 6001; cat /tmp/data) | socat -t 120 - UNIX-CONNECT:{UNIX}; rm /tmp/data')
    if server.wait():
        raise Failure('socat on the host failed')
    with open(where, 'rb') as f:
        if hashlib.sha256(f.read()).hexdigest() != digest or not said.startswith('OK '):
            raise Failure(f'what has arrived has another hash; socat in the guest said {said!r}')


@scenario
def device_socat_host_to_guest(bench):
    """The same way back: a socat of the host connects to one that listens in the guest, 64 MiB."""
    world = device_world(bench, 'vfio')
    vm = world.vms['dev']
    job = vm.guest.start(f'socat -u UNIX-LISTEN:{UNIX}_6002 - | sha256sum')
    vm.guest.run(f'until [ -e {UNIX}_6002 ]; do sleep 0.1; done')
    data, where = os.urandom(64 * MIB), os.path.join(world.folder, 'sent')
    with open(where, 'wb') as f:
        f.write(b'CONNECT 6002\n' + data)
    sender = world.program(['socat', '-t', '120', f'OPEN:{where}!!CREATE:{where}.said', f'UNIX-CONNECT:{vm.unix}'])
    if sender.wait() or job.wait():
        raise Failure('a socat failed')
    if hashlib.sha256(data).hexdigest() not in job.output:
        raise Failure(f'what has arrived has another hash: {job.output}')


@scenario
def device_zvsockctl(bench):
    """guests, list, stats and capture work in the guest."""
    world = device_world(bench, 'vfio')
    vm = world.vms['dev']
    [device] = vm.ctl('guests')['guests']
    if (device['kind'], device['cid'], device['state'], device['peer']) != ('device', vm.cid, 'up', 'zvsock'):
        raise Failure(f'guests: {device}')
    s = hybrid_connect(vm, 7)
    with s:
        [conn] = vm.ctl('list')['connections']
        if (conn['local_cid'], conn['local_port'], conn['peer_cid'], conn['endpoint']) != (vm.cid, 7, 2, 'echo'):
            raise Failure(f'list: {conn}')
        capture = vm.guest.start(f'exec zvsockctl -s {CONTROL} --count=2 capture /tmp/pcap host')
        vm.guest.run('until [ -s /tmp/pcap ]; do sleep 0.1; done')
        while not capture.ended():
            s.sendall(b'needle')
            s.recv(6)
        vm.guest.run('grep -q needle /tmp/pcap && rm /tmp/pcap')
    counters = vm.ctl('stats host')['guests'][0]['endpoints']
    if not counters['guest_joined']:
        raise Failure(f'stats: {counters}')
    until_quiet(world)


@scenario
def device_idle_sleeps(bench):
    """An idle zvsockd in the guest makes no rounds, and an interrupt wakes it."""
    world = device_world(bench, 'uio')
    vm = world.vms['dev']

    def rests():
        before, after = (vm.ctl('stats')['lcores'][0]['rounds'] for _ in range(2))
        return before == after
    until(rests, 'the lcore to sleep')
    world.host_peer(vm, 'echo', ECHO, 1000)


@scenario
def device_unplugged_and_back(bench):
    """The device goes under a connection: it ends, the guest's zvsockd stays, says so once, and a reload has it again."""
    world = device_world(bench, 'vfio', shared=False)
    vm = world.vms['dev']
    job = world.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: world.connections() == 1, 'the connection')
    bdf = vm.guest.run('zv-bind status').split()[0]
    vm.guest.run(f'echo 1 >/sys/bus/pci/devices/{bdf}/remove')
    until(lambda: vm.ctl('guests')['guests'][0]['state'] == 'down', 'zvsockd to see that its device has gone')
    vm.guest.run('echo 1 >/sys/bus/pci/rescan')
    vm.bind()
    vm.daemon.kill(signal.SIGHUP)
    vm.daemon.expect('in force; devices: 1 of 1')
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(world)
    vm.peer(f'xfer {XFER} {MIB} {MIB}')
    world.host_peer(vm, 'xfer', XFER, MIB, MIB)
    if vm.daemon.output.count('reconnecting') != 1:
        raise Failure(f'what zvsockd said: {vm.daemon.output}')
