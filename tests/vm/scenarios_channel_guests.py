# SPDX-License-Identifier: BSD-3-Clause
"""Channels of two guests of our driver: with one another, and beside one that scribbles over its region."""
import os
import signal
import struct

from procs import Failure, until
from scenarios_channel import SIZE, ChannelTestbed
from scenarios_channel_ends import must_be_reset
from testbed import ECHO, SEQ, XFER, scenario

MIB = 1 << 20


def both_have_a_region(testbed):
    return sum(m['mapped'] for r in testbed.ctl('regions')['regions'] for m in r['members'] if m['name'] in testbed.vms) == 2


def testbed_of_two(bench, common, keys, *options):
    group = {'groups': 'both', **keys}
    testbed = bench.own(ChannelTestbed, {'a': {}, 'b': {'like': 'a'} if common else {}}, keys={'a': group, 'b': group}, boot=False)
    for vm in testbed.vms.values():  # one after the other: the second finds the namespace that the first has made
        vm.boot()
        vm.start_app(*options)
    until(lambda: both_have_a_region(testbed), 'both to have a region')
    return testbed


def all_parts_free(testbed):
    return all(testbed.all_free(r['origin']) for r in testbed.ctl('regions')['regions'] if not r['retired'])


def two_guests(bench, common):
    """{guest: channels that its driver was granted} after verified conversations from each to the other."""
    testbed = testbed_of_two(bench, common, {})
    vms = list(testbed.vms.values())
    for vm, other in (vms, vms[::-1]):
        vm.app.run(f'xfer {other.cid} {XFER} {8 * MIB} {8 * MIB}')
        vm.app.run(f'seq {other.cid} {SEQ} 200')
        vm.app.run(f'parallel {other.cid} {ECHO} 5 100000')
    if common:
        until(lambda: all_parts_free(testbed), 'all parts of the region to come back')
    return {n: testbed.counter('channel_granted', n) for n in testbed.vms}


@scenario
def channel_guest_to_guest(bench):
    """Two guests with one region, and no host program: all connections between them have channels."""
    granted = two_guests(bench, True)
    if granted != {'a': 14, 'b': 14}:
        raise Failure(f'channels that were granted: {granted}')


@scenario
def channel_guests_without_common_region(bench):
    """Two guests with a region each: their connections are joined by zvsockd."""
    granted = two_guests(bench, False)
    if any(granted.values()):
        raise Failure(f'channels that were granted: {granted}')


def drivers_told_of_death(testbed):
    """How many drivers will find in their region that zvsockd has died (docs/protocol.md, "The death of the device")."""
    page = os.pread(testbed.regions['a'].fileno(), 4096, SIZE * MIB - 4096)
    return sum(tag == 0x5a564c49 and host not in (0, 0x40000000) for tag, host in struct.iter_unpack('<12xII44x', page))


@scenario
def channel_guests_daemon_killed(bench):
    """kill -9 of zvsockd, of which no VMM tells its guest: both find its word in the region, though they would wait ten minutes."""
    testbed = testbed_of_two(bench, True, {'mode': 'client'}, 'tx_timeout_ms=600000')
    a, b = testbed.vms.values()
    job = a.app.start(f'echo {b.cid} {ECHO} forever')
    until(lambda: testbed.counter('channel_granted', 'a') == 1, 'the connection to have a channel')
    until(lambda: drivers_told_of_death(testbed) == 2, 'zvsockd to keep both words')
    testbed.daemon.kill()
    must_be_reset(lambda: a.app.wait(job), 'the guest')
    testbed.start_daemon()
    until(lambda: both_have_a_region(testbed), 'both to have a region again')
    b.app.run(f'xfer {a.cid} {XFER} {MIB} {MIB}')
    if not testbed.counter('channel_granted', 'a'):
        raise Failure('new connections have no channels')


@scenario
def channel_guests_killed(bench):
    """kill -9 of a guest's program, and of its VM: the other guest, which would not miss zvsockd for minutes, is reset, whoever
    has connected; no part of the common region is lost."""
    patient = ('tx_timeout_ms=600000',)
    testbed = testbed_of_two(bench, True, {}, *patient)
    a, b = testbed.vms.values()
    for end in 'program', 'program', 'VM':
        jobs = [(b, b.app.start(f'echo {a.cid} {ECHO} forever')), (a, a.app.start(f'echo {b.cid} {ECHO} forever'))]
        until(lambda: sum(r['channels'] for r in testbed.ctl('regions')['regions']) == 2, 'both connections to have a channel')
        if end == 'VM':
            a.guest.kill()
        else:
            a.app.job.kill(signal.SIGKILL)
            a.app.job.wait()
        must_be_reset(lambda job=jobs[0][1]: b.app.wait(job), f'the guest, of the death of the {end},')
        until(lambda: all_parts_free(testbed), f'the parts of a killed {end}')
        if end == 'VM':
            a.boot()
        a.start_app(*patient)
        until(lambda: both_have_a_region(testbed), 'both to have a region again')
        before = testbed.counter('channel_granted', 'b')
        for vm, other in ((a, b), (b, a)):
            vm.app.run(f'xfer {other.cid} {XFER} {MIB} {MIB}')
        if testbed.counter('channel_granted', 'b') != before + 2:
            raise Failure('new connections have no channels')


@scenario
def channel_guest_scribbles(bench):
    """A guest writes noise all over its region while its channels are used: its own connections suffer, nobody else's."""
    testbed = bench.own(ChannelTestbed, {'bad': {'size': 32}, 'good': {}}, daemon_keys='channel_size = 1M\n')
    bad, good, app = testbed.vms['bad'], testbed.vms['good'], testbed.attach_app()
    bad.start_app()
    good.start_app()
    scribbler = bad.guest.start('exec vm_region auto --scribble')
    scribbler.expect('scribbling')
    rounds, broken = 0, 0
    while rounds < 12 or (not broken and rounds < 120):  # the scribbler may have no CPU for some of them
        # What these say is anything: wrong bytes, a reset, or all that was sent. That they end is what counts.
        jobs = [(bad.app, bad.app.start(f'echo 2 {ECHO} 4000000')), (app, app.start(f'echo {bad.cid} {ECHO} 4000000')),
                (bad.app, bad.app.start(f'seq 2 {SEQ} 50')), (app, app.start(f'seq {bad.cid} {SEQ} 50'))]
        good.app.run(f'xfer 2 {XFER} {2 * MIB} {2 * MIB}')
        app.run(f'seq {good.cid} {SEQ} 50')
        for side, job in jobs:
            try:
                side.wait(job)
            except Failure as why:
                if 'did not end' in str(why) or 'never said' in str(why):
                    raise
                broken += 1
        rounds += 1
    if not broken:
        raise Failure('nothing was broken: the noise hit no channel')
    if scribbler.ended():
        raise Failure(f'the scribbler ended: {scribbler.output}')
    scribbler.kill(9)
    scribbler.wait()
    if not testbed.daemon.alive() or not app.process.alive():
        raise Failure('zvsockd or the application has ended')
    bad.app.run(f'xfer 2 {XFER} {MIB} {MIB}')
    app.run(f'xfer {bad.cid} {XFER} {MIB} {MIB}')
    for name in testbed.vms:
        until(lambda name=name: testbed.all_free(name), f'all parts of the region of {name} to come back')
    return f'{broken} of {4 * rounds} connections of that guest were broken, {2 * rounds} of the other passed'
