# SPDX-License-Identifier: BSD-3-Clause
"""Channels of programs on a stock driver: `vsock:` in a guest of the kernel's own, an application of the host at the far end."""
import os
import signal
import tempfile
import time

import image
from guest import Guest, vsock_args
from procs import Failure, until
from scenarios_bench import runs_of
from scenarios_channel import SIZE, TESTS, ChannelTestbed
from scenarios_channel_ends import echoes_forever, must_be_reset
from scenarios_region import DAX_MODULES, MIB
from testbed import ECHO, SEQ, XFER, scenario
from testbed_daemon import Vm
from testbed_pmd import App

SHIFT = 1000  # of the second program's ports
PARALLEL = 8  # connections of each at once, for which the region has room


class StockVm(Vm):
    """A guest of the kernel's driver with a region as an NVDIMM, of @size MiB; None: without."""

    def __init__(self, testbed, name, keys, size=SIZE):
        super().__init__(testbed, name, keys)
        self.args = []
        if size:
            self.region = tempfile.NamedTemporaryFile(dir='/dev/shm', prefix='zv-region-')  # pylint: disable=consider-using-with
            self.region.truncate(size * MIB)
            testbed.owner.add(self.region)
            self.args = ['-machine', 'nvdimm=on', '-object',
                         f'memory-backend-file,id=region,mem-path={self.region.name},share=on,size={size}M',
                         '-device', 'nvdimm,memdev=region']

    def power_on(self):
        testbed, bench = self.testbed, self.testbed.bench
        disk = os.path.join(bench.vmdir, f'initrd-channel-stock-{testbed.kernel.release}')
        image.build(testbed.kernel, [bench.program(p) for p in ('vm_agent', 'vsock_peer', 'vm_pmd_app', 'vm_first', 'vsock-bench-guest')], disk,
                    (*testbed.kernel.stock_modules, *DAX_MODULES), (bench.program('zv-bind'),))
        self.guest = Guest(testbed.owner, testbed.folder, self.log, testbed.kernel, disk,
                           [*vsock_args(self.socket, self.keys.get('mode') == 'client'), *self.args], memory=512, room=512)

    def serve(self):
        if self.args:
            self.guest.run('zv-bind dax')


def stock_testbed(bench, size=SIZE, **kw):
    return bench.own(ChannelTestbed, {'pmd': {'size': size}}, vm=StockVm, **kw)


@scenario
def channel_stock_bench(bench):
    """Over /dev/dax: vsock-bench, streams and messages, each byte checked."""
    testbed = stock_testbed(bench)
    vm, count = testbed.vms['pmd'], 0
    testbed.application()
    for kind in ('stream', 'seqpacket'):
        text = vm.guest.run(f'exec vsock-bench-guest --client vsock: --test {TESTS} --type {kind} --size 64,5000,64K --duration 0.1 '
                            '--repeat 1 --json - 2>/dev/null')
        count += len(runs_of(text, 'zvsock', TESTS))
    granted = testbed.counter('channel_granted')
    if not granted:
        raise Failure('no connection had a channel')
    until(testbed.all_free, 'all parts of the region to come back')
    return f'{count} runs, each byte verified; {granted} channels'


def start_program(testbed, shift=0):
    """One that serves, and has channels where the VM has a region."""
    vm = testbed.vms['pmd']
    program = App(vm, 'vsock:', f'shift={shift}', fifo=f'/tmp/app{shift}')
    before = testbed.counter('channel_granted')
    if vm.args:  # connections that come before HELLO and region keep to their sockets
        until(lambda: program.run(f'echo 2 {ECHO} 100') and testbed.counter('channel_granted') > before,
              'the first channel of a program')
    return program


def two_programs(testbed):
    """Two programs at once, each of which serves, connects to the application, and is connected to by it; how many
    channels that took."""
    vm, app = testbed.vms['pmd'], testbed.attach_app()
    first, other = start_program(testbed), start_program(testbed, SHIFT)
    before = testbed.counter('channel_granted')
    jobs = [(p, p.start(what)) for p in (first, other)
            for what in (f'xfer 2 {XFER} {4 * MIB} {4 * MIB}', f'msg 2 {SEQ} 100', f'parallel 2 {ECHO} {PARALLEL} 20000')]
    jobs += [(app, app.start(f'xfer {vm.cid} {XFER + shift} {4 * MIB} {4 * MIB}')) for shift in (0, SHIFT)]
    for who, job in jobs:
        who.wait(job)
    granted = testbed.counter('channel_granted') - before
    for program in (first, other):
        program.quit()
    return granted


