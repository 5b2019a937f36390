# SPDX-License-Identifier: BSD-3-Clause
"""Packed virtqueues (VIRTIO 1.2, section 2.8): a stock guest behind QEMU's packed=on, and our driver in a VM.

User-mode Linux offers its driver what the backend offers: all scenarios there have packed virtqueues."""
from procs import Failure
from testbed import ECHO, XFER, both_kernels, scenario
from testbed_daemon import DaemonTestbed, Vm
from testbed_pmd import PmdVm, pmd_testbed

MIB = 1 << 20
PACKED = ',packed=on'
ZV_OPT_PACKED = 1 << 5


class StockPacked(PmdVm):
    """The kernel keeps the device, which has packed virtqueues."""

    def __init__(self, *args):
        super().__init__(*args, how='uio', extra=PACKED, hugepages=0)

    def serve(self):
        Vm.serve(self)


def stock(bench):
    return bench.own(DaemonTestbed, {'packed': {'builtin': 'echo:7'}}, kinds={'packed': StockPacked})


def must_be_packed(testbed):
    with open(testbed.log.path, encoding='utf-8', errors='replace') as f:
        if 'is up, packed rings of' not in f.read():
            raise Failure(f'no packed rings: {testbed.log.path}')


def traffic(testbed, vm):
    """8 MiB each way, connections of both sides."""
    server = testbed.host_server(vm)
    vm.peer(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
    testbed.host_peer(vm, 'echo', ECHO, 100000)
    testbed.host_peer(vm, 'xfer', XFER, MIB, MIB)
    server.kill()


@both_kernels
def stock_packed(bench):
    """The kernel's own driver on packed virtqueues: 8 MiB each way, echoes, either side connects."""
    testbed = stock(bench)
    traffic(testbed, testbed.vms['packed'])
    must_be_packed(testbed)


@scenario
def vfio_packed(bench):
    """Our driver through VFIO on packed virtqueues, opened twice: 8 MiB each way."""
    testbed = pmd_testbed(bench, 'vfio-packed', shared=False, extra=PACKED)
    vm = testbed.vms['pmd']
    server = testbed.host_server(vm)
    for _ in range(2):
        vm.app.quit()
        vm.start_app(f'flags={ZV_OPT_PACKED}')
        vm.app.run(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
        testbed.host_peer(vm, 'echo', ECHO, 100000)
    server.kill()
    must_be_packed(testbed)
