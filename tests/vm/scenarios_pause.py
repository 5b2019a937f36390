# SPDX-License-Identifier: BSD-3-Clause
"""A VM is paused, dumped, given memory: its connections do not notice."""
import os
import time

from procs import Failure, until
from scenarios_daemon import trio, until_quiet
from testbed import AppTestbed, ECHO, SEQ, XFER, both_kernels, scenario

MIB = 1 << 20


def stock(bench):
    return bench.shared(AppTestbed, 'stock')


class Idle:
    """A connection of the guest to the echo server that is at rest between two words."""

    def __init__(self, guest, cid, fifo='/tmp/idle'):
        self.guest, self.fifo, self.said = guest, fifo, ''
        guest.run(f'rm -f {fifo}; mkfifo {fifo}')
        self.job = guest.start(f'exec 3<>{fifo}; socat -t 60 - VSOCK-CONNECT:{cid}:{ECHO} <&3')
        self.echo_line('first')

    def echo_line(self, text):
        self.guest.run(f'echo {text} > {self.fifo}')
        self.said += text + '\n'
        self.job.expect(f'^{self.said}$')

    def close(self):
        self.job.kill(15)
        self.job.wait()


def all_well(jobs):
    for job in jobs:
        if job.wait():
            raise Failure(f'guest: {job.output}')


def sessions_of(app):
    return app.stats()['sessions']


# ---- stop and cont ----------------------------------------------------------------------------

@both_kernels
def app_paused_idle(bench):
    """A pause with a connection at rest, and another soon after: both ends still have it."""
    testbed = stock(bench)
    sessions = sessions_of(testbed.app)
    idle = Idle(testbed.guest, 2)
    testbed.guest.monitor.pause(lambda: time.sleep(1))
    idle.echo_line('second')
    testbed.guest.monitor.pause(lambda: None)
    idle.echo_line('third')
    idle.close()
    testbed.healthy()
    if sessions_of(testbed.app) != sessions:
        raise Failure('the session has not gone on')


@both_kernels
def app_ten_pauses_under_traffic(bench):
    """Ten pauses in a row under checked transfers in both directions, and messages."""
    testbed = stock(bench)
    sessions = sessions_of(testbed.app)
    jobs = [testbed.guest.start(f'exec vsock_peer {job}')
            for job in (f'xfer 2 {XFER} {32 * MIB} {32 * MIB}', f'seq 2 {SEQ} 4000',
                        f'parallel 2 {ECHO} 20 200000')]
    mine = [testbed.app.start(f'xfer {testbed.cid} {XFER} {32 * MIB} {32 * MIB}'),
            testbed.app.start(f'seq {testbed.cid} {SEQ} 4000')]
    until(lambda: testbed.app.stats()['servers'] >= 3, 'the connections')
    for _ in range(10):
        testbed.guest.monitor.pause(lambda: time.sleep(0.1))
        time.sleep(0.1)
    all_well(jobs)
    for job in mine:
        testbed.app.wait(job)
    testbed.healthy()
    if sessions_of(testbed.app) != sessions:
        raise Failure('the session has not gone on')


@both_kernels
def app_paused_for_30_s(bench):
    """A pause of 30 s under traffic, with connects of the host that wait for the guest meanwhile."""
    testbed = stock(bench)
    idle = Idle(testbed.guest, 2)
    jobs = [testbed.guest.start(f'exec vsock_peer xfer 2 {XFER} {32 * MIB} {32 * MIB}')]
    mine = [testbed.app.start(f'xfer {testbed.cid} {XFER} {32 * MIB} {32 * MIB}')]
    until(lambda: testbed.app.stats()['servers'] >= 2, 'the connections')

    def meanwhile():
        mine.append(testbed.app.start(f'echo {testbed.cid} {ECHO} 100000'))
        time.sleep(30)

    testbed.guest.monitor.pause(meanwhile)
    all_well(jobs)
    for job in mine:
        testbed.app.wait(job)
    idle.echo_line('second')
    idle.close()


