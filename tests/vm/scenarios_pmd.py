# SPDX-License-Identifier: BSD-3-Clause
"""The guest poll-mode driver in VMs: vfio: and uio:, one device and four of one CID."""
import os
import signal
import statistics
import time

from procs import Failure, until
from scenarios_daemon import until_quiet
from testbed import ECHO, SEQ, XFER, both_kernels, scenario
from testbed_daemon import DaemonTestbed, Vm
from testbed_pmd import BenchTestbed, PmdVm, pmd_testbed

MIB = 1 << 20


class StockBehindIommu(PmdVm):
    """The kernel keeps the device."""

    def __init__(self, *args):
        super().__init__(*args, platform=True)

    def serve(self):
        Vm.serve(self)


def vfio(bench):
    return serve_host(pmd_testbed(bench, 'vfio'))


def uio(bench):
    return serve_host(pmd_testbed(bench, 'uio', 'uio'))


def bonded(bench, how):
    return serve_host(pmd_testbed(bench, f'{how}-bonded', how, devices=4))


def serve_host(testbed):
    if not hasattr(testbed, 'server'):
        testbed.server = testbed.host_server(testbed.vms['pmd'])
    return testbed


def each_way(testbed):
    """64 MiB with their hash each way, on every queue at once."""
    vm = testbed.vms['pmd']
    n = vm.n_queues
    jobs = [vm.app.start(f'xfer 2 {XFER} {64 // n * MIB} {64 // n * MIB}') for _ in range(n)]
    for job in jobs:
        vm.app.wait(job)
    testbed.host_peer(vm, 'xfer', XFER, 64 * MIB, 0)
    stats = vm.stats()
    if stats['ring_broken'] or stats['rx_bad'] or stats['up'] != n:
        raise Failure(f'queues are not well: {stats}')
    until_quiet(testbed)


@both_kernels
def vfio_64mib(bench):
    """64 MiB with their hash each way through a device of vfio-pci."""
    each_way(vfio(bench))


@both_kernels
def vfio_seqpacket(bench):
    """Messages with their boundaries through a device of vfio-pci."""
    vfio(bench).vms['pmd'].app.run(f'msg 2 {SEQ} 200')


@scenario
def vfio_1000_connects(bench):
    """1,000 connections in a row from the driver's guest."""
    vm = vfio(bench).vms['pmd']
    vm.app.run(f'row 2 {ECHO} 1000')


@scenario
def vfio_200_parallel(bench):
    """200 connections at once, both ways, and 200 from host programs."""
    testbed = vfio(bench)
    vm = testbed.vms['pmd']
    vm.app.run(f'parallel 2 {ECHO} 200 20000')
    testbed.host_peer(vm, 'parallel', ECHO, 200, 20000)


@scenario
def vfio_bonded_64mib(bench):
    """Four devices of one CID are one device of four queues: 64 MiB each way over all at once."""
    each_way(bonded(bench, 'vfio'))


@both_kernels
def vfio_translated_64mib(bench):
    """64 MiB each way with VIRTIO_F_ACCESS_PLATFORM: each address goes through the VM's IOMMU."""
    each_way(serve_host(pmd_testbed(bench, 'vfio-translated', platform=True)))


@scenario
def vfio_translated_bonded_64mib(bench):
    """The same over four devices of one CID."""
    each_way(serve_host(pmd_testbed(bench, 'vfio-translated-bonded', devices=4, platform=True)))


@scenario
def vfio_translated_in_ordinary_pages(bench):
    """Without a hugepage, opened again and again in memory that is scattered: no ring may cross a page."""
    testbed = pmd_testbed(bench, 'vfio-pages', shared=False, platform=True, hugepages=0)
    vm = serve_host(testbed).vms['pmd']
    # Single pages, none beside another: these are what the kernel gives away first.
    vm.guest.run('i=0; while [ $i -lt 12000 ]; do echo x >/tmp/f$i; i=$((i+1)); done; rm /tmp/f*[13579]')
    for _ in range(8):
        vm.app.run(f'xfer 2 {XFER} {4 * MIB} {4 * MIB}')
        vm.app.quit()
        vm.start_app()


