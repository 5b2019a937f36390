# SPDX-License-Identifier: BSD-3-Clause
"""The guest poll-mode driver beside a zvsockd that dies: QEMU keeps the device and does not say so, and the driver's
transmit watchdog finds out."""
import signal
import time

from procs import Failure, until
from scenarios_daemon import until_quiet
from testbed import ECHO, ENDS, scenario
from testbed_daemon import DaemonTestbed
from testbed_pmd import PmdVm

TX_TIMEOUT_MS = 3000


class Watched(PmdVm):
    def serve(self):
        self.start_app(f'tx_timeout_ms={TX_TIMEOUT_MS}')


def watched_testbed(bench, how, devices=1):
    """QEMU listens, so that a new zvsockd can have the device."""
    return bench.own(DaemonTestbed, {'pmd': {'mode': 'client', 'builtin': 'echo:7'}},
                     kinds={'pmd': lambda *args: Watched(*args, how=how, devices=devices)})


def is_reset(app, job):
    """The guest program @job ends as one whose connection was reset."""
    try:
        app.wait(job)
    except Failure as why:
        if 'reset' not in str(why):
            raise
        return
    raise Failure('a connection of the guest outlived zvsockd')


def passes(conversation):
    """False: it was reset. The driver misses a zvsockd that has no CPU for TX_TIMEOUT_MS, too."""
    try:
        conversation()
    except Failure as why:
        if not any(end in str(why) for end in ENDS):
            raise
        return False
    return True


def reached_again(testbed, begin):
    """Connections pass both ways, over every queue."""
    vm = testbed.vms['pmd']
    n = len(vm.sockets)
    until(lambda: (s := vm.stats())['up'] == n and s['sessions'] > n, 'the driver to start the device again')
    note = f'back {time.monotonic() - begin:.1f} s after zvsockd'
    for _ in range(n):
        until(lambda: passes(lambda: vm.app.run(f'echo 2 {ECHO} 100000')), 'a connection from the guest')
        until(lambda: passes(lambda: testbed.host_peer(vm, 'echo', ECHO, 100000)), 'a connection from the host')
    stats = vm.stats()
    if stats['ring_broken'] or stats['rx_bad']:
        raise Failure(f'queues are not well: {stats}')
    until_quiet(testbed)
    return note


def daemon_killed(bench, how, away, devices=1):
    """zvsockd is killed under connections of both directions and started again after @away seconds."""
    testbed = watched_testbed(bench, how, devices)
    vm = testbed.vms['pmd']
    testbed.host_server(vm)
    host = testbed.host_start(vm, 'echo', ECHO, 'forever')
    guest = [vm.app.start(f'echo 2 {ECHO} forever') for _ in range(devices)]
    until(lambda: testbed.connections() == 1 + devices, 'the connections')
    testbed.daemon.kill()
    # The connections above may have nothing that the device should take: it is missed by what is sent from now on.
    guest += [vm.app.start(f'echo 2 {ECHO} 1000') for _ in range(devices)]
    time.sleep(away)
    begin = time.monotonic()
    testbed.start_daemon()
    if host.wait() == 0:
        raise Failure('the host program saw a good end')
    for job in guest:
        is_reset(vm.app, job)
    return reached_again(testbed, begin)


@scenario
def vfio_daemon_killed_and_restarted(bench):
    """zvsockd is killed and started again: connections are reset, the listener stays, new ones pass."""
    return daemon_killed(bench, 'vfio', 0)


@scenario
def vfio_daemon_away_for_5_s(bench):
    """The same when it is started again after 5 s, while the driver tries."""
    return daemon_killed(bench, 'vfio', 5)


@scenario
def uio_daemon_killed_and_restarted(bench):
    """zvsockd is killed and started again under a device of uio_pci_generic."""
    return daemon_killed(bench, 'uio', 0)


@scenario
def uio_daemon_away_for_5_s(bench):
    """The same when it is started again after 5 s."""
    return daemon_killed(bench, 'uio', 5)


@scenario
def vfio_bonded_daemon_killed(bench):
    """zvsockd is killed under four devices of one CID: each of them comes back."""
    return daemon_killed(bench, 'vfio', 0, devices=4)


@scenario
def vfio_daemon_stands_still(bench):
    """zvsockd stands still for longer than the timeout, then goes on: the VM goes on as well, and connections pass.

    The reset of the device may halt the VM meanwhile; whether the timeout was reached first is up to the machine."""
    testbed = watched_testbed(bench, 'vfio')
    vm = testbed.vms['pmd']
    testbed.host_server(vm)
    job = vm.app.start(f'echo 2 {ECHO} forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    testbed.daemon.kill(signal.SIGSTOP)
    try:
        late = vm.app.start(f'echo 2 {ECHO} 1000')
        time.sleep(4 * TX_TIMEOUT_MS / 1000)
    finally:
        testbed.daemon.kill(signal.SIGCONT)
    note = 'the timeout was not reached'
    try:
        vm.app.wait(late)
    except Failure as why:
        if 'reset' not in str(why):
            raise
        is_reset(vm.app, job)
        note = 'the device was reset'
    until(lambda: vm.stats()['up'] == 1, 'the driver to have its device')
    vm.app.run(f'echo 2 {ECHO} 100000')
    testbed.host_peer(vm, 'echo', ECHO, 100000)
    return note


@scenario
def uio_killed_and_started_again(bench):
    """The driver's process over uio_pci_generic is killed and started again: as with vfio-pci."""
    testbed = bench.own(DaemonTestbed, {'pmd': {'builtin': 'echo:7'}},
                      kinds={'pmd': lambda *args: PmdVm(*args, how='uio')})
    vm = testbed.vms['pmd']
    testbed.host_server(vm)
    job = testbed.host_start(vm, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() == 1, 'the connection')
    vm.app.job.kill(signal.SIGKILL)
    vm.app.job.wait()
    vm.start_app()
    if job.wait() == 0:
        raise Failure('the host program saw a good end')
    until_quiet(testbed)
    vm.app.run(f'echo 2 {ECHO} 100000')
    testbed.host_peer(vm, 'echo', ECHO, 100000)
