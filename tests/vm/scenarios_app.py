# SPDX-License-Identifier: BSD-3-Clause
"""A stock Linux guest and a host application that is its backend (`host:`)."""
import signal

from procs import Failure, until
from testbed import AppTestbed, ECHO, ENDS, SEQ, XFER, also_in_uml, both_kernels, every_kernel, scenario

MIB = 1 << 20
DRIVER = '/sys/bus/virtio/drivers/vmw_vsock_virtio_transport'


def stock(bench):
    return bench.shared(AppTestbed, 'stock')


# ---- traffic ----------------------------------------------------------------------------------

@every_kernel
def app_echo_from_guest(bench):
    """What a guest program sends comes back from the host application, byte for byte."""
    stock(bench).peer(f'echo 2 {ECHO} 1000000')


@every_kernel
def app_echo_from_host(bench):
    """What the host application sends comes back from a guest program."""
    testbed = stock(bench)
    testbed.app.run(f'echo {testbed.cid} {ECHO} 1000000')


@every_kernel
def app_64mib_guest_to_host(bench):
    """64 MiB arrive in the host application with the hash they had in the guest."""
    stock(bench).peer(f'xfer 2 {XFER} {64 * MIB} 0')


@every_kernel
def app_64mib_host_to_guest(bench):
    """64 MiB arrive in a guest program with the hash they had in the host application."""
    testbed = stock(bench)
    testbed.app.run(f'xfer {testbed.cid} {XFER} {64 * MIB} 0')


@every_kernel
def app_half_close_by_guest(bench):
    """After the guest has ended its direction, 4 MiB more come from the host."""
    stock(bench).peer(f'xfer 2 {XFER} {MIB} {4 * MIB}')


@every_kernel
def app_half_close_by_host(bench):
    """After the host has ended its direction, 4 MiB more come from the guest."""
    testbed = stock(bench)
    testbed.app.run(f'xfer {testbed.cid} {XFER} {MIB} {4 * MIB}')


@every_kernel
def app_200_parallel(bench):
    """200 connections of the guest are open at once, then all of them carry data both ways."""
    stock(bench).peer(f'parallel 2 {ECHO} 200 20000')


@every_kernel
def app_200_parallel_from_host(bench):
    """200 connections of the host are open at once, then all of them carry data both ways."""
    testbed = stock(bench)
    testbed.app.run(f'parallel {testbed.cid} {ECHO} 200 20000')


@every_kernel
def app_1000_in_a_row(bench):
    """1,000 connections from the guest, one after the other, each with data both ways."""
    stock(bench).peer(f'row 2 {ECHO} 1000')


@every_kernel
def app_1000_in_a_row_from_host(bench):
    """1,000 connections from the host, one after the other, each with data both ways."""
    testbed = stock(bench)
    testbed.app.run(f'row {testbed.cid} {ECHO} 1000')


@every_kernel
def app_messages_from_guest(bench):
    """SEQPACKET from the guest: each message keeps its boundaries and its MSG_EOR, both ways."""
    stock(bench).peer(f'seq 2 {SEQ} 400')


@every_kernel
def app_messages_from_host(bench):
    """SEQPACKET from the host: each message keeps its boundaries and its MSG_EOR, both ways."""
    testbed = stock(bench)
    testbed.app.run(f'seq {testbed.cid} {SEQ} 400')


@every_kernel
def app_refused(bench):
    """A port that nobody listens on is refused, in both directions."""
    testbed = stock(bench)
    job = testbed.guest.start('exec vsock_peer echo 2 4999 1')
    if job.wait() == 0 or 'reset' not in job.output:
        raise Failure(f'guest: {job.output}')
    try:
        testbed.app.run(f'echo {testbed.cid} 4999 1')
    except Failure as why:
        if 'refused' not in str(why):
            raise
    else:
        raise Failure('the host was connected')


@every_kernel
def app_counters_are_clean(bench):
    """After all that traffic nothing was malformed, no ring broke and no connection is left."""
    testbed = stock(bench)
    testbed.healthy()
    until(lambda: testbed.app.stats()['servers'] == 0, 'the last connection to end')
    stats = testbed.app.stats()
    bad = {k: stats[k] for k in ('ring_broken', 'rx_bad', 'rx_overrun') if stats[k]}
    if bad or stats['sessions'] != 1:
        raise Failure(f'counters: {stats}')


# ---- what ends without a word -----------------------------------------------------------------

