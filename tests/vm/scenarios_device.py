# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd in the guest: it drives the device, [device NAME], for programs that know only Unix sockets. On the host is
another one, or a kernel's vhost-vsock."""
import hashlib
import json
import os
import shutil
import signal

import image
from guest import Guest
from procs import Failure, Log, Owner, until
from scenarios_daemon import MIB, hybrid_connect, until_quiet
from testbed import ECHO, XFER, scenario
from testbed_daemon import DaemonTestbed
from testbed_pmd import HUGEPAGES, PmdVm

UNIX = '/run/host.vsock'  # in the guest: to the host, and what the host connects to
CONTROL = '/run/zvsock.sock'
AF_VSOCK = '/run/av'


def device_ramdisk(bench, kernel):
    """The RAM disk of a guest with zvsockd and its libraries."""
    key = (kernel, 'device')
    if key not in bench.ramdisks:
        path = os.path.join(bench.vmdir, f'initrd-device-{kernel.release}')
        dynamic = [bench.program(p) for p in ('zv-bind', 'zvsockd-guest', 'zvsockctl', 'zvsock-run', 'libzvsock-preload.so')]
        image.build(kernel, [bench.program(p) for p in ('vm_agent', 'vsock_peer')], path, image.PMD_MODULES,
                    (*image.PROGRAMS, *dynamic))
        bench.ramdisks[key] = path
    return bench.ramdisks[key]


def start_zvsockd(guest, uri, options=''):
    """zvsockd in @guest, which drives @uri. On a loaded machine the host may stand still for seconds."""
    words = f'name=host,uri={uri},unix={UNIX},af_vsock={AF_VSOCK},builtin=echo:7,connect_timeout_ms=120000,tx_timeout_ms=60000'
    job = guest.start(f'exec zvsockd-guest -d {words} -s control={CONTROL} {options}')
    job.expect('is up; devices: 1 of 1')
    return job


class DeviceVm(PmdVm):
    """A guest whose zvsockd has the device."""
    options = ''

    def power_on(self):
        testbed = self.testbed
        iommu = 'intel_iommu=on ' if self.how == 'vfio' else ''
        self.guest = Guest(testbed.owner, testbed.folder, self.log, testbed.kernel, device_ramdisk(testbed.bench, testbed.kernel),
                           self.qemu_args(), memory=512, boot=f'{iommu}hugepages={HUGEPAGES}')

    def serve(self):
        self.start_daemon()
        self.server = self.guest.start(f'exec vsock_peer serve {UNIX}')
        self.server.expect('serving')

    def start_daemon(self):
        lcores = ','.join(['any'] * min(len(self.sockets), 2))
        self.daemon = start_zvsockd(self.guest, f'{self.how}:{self.bind()}', f'-s cpus={lcores} {self.options}')

    def peer(self, command, **kw):
        """VERB PORT NUMBER...: a program of the guest, through zvsockd."""
        verb, rest = command.split(' ', 1)
        return self.guest.run(f'exec vsock_peer {verb} {UNIX} {rest}', **kw)

    def ctl(self, words):
        return json.loads(self.guest.run(f'exec zvsockctl -s {CONTROL} --json {words}'))


def device_testbed(bench, how, shared=True, devices=1):
    guests, kinds = {'dev': {'builtin': 'echo:7'}}, {'dev': lambda *args: DeviceVm(*args, how=how, devices=devices)}
    testbed = (bench.shared(DaemonTestbed, f'device-{how}', guests, kinds=kinds) if shared
             else bench.own(DaemonTestbed, guests, kinds=kinds))
    if not hasattr(testbed, 'server'):
        testbed.server = testbed.host_server(testbed.vms['dev'])
    return testbed


class Watched(DeviceVm):
    """It misses its host soon."""
    options = '-s host.tx_timeout_ms=1000'


