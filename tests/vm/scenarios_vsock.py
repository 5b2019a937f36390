# SPDX-License-Identifier: BSD-3-Clause
"""`vsock:`: programs of the library in a stock guest, over the kernel's AF_VSOCK."""
from procs import Failure
from scenarios_daemon import until_quiet
from world import ECHO, SEQ, XFER, every_kernel
from world_vsock import vsock_world

MIB = 1 << 20


def plain(bench):
    return vsock_world(bench, 'vsock')


@every_kernel
def vsock_64mib(bench):
    """64 MiB with their hash each way between vsock: in the guest and a host program."""
    world = plain(bench)
    vm = world.vms['a']
    vm.app.run(f'xfer 2 {XFER} {64 * MIB} {64 * MIB}')
    world.host_peer(vm, 'xfer', XFER, 64 * MIB, 64 * MIB)
    until_quiet(world)


@every_kernel
def vsock_messages(bench):
    """Messages with their boundaries and marks: to a host program, and by every CID that leads back here."""
    world = plain(bench)
    vm = world.vms['a']
    for where in ('1', str(vm.cid), '2'):
        vm.app.run(f'msg {where} {SEQ} 200')
    vm.app.run(f'seq 1 {SEQ} 200')
    until_quiet(world)


@every_kernel
def vsock_200_parallel(bench):
    """200 connections at once with data both ways, of the guest's program and of host programs."""
    world = plain(bench)
    vm = world.vms['a']
    vm.app.run(f'parallel 2 {ECHO} 200 20000')
    world.host_peer(vm, 'parallel', ECHO, 200, 20000)
    until_quiet(world)


@every_kernel
def vsock_1000_connects(bench):
    """1,000 connections in a row, from either side."""
    world = plain(bench)
    vm = world.vms['a']
    vm.app.run(f'row 2 {ECHO} 1000')
    world.host_peer(vm, 'row', ECHO, 1000)
    until_quiet(world)