@scenario
def channel_stock_first_connect(bench):
    """A program that connects with zv_connect_wait() as soon as its device is open has a channel."""
    testbed = stock_testbed(bench)
    vm = testbed.vms['pmd']
    testbed.attach_app()
    for n in range(1, 6):
        vm.guest.run('vm_first vsock:')
        if (granted := testbed.counter('channel_granted')) != n:
            raise Failure(f'{granted} channels for {n} programs')
    until(testbed.all_free, 'all parts of the region to come back')
    start = time.monotonic()
    vm.guest.run('vm_first vsock:region=none')
    return f'{n} channels; without a region {time.monotonic() - start:.2f} s'


@scenario
def channel_stock_two_programs(bench):
    """Over /dev/dax: two programs of a guest at once, connections from both sides."""
    testbed = stock_testbed(bench)
    granted = two_programs(testbed)
    if granted < (most := 2 * (PARALLEL + 3)):
        raise Failure(f'{granted} of {most} connections had a channel')
    until(testbed.all_free, 'all parts of the region to come back')
    return f'{granted} channels'


@scenario
def channel_stock_ends_killed(bench):
    """kill -9 of the application, of one of two programs, of QEMU: the other end is reset, the other program goes on, no part of
    the region is lost."""
    testbed = stock_testbed(bench)
    vm, app = testbed.vms['pmd'], testbed.attach_app()
    first, other = start_program(testbed), start_program(testbed, SHIFT)

    job = echoes_forever(testbed, first, 2)
    app.process.kill()
    must_be_reset(lambda: first.wait(job), 'the program')
    until(testbed.all_free, 'the parts of a killed application')
    until(lambda: not testbed.attached(), 'zvsockd to miss the application')
    app = testbed.attach_app()

    lasting = app.start(f'echo {vm.cid} {ECHO + SHIFT} 1000000')
    job = echoes_forever(testbed, app, vm.cid)
    first.job.kill(signal.SIGKILL)
    first.job.wait()
    must_be_reset(lambda: app.wait(job), 'the application, of the death of a program,')
    app.wait(lasting)
    other.run(f'xfer 2 {XFER} {MIB} {MIB}')
    until(testbed.all_free, 'the parts of a killed program')

    first = start_program(testbed)
    job = echoes_forever(testbed, app, vm.cid)
    vm.guest.kill()
    must_be_reset(lambda: app.wait(job), 'the application, of the death of a VM,')
    until(lambda: all(r['origin'] != vm.name for r in testbed.ctl('regions')['regions']), 'the region of a killed VM to be given up')


def channels_fill_the_region(testbed, program):
    """Connections of @program, as many as have room: how many had channels."""
    before = testbed.counter('channel_granted')
    program.run(f'parallel 2 {ECHO} 20 100000')
    return testbed.counter('channel_granted') - before


def no_channel_over_a_loan(testbed, holder, other, end):
    """@end() ends the session in which @holder keeps a buffer in the region: nobody has channels, and the buffer stays as
    it is, until it is returned."""
    holder.run('borrow 2 4000')
    end()
    until(lambda: 'ended' in holder.run('loan'), 'the holder to be told of the end of its connection')
    # Both programs are there again, and had the region offered; what they would overwrite is the holder's.
    until(lambda: testbed.region() and sum(c['endpoint'] == 'channels of a program' for c in testbed.ctl('list')['connections']) == 2,
          'both programs to be back')
    for program in (other, holder):
        if granted := channels_fill_the_region(testbed, program):
            raise Failure(f'{granted} channels were granted while a buffer was held')
        holder.run('loan')


def channels_again(testbed, program):
    """There are channels all over the region."""
    until(lambda: channels_fill_the_region(testbed, program), 'channels after the last buffer has come back')
    program.run(f'xfer 2 {XFER} {MIB} {MIB}')


@scenario
def channel_stock_loans(bench):
    """A program keeps a buffer while zvsockd is killed, and while the guest's driver is bound anew: no channel is made over it
    before it is returned, or its program killed; then there are channels."""
    testbed = stock_testbed(bench, 16, keys={'pmd': {'mode': 'client'}}, daemon_keys='channel_size = 1M\n')
    vm = testbed.vms['pmd']
    testbed.attach_app()

    def kill_zvsockd():
        testbed.daemon.kill()
        testbed.start_daemon()
        until(testbed.attached, 'the application to attach itself again')
        vm.rebind()

    holder, other = start_program(testbed), start_program(testbed, SHIFT)
    for end in (kill_zvsockd, vm.rebind):
        no_channel_over_a_loan(testbed, holder, other, end)
        holder.run('return')
        for program in (other, holder):
            channels_again(testbed, program)
    no_channel_over_a_loan(testbed, holder, other, vm.rebind)
    holder.job.kill(signal.SIGKILL)
    holder.job.wait()
    channels_again(testbed, other)
    until(testbed.all_free, 'all parts of the region to come back')


@scenario
def channel_stock_without_region(bench):
    """The same where the VM has no region: the kernel carries everything."""
    testbed = stock_testbed(bench, None)
    if granted := two_programs(testbed):
        raise Failure(f'{granted} channels were granted in no region')