def each_way(bench, how):
    testbed = device_testbed(bench, how)
    vm = testbed.vms['dev']
    vm.peer(f'xfer {XFER} {64 * MIB} 0')
    testbed.host_peer(vm, 'xfer', XFER, 64 * MIB, 0)
    vm.peer(f'parallel {ECHO} 50 20000')
    testbed.host_peer(vm, 'parallel', ECHO, 50, 20000)
    until_quiet(testbed)


@scenario
def device_vfio_64mib(bench):
    """Programs of the guest share zvsockd's device of vfio-pci: 64 MiB each way, 50 connections at once each way."""
    each_way(bench, 'vfio')


@scenario
def device_uio_64mib(bench):
    """The same with uio_pci_generic."""
    each_way(bench, 'uio')


@scenario
def device_bonded_64mib(bench):
    """Four devices of one CID on two lcores: 64 MiB each way at once, and each queue has carried some of it."""
    testbed = device_testbed(bench, 'vfio', shared=False, devices=4)
    vm = testbed.vms['dev']
    jobs = [vm.guest.start(f'exec vsock_peer xfer {UNIX} {XFER} {16 * MIB} {16 * MIB}') for _ in range(4)]
    for job in jobs:
        if job.wait():
            raise Failure(f'guest: {job.output}')
    testbed.host_peer(vm, 'parallel', ECHO, 50, 20000)
    stats = vm.ctl('stats')
    idle = [q['queue'] for q in stats['guests'][0]['queues'] if not q['counters']['rx_bytes']]
    if idle or {q['lcore'] for q in stats['guests'][0]['queues']} != {0, 1}:
        raise Failure(f'queues {idle} have carried nothing: {stats}')
    until_quiet(testbed)


class KernelDeviceTestbed:
    """A VM without a vsock device: zvsockd on the kernel's vhost-vsock, and AF_VSOCK programs as its host."""

    def __init__(self, bench, name):
        kernel = bench.kernel()
        dynamic = [bench.program(p) for p in ('zvsockd-guest', 'zvsockctl')]
        self.owner, self.folder = Owner(), bench.new_folder()
        log = self.owner.add(Log(bench.log_path(name)))
        ramdisk = os.path.join(self.folder, 'initrd')
        try:
            image.build(kernel, [bench.program(p) for p in ('vm_agent', 'vsock_peer')], ramdisk,
                        ('virtio_pci', 'virtio_console', 'vhost_vsock'), (*image.PROGRAMS, *dynamic))
            self.guest = Guest(self.owner, self.folder, log, kernel, ramdisk, [], memory=512)
            self.guest.wait_ready()
            for where in ('', UNIX):
                self.guest.start(f'exec vsock_peer serve {where}').expect('serving')
            self.daemon = start_zvsockd(self.guest, 'vhost-kernel:cid=42')
        except BaseException:
            self.close()
            raise

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@scenario
def device_on_vhost_kernel(bench):
    """zvsockd on a kernel's own vhost-vsock: 16 MiB each way between Unix sockets and AF_VSOCK, from both ends."""
    guest = bench.own(KernelDeviceTestbed).guest
    guest.run(f'exec vsock_peer xfer {UNIX} {XFER} {16 * MIB} {16 * MIB}')
    guest.run(f'exec vsock_peer xfer 42 {XFER} {16 * MIB} {16 * MIB}')
    guest.run(f'exec vsock_peer row 42 {ECHO} 100')
    said = guest.run("echo from AF_VSOCK | socat -t 60 - VSOCK-CONNECT:42:7")
    if said != 'from AF_VSOCK\n':
        raise Failure(f'the builtin echo said {said!r}')


