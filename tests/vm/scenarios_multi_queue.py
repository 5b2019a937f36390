# SPDX-License-Identifier: BSD-3-Clause
"""The guest poll-mode driver: one device that has all queues (a newer QEMU), their number changing between runs, a stock
guest as its sibling."""
import signal

from procs import Failure, until
from scenarios_daemon import until_quiet
from scenarios_pmd import each_way, serve_host
from testbed import ECHO, SEQ, XFER, both_kernels, scenario
from testbed_daemon import Vm
from testbed_pmd import PmdVm, pmd_testbed

MIB = 1 << 20
PAIRS = 4


class StockVm(PmdVm):
    """The kernel keeps the devices."""

    def serve(self):
        Vm.serve(self)


def one_device(bench, how):
    return serve_host(pmd_testbed(bench, f'{how}-one-device', how, queues=PAIRS))


@both_kernels
def one_device_vfio_64mib(bench):
    """One device with nine virtqueues: 64 MiB each way over its four pairs at once, by vfio-pci."""
    each_way(one_device(bench, 'vfio'))


@scenario
def one_device_uio_64mib(bench):
    """The same by uio_pci_generic."""
    each_way(one_device(bench, 'uio'))


@scenario
def one_device_stock_driver(bench):
    """The kernel's driver on a device with nine virtqueues has its one pair: bytes and messages both ways."""
    testbed = pmd_testbed(bench, None, 'uio', shared=False, queues=PAIRS, vm=StockVm)
    serve_host(testbed)
    vm = testbed.vms['pmd']
    vm.peer(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
    vm.peer(f'msg 2 {SEQ} 100')
    testbed.host_peer(vm, 'xfer', XFER, 8 * MIB, 8 * MIB)
    until_quiet(testbed)


@both_kernels
def vfio_and_stock_siblings(bench):
    """A guest of our driver and a stock one of a group: bytes and messages, whichever of them has connected."""
    testbed = pmd_testbed(bench, 'vfio-siblings', keys={'groups': 'front'}, beside={'stock': {'groups': 'front'}})
    pmd, stock = testbed.vms['pmd'], testbed.vms['stock']
    pmd.app.run(f'xfer {stock.cid} {XFER} {32 * MIB} {32 * MIB}')
    stock.peer(f'xfer {pmd.cid} {XFER} {32 * MIB} {32 * MIB}')
    pmd.app.run(f'msg {stock.cid} {SEQ} 200')
    stock.peer(f'msg {pmd.cid} {SEQ} 200')
    both = pmd.app.start(f'parallel {stock.cid} {ECHO} 50 20000')
    stock.peer(f'parallel {pmd.cid} {ECHO} 50 20000')
    pmd.app.wait(both)
    stats = pmd.stats()
    if stats['ring_broken'] or stats['rx_bad']:
        raise Failure(f'the queue is not well: {stats}')
    until_quiet(testbed)


# ---- their number changes ----------------------------------------------------------------------

def carries_both_ways(testbed, queues):
    """@queues are up, and each carries bytes both ways."""
    vm = testbed.vms['pmd']
    until(lambda: vm.stats()['up'] == queues, f'{queues} queues of the driver')
    for job in [vm.app.start(f'xfer 2 {XFER} {MIB} {MIB}') for _ in range(2 * queues)]:
        vm.app.wait(job)
    testbed.host_peer(vm, 'parallel', ECHO, 4 * queues, 20000)
    stats = vm.stats()
    if stats['ring_broken'] or stats['rx_bad'] or stats['up'] != queues:
        raise Failure(f'{queues} queues are not well: {stats}')
    until_quiet(testbed)


@scenario
def vfio_killed_with_more_queues(bench):
    """A driver of four bonded queues is killed, and one of one queue comes, of two, of four: host programs reach each; and
    so they do when zvsockd was restarted with two queues, and with four."""
    testbed = serve_host(pmd_testbed(bench, None, shared=False, devices=PAIRS, keys={'mode': 'client'}))
    vm = testbed.vms['pmd']
    carries_both_ways(testbed, PAIRS)
    for devices in (1, 2, PAIRS):
        vm.app.job.kill(signal.SIGKILL)
        vm.app.job.wait()
        vm.start_app(devices=devices)
        carries_both_ways(testbed, devices)
    every = vm.sockets
    for sockets in (every[:2], every):
        vm.app.quit()
        testbed.daemon.kill()
        vm.sockets = sockets
        testbed.write_config()
        testbed.start_daemon()
        vm.start_app(devices=len(sockets))
        carries_both_ways(testbed, len(sockets))


@scenario
def one_device_queue_counts_change(bench):
    """A driver of all four pairs of one device, then of one, of two, of four. (Not behind a vIOMMU: there QEMU 11.1
    starts no device that has virtqueues which the driver leaves alone.)"""
    testbed = serve_host(pmd_testbed(bench, None, 'uio', shared=False, queues=PAIRS))
    vm = testbed.vms['pmd']
    carries_both_ways(testbed, PAIRS)
    for queues in (1, 2, PAIRS):
        vm.app.quit()
        vm.start_app(queues=queues)
        carries_both_ways(testbed, queues)
