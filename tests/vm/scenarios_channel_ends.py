# SPDX-License-Identifier: BSD-3-Clause
"""Channels when one of the ends is gone, or zvsockd is; and what happens where there can be none."""
import signal
import time

from procs import Failure, until
from scenarios_channel import ChannelTestbed
from testbed import ECHO, SEQ, XFER, scenario

MIB = 1 << 20
ENDS = ('Connection reset', 'Broken pipe')  # a send may meet it first


def carries_both_ways(testbed, vm, app, size=4 * MIB):
    """Verified bytes and messages from each end, both directions."""
    vm.app.run(f'xfer 2 {XFER} {size} {size}')
    vm.app.run(f'seq 2 {SEQ} 100')
    app.run(f'xfer {vm.cid} {XFER} {size} {size}')
    app.run(f'seq {vm.cid} {SEQ} 100')
    return testbed.counter('channel_granted', vm.name)


def must_be_reset(job, who):
    """@job is to fail, and not to say that all has come."""
    try:
        text = job()
    except Failure as why:
        if not any(end in str(why) for end in ENDS):
            raise
        return
    raise Failure(f'{who} never heard of it: {text}')


def echoes_forever(testbed, side, where):
    """Traffic in both directions that only a death ends; it flows through a channel."""
    def granted():
        return sum(g['endpoints']['channel_granted'] for g in testbed.ctl('stats')['guests'])
    before = granted()
    job = side.start(f'echo {where} {ECHO} forever')
    # Who is asked has its end before the connection is made, who asks when it is.
    until(lambda: granted() >= before + 2, 'both ends of the connection to have a channel')
    return job


def all_is_well(testbed, vm, app):
    until(testbed.region, 'the guest to offer its region')
    before = testbed.counter('channel_granted')
    if (granted := carries_both_ways(testbed, vm, app, MIB) - before) < 4:
        why = {n: [testbed.counter(f'channel_{n}', g) for g in (vm.name, 'app.0')] for n in ('declined', 'no_room', 'failed')}
        raise Failure(f'{granted} of 4 new connections have channels; {why}')
    until(testbed.all_free, 'all parts of the region to come back')


def pauses(vm, app):
    """Three pauses of the VM under checked transfers."""
    jobs = [vm.app.start(f'xfer 2 {XFER} {64 * MIB} {64 * MIB}'), app.start(f'xfer {vm.cid} {XFER} {64 * MIB} {64 * MIB}')]
    for _ in range(3):
        vm.guest.monitor.pause(lambda: time.sleep(0.2))
    vm.app.wait(jobs[0])
    app.wait(jobs[1])


def ends_killed(testbed, first=None):
    """kill -9 of the application, of the guest's program, of QEMU: the other end is reset, no part of the region is lost."""
    vm, app = testbed.vms['pmd'], testbed.attach_app()
    vm.start_app()
    all_is_well(testbed, vm, app)
    if first:
        first(vm, app)
        all_is_well(testbed, vm, app)

    job = echoes_forever(testbed, vm.app, 2)
    app.process.kill()
    must_be_reset(lambda: vm.app.wait(job), 'the guest')
    until(testbed.all_free, 'the parts of a killed application')
    until(lambda: not testbed.attached(), 'zvsockd to miss the application')
    app = testbed.attach_app()
    all_is_well(testbed, vm, app)

    job = echoes_forever(testbed, app, vm.cid)
    vm.app.job.kill(signal.SIGKILL)
    vm.app.job.wait()
    must_be_reset(lambda: app.wait(job), 'the application')  # nobody has opened the device again
    vm.start_app()
    until(testbed.all_free, 'the parts of a killed program')
    all_is_well(testbed, vm, app)

    job = echoes_forever(testbed, app, vm.cid)
    vm.guest.kill()
    must_be_reset(lambda: app.wait(job), 'the application')
    until(lambda: all(r['origin'] != vm.name for r in testbed.ctl('regions')['regions']), 'the region of a killed VM to be given up')
    vm.boot()
    vm.start_app()
    all_is_well(testbed, vm, app)


@scenario
def channel_ends_killed(bench):
    """kill -9 of the application, of the guest's program, of QEMU: the other end is reset, no part of the region is lost; a pause is none."""
    ends_killed(bench.own(ChannelTestbed, {'pmd': {}}), pauses)


@scenario
def channel_virtio_ends(bench):
    """The same with VIRTIO shared memory, which QEMU forgets at each reset of the device, but not at a pause."""
    ends_killed(bench.own(ChannelTestbed, {'pmd': {'memory': 'virtio'}}), pauses)


@scenario
def channel_daemon_killed(bench):
    """kill -9 of zvsockd: both ends are reset; when it is back both are attached to it, and there are channels."""
    testbed = bench.own(ChannelTestbed, {'pmd': {}}, keys={'pmd': {'mode': 'client'}}, boot=False)
    vm, app = testbed.vms['pmd'], None
    vm.boot()
    app = testbed.attach_app()
    vm.start_app()
    all_is_well(testbed, vm, app)
    jobs = [echoes_forever(testbed, vm.app, 2), echoes_forever(testbed, app, vm.cid)]
    testbed.daemon.kill()
    must_be_reset(lambda: app.wait(jobs[1]), 'the application')
    must_be_reset(lambda: vm.app.wait(jobs[0]), 'the guest')  # QEMU does not say so: the application does, in the channel
    testbed.start_daemon()
    until(testbed.attached, 'the application to attach itself again')
    all_is_well(testbed, vm, app)


def relayed(bench, memory):
    """The region that zvsockd knows afterwards: the program runs over virtqueues."""
    testbed = bench.own(ChannelTestbed, {'pmd': {'memory': memory}})
    vm, app = testbed.vms['pmd'], testbed.attach_app()
    vm.start_app()
    if granted := carries_both_ways(testbed, vm, app):
        raise Failure(f'{granted} connections had a channel')
    if testbed.region():
        raise Failure(f'zvsockd knows of {testbed.region()}')
    return testbed


@scenario
def channel_without_region(bench):
    """A VM without a region: the same program runs over virtqueues."""
    relayed(bench, 'none')


@scenario
def channel_region_refused(bench):
    """A region that QEMU shares with nobody: zvsockd says so, and the same program runs over virtqueues."""
    testbed = relayed(bench, 'private')
    with open(testbed.log.path, encoding='utf-8') as f:
        said = [line for line in f if 'that its driver offers for channels is not used' in line]
    if len(said) != 1:
        raise Failure(f'zvsockd said {len(said)} times that the region is not used')


@scenario
def channel_region_full(bench):
    """Forty connections at once where a few have room: the others are relayed, counted, and each byte is verified."""
    testbed = bench.own(ChannelTestbed, {'pmd': {}}, daemon_keys='channel_size = 16M\n')
    vm, app = testbed.vms['pmd'], testbed.attach_app()
    vm.start_app()
    until(testbed.region, 'the guest to offer its region')
    vm.app.run(f'parallel 2 {ECHO} 40 100000')
    app.run(f'parallel {vm.cid} {ECHO} 40 100000')
    granted, full = testbed.counter('channel_granted'), testbed.counter('channel_no_room')
    if not granted or granted + testbed.counter('channel_no_room', 'app.0') + full != 80:
        raise Failure(f'{granted} connections had a channel, {full} had no room')
    all_is_well(testbed, vm, app)
    return f'{granted} channels, {full} relayed'
