# SPDX-License-Identifier: BSD-3-Clause
"""Channels when one of the ends is gone, or zvsockd is; and what happens where there can be none."""
import signal
import time

from procs import Failure, until
from scenarios_channel import ChannelWorld
from world import ECHO, SEQ, XFER, scenario

MIB = 1 << 20
ENDS = ('Connection reset', 'Broken pipe')  # a send may meet it first


def talks(world, vm, app, size=4 * MIB):
    """Verified bytes and messages from each end, both directions."""
    vm.app.run(f'xfer 2 {XFER} {size} {size}')
    vm.app.run(f'seq 2 {SEQ} 100')
    app.run(f'xfer {vm.cid} {XFER} {size} {size}')
    app.run(f'seq {vm.cid} {SEQ} 100')
    return world.counter('channel_granted', vm.name)


def must_be_reset(job, who):
    """@job is to fail, and not to say that all has come."""
    try:
        text = job()
    except Failure as why:
        if not any(end in str(why) for end in ENDS):
            raise
        return
    raise Failure(f'{who} never heard of it: {text}')


def echoes_forever(world, side, where):
    """Traffic in both directions that only a death ends; it flows through a channel."""
    def granted():
        return sum(g['endpoints']['channel_granted'] for g in world.ctl('stats')['guests'])
    before = granted()
    job = side.start(f'echo {where} {ECHO} forever')
    # Who is asked has its end before the connection is made, who asks when it is.
    until(lambda: granted() >= before + 2, 'both ends of the connection to have a channel')
    return job


def all_is_well(world, vm, app):
    until(world.region, 'the guest to offer its region')
    before = world.counter('channel_granted')
    if (granted := talks(world, vm, app, MIB) - before) < 4:
        why = {n: [world.counter(f'channel_{n}', g) for g in (vm.name, 'app.0')] for n in ('declined', 'no_room', 'failed')}
        raise Failure(f'{granted} of 4 new connections have channels; {why}')
    until(world.all_free, 'all parts of the region to come back')


def pauses(vm, app):
    """Three pauses of the VM under checked transfers."""
    jobs = [vm.app.start(f'xfer 2 {XFER} {64 * MIB} {64 * MIB}'), app.start(f'xfer {vm.cid} {XFER} {64 * MIB} {64 * MIB}')]
    for _ in range(3):
        vm.guest.monitor.pause(lambda: time.sleep(0.2))
    vm.app.wait(jobs[0])
    app.wait(jobs[1])


def ends_killed(world, first=None):
    """kill -9 of the application, of the guest's program, of QEMU: the other end is reset, no part of the region is lost."""
    vm, app = world.vms['pmd'], world.talker()
    vm.start_app()
    all_is_well(world, vm, app)
    if first:
        first(vm, app)
        all_is_well(world, vm, app)

    job = echoes_forever(world, vm.app, 2)
    app.process.kill()
    must_be_reset(lambda: vm.app.wait(job), 'the guest')
    until(world.all_free, 'the parts of a killed application')
    until(lambda: not world.attached(), 'zvsockd to miss the application')
    app = world.talker()
    all_is_well(world, vm, app)

    job = echoes_forever(world, app, vm.cid)
    vm.app.job.kill(signal.SIGKILL)
    vm.app.job.wait()
    must_be_reset(lambda: app.wait(job), 'the application')  # nobody has opened the device again
    vm.start_app()
    until(world.all_free, 'the parts of a killed program')
    all_is_well(world, vm, app)

    job = echoes_forever(world, app, vm.cid)
    vm.guest.kill()
    must_be_reset(lambda: app.wait(job), 'the application')
    until(lambda: all(r['origin'] != vm.name for r in world.ctl('regions')['regions']), 'the region of a killed VM to be given up')
    vm.boot()
    vm.start_app()
    all_is_well(world, vm, app)


@scenario
def channel_ends_killed(bench):
    """kill -9 of the application, of the guest's program, of QEMU: the other end is reset, no part of the region is lost; a pause is none."""
    ends_killed(bench.own(ChannelWorld, {'pmd': {}}), pauses)


@scenario
def channel_virtio_ends(bench):
    """The same with VIRTIO shared memory, which QEMU forgets at each reset of the device, but not at a pause."""
    ends_killed(bench.own(ChannelWorld, {'pmd': {'memory': 'virtio'}}), pauses)


@scenario
def channel_daemon_killed(bench):
    """kill -9 of zvsockd: both ends are reset; when it is back both are attached to it, and there are channels."""
    world = bench.own(ChannelWorld, {'pmd': {}}, keys={'pmd': {'mode': 'client'}}, boot=False)
    vm, app = world.vms['pmd'], None
    vm.boot()
    app = world.talker()
    vm.start_app()
    all_is_well(world, vm, app)
    jobs = [echoes_forever(world, vm.app, 2), echoes_forever(world, app, vm.cid)]
    world.daemon.kill()
    must_be_reset(lambda: app.wait(jobs[1]), 'the application')
    must_be_reset(lambda: vm.app.wait(jobs[0]), 'the guest')  # QEMU does not say so: the application does, in the channel
    world.start_daemon()
    until(world.attached, 'the application to attach itself again')
    all_is_well(world, vm, app)


def relayed(bench, memory):
    """The region that zvsockd knows afterwards: the program runs over virtqueues."""
    world = bench.own(ChannelWorld, {'pmd': {'memory': memory}})
    vm, app = world.vms['pmd'], world.talker()
    vm.start_app()
    if granted := talks(world, vm, app):
        raise Failure(f'{granted} connections had a channel')
    if world.region():
        raise Failure(f'zvsockd knows of {world.region()}')
    return world


@scenario
def channel_without_region(bench):
    """A VM without a region: the same program runs over virtqueues."""
    relayed(bench, 'none')


@scenario
def channel_region_refused(bench):
    """A region that QEMU shares with nobody: zvsockd says so, and the same program runs over virtqueues."""
    world = relayed(bench, 'private')
    with open(world.log.path, encoding='utf-8') as f:
        said = [line for line in f if 'that its driver offers for channels is not used' in line]
    if len(said) != 1:
        raise Failure(f'zvsockd said {len(said)} times that the region is not used')


@scenario
def channel_region_full(bench):
    """Forty connections at once where a few have room: the others are relayed, counted, and each byte is verified."""
    world = bench.own(ChannelWorld, {'pmd': {}}, daemon_keys='channel_size = 16M\n')
    vm, app = world.vms['pmd'], world.talker()
    vm.start_app()
    until(world.region, 'the guest to offer its region')
    vm.app.run(f'parallel 2 {ECHO} 40 100000')
    app.run(f'parallel {vm.cid} {ECHO} 40 100000')
    granted, full = world.counter('channel_granted'), world.counter('channel_no_room')
    if not granted or granted + world.counter('channel_no_room', 'app.0') + full != 80:
        raise Failure(f'{granted} connections had a channel, {full} had no room')
    all_is_well(world, vm, app)
    return f'{granted} channels, {full} relayed'
