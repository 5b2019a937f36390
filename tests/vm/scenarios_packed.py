# SPDX-License-Identifier: BSD-3-Clause
"""Packed virtqueues (VIRTIO 1.2, section 2.8): a stock guest behind QEMU's packed=on, and our driver in a VM.

User-mode Linux offers its driver what the backend offers: all scenarios there have packed virtqueues."""
from procs import Failure
from world import ECHO, XFER, both_kernels, scenario
from world_daemon import DaemonWorld, Vm
from world_pmd import PmdVm, pmd_world

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
    return bench.own(DaemonWorld, {'packed': {'builtin': 'echo:7'}}, kinds={'packed': StockPacked})


def must_be_packed(world):
    with open(world.log.path, encoding='utf-8', errors='replace') as f:
        if 'is up, packed rings of' not in f.read():
            raise Failure(f'no packed rings: {world.log.path}')


def traffic(world, vm):
    """8 MiB each way, connections of both sides."""
    server = world.host_server(vm)
    vm.peer(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
    world.host_peer(vm, 'echo', ECHO, 100000)
    world.host_peer(vm, 'xfer', XFER, MIB, MIB)
    server.kill()


@both_kernels
def stock_packed(bench):
    """The kernel's own driver on packed virtqueues: 8 MiB each way, echoes, either side connects."""
    world = stock(bench)
    traffic(world, world.vms['packed'])
    must_be_packed(world)


@scenario
def vfio_packed(bench):
    """Our driver through VFIO on packed virtqueues, opened twice: 8 MiB each way."""
    world = pmd_world(bench, 'vfio-packed', shared=False, extra=PACKED)
    vm = world.vms['pmd']
    server = world.host_server(vm)
    for _ in range(2):
        vm.app.quit()
        vm.start_app(f'flags={ZV_OPT_PACKED}')
        vm.app.run(f'xfer 2 {XFER} {8 * MIB} {8 * MIB}')
        world.host_peer(vm, 'echo', ECHO, 100000)
    server.kill()
    must_be_packed(world)