@both_kernels
def app_guest_memory_dumped(bench):
    """dump-guest-memory under checked transfers in both directions."""
    testbed = stock(bench)
    path = os.path.join(testbed.folder, 'dump')
    jobs = [testbed.guest.start(f'exec vsock_peer xfer 2 {XFER} {16 * MIB} {16 * MIB}')]
    mine = testbed.app.start(f'xfer {testbed.cid} {XFER} {16 * MIB} {16 * MIB}')
    until(lambda: testbed.app.stats()['servers'] >= 1, 'the connection')
    testbed.guest.monitor.do('dump-guest-memory', paging=False, protocol=f'file:{path}')
    size = os.path.getsize(path)
    os.unlink(path)
    all_well(jobs)
    testbed.app.wait(mine)
    return f'{size // MIB} MiB'


@both_kernels
def app_memory_plugged_in(bench):
    """128 MiB are plugged in, as shared memory, under checked transfers, and used by the guest."""
    testbed = bench.own(AppTestbed, room=512)
    guest = testbed.guest
    jobs = [guest.start(f'exec vsock_peer xfer 2 {XFER} {32 * MIB} {32 * MIB}')]
    mine = testbed.app.start(f'xfer {testbed.cid} {XFER} {32 * MIB} {32 * MIB}')
    until(lambda: testbed.app.stats()['servers'] >= 1, 'the connection')
    before = guest.run("awk '/MemTotal/{print $2}' /proc/meminfo")
    guest.monitor.do('object-add', **{'qom-type': 'memory-backend-memfd', 'id': 'more',
                                      'size': 128 * MIB, 'share': True})
    guest.monitor.do('device_add', driver='pc-dimm', id='dimm', memdev='more')
    until(lambda: 'memory' in guest.run(
        'for f in /sys/devices/system/memory/memory*/state; do'
        ' grep -q offline $f && echo online > $f; done; ls -d /sys/devices/system/memory/memory*')
        and int(guest.run("awk '/MemTotal/{print $2}' /proc/meminfo")) > int(before) + 64 * 1024,
        'the guest to take the memory')
    all_well(jobs)
    testbed.app.wait(mine)
    # More than is free without it: the new memory is in use, packets' too.
    guest.run('mkdir /tmp/m && mount -t tmpfs -o size=90% none /tmp/m && dd if=/dev/zero of=/tmp/m/fill bs=1M count=200')
    guest.run(f'exec vsock_peer xfer 2 {XFER} {32 * MIB} {32 * MIB}')
    testbed.app.run(f'xfer {testbed.cid} {XFER} {32 * MIB} {32 * MIB}')
    stats = testbed.app.stats()
    if stats['sessions'] != 1 or stats['ring_broken']:
        raise Failure(f'counters: {stats}')


# ---- the same with zvsockd --------------------------------------------------------------------

@both_kernels
def daemon_paused_under_traffic(bench):
    """Ten pauses of a guest under checked transfers with host programs and a sibling."""
    testbed = trio(bench)
    until_quiet(testbed)
    a, b = testbed.vms['a'], testbed.vms['b']
    idle = Idle(a.guest, 2)
    jobs = [a.start(f'xfer 2 {XFER} {32 * MIB} {32 * MIB}'),
            a.start(f'xfer {b.cid} {XFER} {16 * MIB} {16 * MIB}'),
            b.start(f'xfer {a.cid} {XFER} {16 * MIB} {16 * MIB}')]
    mine = [testbed.host_start(a, 'xfer', XFER, 32 * MIB, 32 * MIB)]
    until(lambda: testbed.connections() >= 5, 'the connections')
    for _ in range(10):
        a.guest.monitor.pause(lambda: time.sleep(0.1))
        time.sleep(0.1)
    a.guest.monitor.pause(lambda: mine.append(testbed.host_start(a, 'echo', ECHO, 100000)))
    all_well(jobs)
    for job in mine:
        if job.wait():
            raise Failure(f'host program: {job.account()}')
    idle.echo_line('second')
    idle.close()
    until_quiet(testbed)


@scenario
def daemon_killed_while_paused(bench):
    """A paused VM is killed: programs on the host hear of it as of any VM's end."""
    testbed = trio(bench)
    until_quiet(testbed)
    b = testbed.vms['b']
    client = testbed.host_start(b, 'echo', ECHO, 'forever')
    until(lambda: testbed.connections() >= 1, 'the connection')
    b.guest.monitor.do('stop')
    b.guest.kill()
    if client.wait() == 0:
        raise Failure(f'the endless echo has ended well: {client.account()}')
    until_quiet(testbed)
    b.boot()
    testbed.host_peer(b, 'echo', ECHO, 100000)