@every_kernel
def app_guest_client_killed(bench):
    """kill -9 of a guest program in full flow ends its connection at the host, and no other."""
    testbed = stock(bench)
    other = testbed.guest.start(f'exec vsock_peer xfer 2 {XFER} {16 * MIB} 0')
    victim = testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} forever')
    # A quick guest is done with the first before it begins with the second.
    until(lambda: testbed.app.stats()['servers'] >= 1 + (not other.ended()), 'the connections')
    victim.kill(signal.SIGKILL)
    if victim.wait() != 128 + signal.SIGKILL:
        raise Failure(f'the guest program ended by itself: {victim.output}')
    if other.wait():
        raise Failure(f'the other connection: {other.output}')
    until(lambda: testbed.app.stats()['servers'] == 0, 'both connections to end')
    testbed.healthy()


@also_in_uml
@scenario
def app_guest_server_killed(bench):
    """kill -9 of a guest server in full flow ends the host's connection to it with an error."""
    testbed = stock(bench)
    job = testbed.app.start(f'echo {testbed.cid} {ECHO} forever')
    testbed.peer(f'echo 2 {ECHO} 1000000')
    testbed.server.kill(signal.SIGKILL)
    testbed.server.wait()
    try:
        testbed.app.wait(job)
    except Failure as why:
        if not any(end in str(why) for end in ENDS):
            raise
    else:
        raise Failure('the endless echo has ended well')
    testbed.serve()
    testbed.healthy()


@also_in_uml
@scenario
def app_guest_module_reloaded(bench):
    """rmmod and modprobe of the guest's driver, and all is as before."""
    testbed = stock(bench)
    testbed.server.kill(signal.SIGKILL)
    testbed.server.wait()
    # A socket that was connected without blocking keeps the module for two more seconds.
    testbed.guest.run('for i in 1 2 3; do until rmmod vmw_vsock_virtio_transport; do usleep 100000; done;'
                    ' modprobe vmw_vsock_virtio_transport || exit 1; done 2>/dev/null')
    testbed.serve()
    testbed.healthy()


@both_kernels
def app_guest_driver_rebound(bench):
    """The guest's driver lets the device go under traffic, and takes it again, three times."""
    testbed = stock(bench)
    device = testbed.guest.run(f'cd {DRIVER}; ls -d virtio*').strip()
    for _ in range(3):
        victims = [testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} forever') for _ in range(4)]
        until(lambda: testbed.app.stats()['servers'] == 4, 'four connections')
        testbed.guest.run(f'echo {device} > {DRIVER}/unbind')
        until(lambda: testbed.app.stats()['servers'] == 0, 'the connections to end at the host')
        for victim in victims:
            if victim.wait() == 0:
                raise Failure(f'guest: {victim.output}')
        testbed.guest.run(f'echo {device} > {DRIVER}/bind')
        testbed.healthy()


@scenario
def app_guest_reboots_and_dies(bench):
    """The guest reboots, then its VM is killed and started anew; the host application stays."""
    testbed = bench.own(AppTestbed, reboots=True)
    testbed.peer(f'echo 2 {ECHO} 1000000')
    testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} forever')
    until(lambda: testbed.app.stats()['servers'] == 1, 'a connection')
    testbed.guest.reboot()
    until(lambda: testbed.app.stats()['servers'] == 0, 'the connection to end with the reboot')
    testbed.serve()
    testbed.healthy()
    testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} forever')
    job = testbed.app.start(f'echo {testbed.cid} {ECHO} forever')
    until(lambda: testbed.app.stats()['servers'] == 1, 'a connection')
    testbed.guest.kill()
    try:
        testbed.app.wait(job)
    except Failure as why:
        if 'reset' not in str(why):
            raise
    until(lambda: testbed.app.stats()['servers'] == 0, 'the connection to end with the VM')
    testbed.boot()
    testbed.serve()
    testbed.healthy()
    testbed.app.finish()
    testbed.guest.run('true')


@scenario
def app_host_program_killed(bench):
    """kill -9 of the host application: the VM lives on; a new VM talks to a new application."""
    testbed = bench.own(AppTestbed)
    testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} forever')
    until(lambda: testbed.app.stats()['servers'] == 1, 'a connection')
    testbed.app.process.kill()
    job = testbed.guest.start(f'exec vsock_peer echo 2 {ECHO} 10')
    if job.wait() == 0 or 'connect' not in job.output:
        raise Failure(f'guest without a host: {job.output}')
    testbed.guest.run('true')
    testbed.start_app()
    testbed.guest.kill()
    testbed.boot()
    testbed.serve()
    testbed.healthy()
