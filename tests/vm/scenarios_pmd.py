# SPDX-License-Identifier: BSD-3-Clause
"""The guest poll-mode driver in VMs: vfio: and uio:, one device and four of one CID."""
import signal

from procs import Failure, until
from scenarios_daemon import until_quiet
from world import ECHO, SEQ, XFER, both_kernels, scenario
from world_pmd import pmd_world

MIB = 1 << 20


def vfio(bench):
    return serve_host(pmd_world(bench, 'vfio'))


def uio(bench):
    return serve_host(pmd_world(bench, 'uio', 'uio'))


def bonded(bench, how):
    return serve_host(pmd_world(bench, f'{how}-bonded', how, devices=4))


def serve_host(world):
    if not hasattr(world, 'server'):
        world.server = world.host_server(world.vms['pmd'])
    return world


def each_way(world):
    """64 MiB with their hash each way, on every queue at once."""
    vm = world.vms['pmd']
    n = len(vm.sockets)
    jobs = [vm.app.start(f'xfer 2 {XFER} {64 // n * MIB} {64 // n * MIB}') for _ in range(n)]
    for job in jobs:
        vm.app.wait(job)
    world.host_peer(vm, 'xfer', XFER, 64 * MIB, 0)
    stats = vm.stats()
    if stats['ring_broken'] or stats['rx_bad'] or stats['up'] != n:
        raise Failure(f'queues are not well: {stats}')
    until_quiet(world)


@both_kernels
def vfio_64mib(bench):
    """64 MiB with their hash each way through a device of vfio-pci."""
    each_way(vfio(bench))


@both_kernels
def vfio_seqpacket(bench):
    """Messages with their boundaries through a device of vfio-pci."""
    vm = vfio(bench).vms['pmd']
    vm.app.run(f'echo 2 {ECHO} 300000')


@scenario
def vfio_1000_connects(bench):
    """1,000 connections in a row from the driver's guest."""
    vm = vfio(bench).vms['pmd']
    vm.app.run(f'row 2 {ECHO} 1000')


@scenario
def vfio_200_parallel(bench):
    """200 connections at once, both ways, and 200 from host programs."""
    world = vfio(bench)
    vm = world.vms['pmd']
    vm.app.run(f'parallel 2 {ECHO} 200 20000')
    world.host_peer(vm, 'parallel', ECHO, 200, 20000)


@scenario
def vfio_bonded_64mib(bench):
    """Four devices of one CID are one device of four queues: 64 MiB each way over all at once."""
    each_way(bonded(bench, 'vfio'))


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
    """The driver's process is killed: connections of host programs end; a new process goes on."""
    world = vfio(bench)
    vm = world.vms['pmd']
    job = world.host_start(vm, 'xfer', XFER, 'forever', 0)
    until(lambda: world.connections() == 1, 'the connection')
    vm.app.job.kill(signal.SIGKILL)
    vm.app.job.wait()
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(world)
    vm.start_app()
    vm.app.run(f'echo 2 {ECHO} 100000')
    world.host_peer(vm, 'echo', ECHO, 100000)