@scenario
def stock_driver_behind_an_iommu(bench):
    """The kernel's own driver with iommu_platform=on: each buffer is translated, 8 MiB each way."""
    testbed = bench.own(DaemonTestbed, {'pmd': {}}, kinds={'pmd': StockBehindIommu})
    vm = testbed.vms['pmd']
    server = testbed.host_server(vm)
    vm.peer(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
    testbed.host_peer(vm, 'echo', ECHO, 100000)
    server.kill()


@both_kernels
def uio_64mib(bench):
    """64 MiB with their hash each way through a device of uio_pci_generic, with its INTx line."""
    each_way(uio(bench))


@scenario
def uio_bonded_64mib(bench):
    """Four devices of one CID through uio_pci_generic."""
    each_way(bonded(bench, 'uio'))


@scenario
def vfio_killed_and_started_again(bench):
    """The driver's process is killed and started again: it goes on, and the host program's connection ends.

    Until the device is opened again the daemon cannot tell it from one of a VM that stands still."""
    testbed = vfio(bench)
    vm = testbed.vms['pmd']
    job = testbed.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    vm.app.job.kill(signal.SIGKILL)
    vm.app.job.wait()
    vm.start_app()
    try:
        code = job.wait(30)
    except Failure as why:
        raise Failure(f'{why}: {testbed.ctl("list")}') from None
    if code == 0:
        raise Failure('the host program saw a good end')
    until_quiet(testbed)
    vm.app.run(f'echo 2 {ECHO} 100000')
    testbed.host_peer(vm, 'echo', ECHO, 100000)


def bench_runs(bench, devices):
    testbed = bench.temporary.add(BenchTestbed(bench, bench.current, devices=devices))
    report = testbed.measure('--size', '64,5000', '--duration', '0.1', '--repeat', '1')
    runs = [r for r in report['runs'] if r['target'] == 'zvsock']
    bad = [r for r in runs if r.get('absent') or r['queues'] != devices]
    if not runs or bad:
        raise Failure(f'vsock-bench in the guest: {bad or report}')
    return f'{len(runs)} runs, each byte verified'


@scenario
def vfio_bench(bench):
    """vsock-bench in a guest, over vfio-pci, against a host application in its own process."""
    return bench_runs(bench, 1)


@scenario
def vfio_bench_4_queues(bench):
    """vsock-bench --queues 4 over four devices of one CID."""
    return bench_runs(bench, 4)


def registered(bench, **kw):
    """Payload in memory that vsock-bench in the guest has registered, each byte verified. What it says of that."""
    testbed = bench.temporary.add(BenchTestbed(bench, bench.current, **kw))
    report = testbed.measure('--registered', '--test', 'throughput', '--size', '4096,65536', '--duration', '0.1', '--repeat', '1')
    runs = [r for r in report['runs'] if r.get('registered')]
    if len(runs) < 2 or any(r['errors'] or not r['verified'] or not r['messages'] for r in runs):
        raise Failure(f'vsock-bench --registered in the guest: {runs}')
    return testbed.said


@scenario
def vfio_registered_memory(bench):
    """Memory that the program has registered is read where it lies, through the VM's IOMMU."""
    if 'copied' in (said := registered(bench, platform=True)):
        raise Failure(said)


@scenario
def uio_registered_memory(bench):
    """With uio it is copied, and vsock-bench says so."""
    if 'payload is copied' not in (said := registered(bench, how='uio')):
        raise Failure(f'vsock-bench says: {said}')


@scenario
def vfio_guest_rebooted(bench):
    """The guest reboots under traffic: the host program's connection ends, and all works again after."""
    testbed = pmd_testbed(bench, None, shared=False, reboots=True)
    vm = testbed.vms['pmd']
    serve_host(testbed)
    job = testbed.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    vm.guest.reboot()
    vm.start_app()
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(testbed)
    each_way(testbed)


def refused(vm, uri, *words, options=''):
    """Opening @uri fails with one line that has all of @words, and the program ends with 1."""
    job = vm.guest.start(f'exec vm_pmd_app {uri} {options} </dev/null')
    code = job.wait()
    lines = [line for line in job.output.splitlines() if line.startswith('vm_pmd_app: ')]
    if code != 1 or len(lines) != 1 or [w for w in words if w not in lines[0]]:
        raise Failure(f'{uri}: exit code {code}, not one line with {words}: {job.output.strip()}')


@scenario
def vfio_without_msix(bench):
    """A device that has only an INTx line: 64 MiB each way, and a driver that has gone to sleep is reached."""
    testbed = serve_host(pmd_testbed(bench, None, shared=False, extra=',vectors=0'))
    vm = testbed.vms['pmd']
    each_way(testbed)
    lines = vm.guest.run('grep vfio /proc/interrupts')
    if 'vfio-intx' not in lines or 'vfio-msi' in lines:
        raise Failure(f'the interrupts are {lines}')
    vm.guest.run('sleep 1')
    testbed.host_peer(vm, 'echo', ECHO, 1000)
    until_quiet(testbed)


@scenario
def vfio_bad_input(bench):
    """What a user can get wrong ends in one line that says how to mend it, and leaves the device as it was."""
    testbed = pmd_testbed(bench, None, shared=False, boot=False)
    vm = testbed.vms['pmd']
    vm.power_on()
    vm.guest.wait_ready()
    bdf = vm.guest.run('zv-bind status').split()[0]
    refused(vm, f'vfio:{bdf}', 'bound to the kernel driver virtio-pci', 'zv-bind bind --driver vfio-pci')
    refused(vm, 'vfio:nonsense', 'not the address of a PCI device')
    refused(vm, 'vfio:0000:00:1e.0', 'no such PCI device', 'zv-bind status')
    refused(vm, 'vfio:0000:00:00.0', 'no virtio-vsock device')
    vm.guest.run(f'zv-bind bind {bdf}')
    refused(vm, f'uio:{bdf}', 'not to uio_pci_generic')
    refused(vm, f'vfio:{bdf}', 'queue pairs', options='queues=4')
    vm.guest.run('zv-bind hugepages 3')
    refused(vm, f'vfio:{bdf}', 'hugepages', '3 are free', 'zv-bind hugepages')
    vm.guest.run('zv-bind hugepages 96')
    first = vm.start_app()
    refused(vm, f'vfio:{bdf}', 'another program has the group open')
    first.quit()
    vm.guest.run(f'zv-bind unbind {bdf}')
    if 'virtio-pci' not in vm.guest.run('zv-bind status').splitlines()[0]:
        raise Failure('the device did not go back to the kernel')


def idle_cost(vm, seconds=3):
    """What QEMU's threads take of a CPU while the VM has nothing to do, in per cent."""
    tasks = f'/proc/{vm.guest.vmm.popen.pid}/task'

    def cpu_ns():
        total = 0
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/schedstat', encoding='ascii') as f:
                total += int(f.read().split()[0])
        return total

    time.sleep(1)  # what came before is over
    begin, before = time.monotonic(), cpu_ns()
    time.sleep(seconds)
    return (cpu_ns() - before) / (time.monotonic() - begin) / 1e7


@scenario
def vfio_sleeps(bench):
    """An idle driver costs at most 1 % of a vCPU above the same guest without it, and is reached at once."""
    testbed = pmd_testbed(bench, None, shared=False)
    vm = testbed.vms['pmd']
    without, driven = [], []
    for _ in range(3):
        driven.append(idle_cost(vm))
        testbed.host_peer(vm, 'echo', ECHO, 1000)
        vm.app.quit()
        without.append(idle_cost(vm))
        vm.start_app()
    cost = statistics.median(driven) - statistics.median(without)
    note = f'{cost:.2f} % of a vCPU, on top of {statistics.median(without):.1f} %'
    if cost > 1:
        raise Failure(f'an idle driver costs {note}; with it {driven}, without {without}')
    return note


def unplugged(bench, how):
    testbed = pmd_testbed(bench, None, how, shared=False)
    vm = testbed.vms['pmd']
    serve_host(testbed)
    job = testbed.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    bdf = vm.guest.run('zv-bind status').split()[0]
    vm.guest.run(f'echo 1 >/sys/bus/pci/devices/{bdf}/remove')
    until(lambda: vm.stats()['up'] == 0, 'the driver to see that its device has gone')
    refused(vm, f'{how}:{bdf}', 'no such PCI device')
    vm.app.quit()
    vm.guest.run('echo 1 >/sys/bus/pci/rescan')
    vm.start_app()
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(testbed)
    each_way(testbed)


@scenario
def vfio_unplugged(bench):
    """The guest's kernel takes the device away under traffic: it has it at once, and the driver's process goes on."""
    unplugged(bench, 'vfio')


@scenario
def uio_unplugged(bench):
    """The same with uio."""
    unplugged(bench, 'uio')
