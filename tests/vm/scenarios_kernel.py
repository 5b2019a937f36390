# SPDX-License-Identifier: BSD-3-Clause
"""The guest's driver on a kernel's own vhost-vsock (vhost-kernel:), inside a VM whose kernel has it.

The other side is plain AF_VSOCK of that kernel: vsock_peer, whose host is CID 2.
"""
import json
import os
import shutil
import signal

import image
from guest import Guest
from procs import Failure, Log, Owner, until
from testbed import ECHO, SEQ, XFER, both_kernels, scenario
from testbed_pmd import App

MIB = 1 << 20
CID = 42
URI = f'vhost-kernel:cid={CID}'
MODULES = ('virtio_pci', 'virtio_console', 'vhost_vsock')


class KernelTestbed:
    """A VM without a vsock device: driver, the kernel's vhost-vsock and AF_VSOCK programs in it."""

    def __init__(self, bench, name):
        programs = [bench.program(p) for p in ('vm_agent', 'vsock_peer', 'vm_pmd_app')]
        kernel = bench.kernel()
        self.owner, self.folder, self.app = Owner(), bench.new_folder(), None
        log = self.owner.add(Log(bench.log_path(name)))
        ramdisk = os.path.join(self.folder, 'initrd')
        try:
            image.build(kernel, programs, ramdisk, MODULES)
            self.guest = Guest(self.owner, self.folder, log, kernel, ramdisk, [], memory=512)
            self.guest.wait_ready()
            self.guest.start('exec vsock_peer serve').expect('serving')
            self.start_app()
        except BaseException:
            self.close()
            raise

    def start_app(self, *options):
        self.app = App(self, URI, *options)

    def peer(self, command):
        """One job of the AF_VSOCK program."""
        return self.guest.run(f'exec vsock_peer {command}')

    def refused(self, uri):
        """What vm_pmd_app says of @uri, which it cannot open."""
        job = self.guest.start(f'exec vm_pmd_app {uri} </dev/null')
        if (code := job.wait()) != 1:
            raise Failure(f'vm_pmd_app {uri} ended with {code}: {job.output}')
        return job.output

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def kernel_testbed(bench):
    return bench.shared(KernelTestbed, 'kernel')


def each_way(testbed, mib):
    testbed.app.run(f'xfer 2 {XFER} {mib * MIB} {mib * MIB}')
    testbed.peer(f'xfer {CID} {XFER} {mib * MIB} {mib * MIB}')


@both_kernels
def vhost_kernel_16mib(bench):
    """16 MiB with their hash each way against a kernel's vhost-vsock, from both ends."""
    testbed = kernel_testbed(bench)
    each_way(testbed, 16)
    stats = testbed.app.run('stats')
    if '"ring_broken": 0, "rx_bad": 0,' not in stats:
        raise Failure(f'the queue is not well: {stats}')


@both_kernels
def vhost_kernel_seqpacket(bench):
    """Messages with their boundaries, from both ends."""
    testbed = kernel_testbed(bench)
    testbed.app.run(f'msg 2 {SEQ} 200')
    testbed.peer(f'msg {CID} {SEQ} 200')


@scenario
def vhost_kernel_200_connects(bench):
    """200 connections in a row from each end, and 100 at once."""
    testbed = kernel_testbed(bench)
    testbed.app.run(f'row 2 {ECHO} 200')
    testbed.peer(f'row {CID} {ECHO} 200')
    testbed.app.run(f'parallel 2 {ECHO} 100 20000')
    testbed.peer(f'parallel {CID} {ECHO} 100 20000')


@scenario
def vhost_kernel_one_cid_one_device(bench):
    """A second device of the same CID is refused and the first goes on; so is a second queue."""
    testbed = kernel_testbed(bench)
    if f'CID {CID} is in use' not in (said := testbed.refused(URI)):
        raise Failure(f'vm_pmd_app said: {said}')
    if 'one queue pair, not 2' not in (said := testbed.refused('vhost-kernel:cid=43 queues=2')):
        raise Failure(f'vm_pmd_app said: {said}')
    each_way(testbed, 1)


@both_kernels
def vhost_kernel_finds_a_broken_ring(bench):
    """The kernel refuses the driver's ring: connections are reset, listeners stay, and the device is opened anew at once."""
    testbed = bench.own(KernelTestbed)
    sessions = json.loads(testbed.app.run('stats'))['sessions']
    jobs = [testbed.guest.start(f'exec vsock_peer echo {CID} {ECHO} forever')]
    testbed.peer(f'echo {CID} {ECHO} 1000')
    ours = testbed.app.start(f'echo 2 {ECHO} forever')
    testbed.app.run(f'echo 2 {ECHO} 1000')
    testbed.app.run('break')
    try:
        testbed.app.wait(ours)
    except Failure as why:
        if 'reset' not in str(why):
            raise
    if jobs[0].wait() == 0:
        raise Failure('the program saw a good end')
    until(lambda: (s := json.loads(testbed.app.run('stats')))['up'] == 1 and s['sessions'] > sessions,
          'the driver to open the device again')
    testbed.app.job.expect('the kernel finds a ring broken')
    each_way(testbed, 1)


@both_kernels
def vhost_kernel_killed_and_opened_again(bench):
    """The driver's process is killed: programs hear of it, and the next one has the same CID at once."""
    testbed = bench.own(KernelTestbed)
    job = testbed.guest.start(f'exec vsock_peer echo {CID} {ECHO} forever')
    testbed.peer(f'echo {CID} {ECHO} 100000')
    testbed.app.job.kill(signal.SIGKILL)
    testbed.app.job.wait()
    if job.wait() == 0:
        raise Failure('the program saw a good end')
    testbed.start_app('tx_buf=262144')  # larger than a packet may be
    each_way(testbed, 4)
    testbed.app.quit()
    testbed.start_app()
    each_way(testbed, 1)