@scenario
def device_socat_guest_to_host(bench):
    """socat in the guest, its zvsockd, the host's zvsockd, socat on the host: 64 MiB, sha256 is the same."""
    testbed = device_testbed(bench, 'vfio')
    vm = testbed.vms['dev']
    digest = vm.guest.run('dd if=/dev/urandom of=/tmp/data bs=1M count=64 2>/dev/null; sha256sum </tmp/data').split()[0]
    path, where = f'{vm.unix}_6001', os.path.join(testbed.folder, 'got')
    server = testbed.program(['socat', '-u', f'UNIX-LISTEN:{path}', f'CREATE:{where}'])
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
    testbed = device_testbed(bench, 'vfio')
    vm = testbed.vms['dev']
    job = vm.guest.start(f'socat -u UNIX-LISTEN:{UNIX}_6002 - | sha256sum')
    vm.guest.run(f'until [ -e {UNIX}_6002 ]; do sleep 0.1; done')
    data, where = os.urandom(64 * MIB), os.path.join(testbed.folder, 'sent')
    with open(where, 'wb') as f:
        f.write(b'CONNECT 6002\n' + data)
    sender = testbed.program(['socat', '-t', '120', f'OPEN:{where}!!CREATE:{where}.said', f'UNIX-CONNECT:{vm.unix}'])
    if sender.wait() or job.wait():
        raise Failure('a socat failed')
    if hashlib.sha256(data).hexdigest() not in job.output:
        raise Failure(f'what has arrived has another hash: {job.output}')


@scenario
def device_zvsockctl(bench):
    """guests, list, stats and capture work in the guest."""
    testbed = device_testbed(bench, 'vfio')
    vm = testbed.vms['dev']
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
    until_quiet(testbed)


@scenario
def device_idle_sleeps(bench):
    """An idle zvsockd in the guest makes no rounds, and an interrupt wakes it."""
    testbed = device_testbed(bench, 'uio')
    vm = testbed.vms['dev']

    def rests():
        before, after = (vm.ctl('stats')['lcores'][0]['rounds'] for _ in range(2))
        return before == after
    until(rests, 'the lcore to sleep')
    testbed.host_peer(vm, 'echo', ECHO, 1000)


@scenario
def device_host_daemon_killed(bench):
    """The host's zvsockd is killed and started again, which QEMU tells nobody: the guest's finds out, and has it back."""
    testbed = bench.own(DaemonTestbed, {'dev': {'mode': 'client', 'builtin': 'echo:7'}},
                      kinds={'dev': lambda *args: Watched(*args, how='vfio')})
    vm = testbed.vms['dev']
    testbed.host_server(vm)
    job = vm.guest.start(f'exec vsock_peer echo {UNIX} {ECHO} forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    testbed.daemon.kill()
    testbed.start_daemon()
    if job.wait() == 0:
        raise Failure('the guest program saw a good end')
    vm.daemon.expect('connected again')
    vm.peer(f'xfer {XFER} {MIB} {MIB}')
    testbed.host_peer(vm, 'xfer', XFER, MIB, MIB)
    until_quiet(testbed)


@scenario
def device_unplugged_and_back(bench):
    """The device goes under a connection: it ends, the guest's zvsockd stays, says so once, and a reload has it again."""
    testbed = device_testbed(bench, 'vfio', shared=False)
    vm = testbed.vms['dev']
    job = testbed.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    bdf = vm.guest.run('zv-bind status').split()[0]
    vm.guest.run(f'echo 1 >/sys/bus/pci/devices/{bdf}/remove')
    until(lambda: vm.ctl('guests')['guests'][0]['state'] == 'down', 'zvsockd to see that its device has gone')
    vm.guest.run('echo 1 >/sys/bus/pci/rescan')
    vm.bind()
    vm.daemon.kill(signal.SIGHUP)
    vm.daemon.expect('in force; devices: 1 of 1')
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(testbed)
    vm.peer(f'xfer {XFER} {MIB} {MIB}')
    testbed.host_peer(vm, 'xfer', XFER, MIB, MIB)
    if vm.daemon.output.count('reconnecting') != 1:
        raise Failure(f'what zvsockd said: {vm.daemon.output}')
