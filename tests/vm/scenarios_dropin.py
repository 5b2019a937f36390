# SPDX-License-Identifier: BSD-3-Clause
"""Stock Linux guests, zvsockd, and AF_VSOCK programs of the host under zvsock-run."""
import hashlib
import os
import re
import signal
import sys

from procs import Failure, until
from testbed import ECHO, SEQ, XFER, also_in_uml, every_kernel, scenario
from testbed_daemon import DaemonTestbed

MIB = 1 << 20
PROG = os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', 'daemon', 'dropin_prog.py')
PORT = 20000 + os.getpid() * 50  # the names that listening() looks for are seen by the whole machine


class DropinTestbed(DaemonTestbed):
    """One guest; `af_vsock` is the directory of the host's programs."""

    def __init__(self, bench, name, guests, **kw):
        self.run = bench.program('zvsock-run')
        super().__init__(bench, name, guests, **kw)

    def daemon_keys(self):
        return f'af_vsock = {self.folder}/af_vsock\n'

    def zvsock_run(self, *argv, mode='auto', **kw):
        """A program of the host that uses AF_VSOCK."""
        return self.program(['env', f'ZVSOCK_AF_VSOCK={self.folder}/af_vsock', self.run, '--mode', mode,
                             *map(str, argv)], **kw)

    def python(self, *argv):
        return self.zvsock_run(sys.executable, PROG, *argv, mode='preload')

    def peer(self, *argv):
        """The guest's own program, which is static: it runs under the supervisor."""
        job = self.zvsock_run(self.programs[2], *argv)
        if job.wait():
            raise Failure(f'host: {job.account()}')


def testbed_of(bench):
    return bench.shared(DropinTestbed, 'dropin', {'a': {'tcp_out': 1080, 'tcp_allow': '127.0.0.1:*'}})


def listening(port):
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as f:
        return re.search(rf'00010000 000[15] 01 +\d+ @zvsock:P:\d:\d+:{port}:-:-:', f.read())


def serves(job, port):
    """@job, which is to listen on @port."""
    def up():
        if not job.alive():
            raise Failure(f'{job.name} ended with {job.popen.returncode}: {job.account()}')
        return listening(port)
    until(up, f'{job.name} to listen')
    return job


def ended(job):
    if job.wait():
        raise Failure(f'{job.name} ended with {job.popen.returncode}: {job.account()}')


def to_host(testbed, port, server, client, name='a'):
    """@client in the guest @name sends /tmp/data to @server on the host; the hashes are compared."""
    vm, where = testbed.vms[name], os.path.join(testbed.folder, f'got-{port}')
    digest = vm.guest.run('dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null; sha256sum </tmp/data').split()[0]
    with open(where, 'wb') as f:
        pass
    job = serves(testbed.zvsock_run('sh', '-c', f'exec {server} >{where}', mode='preload'), port)
    vm.guest.run(client)
    ended(job)
    with open(where, 'rb') as f:
        if hashlib.sha256(f.read()).hexdigest() != digest:
            raise Failure('what has arrived has another hash')
    vm.guest.run('rm /tmp/data')


def to_guest(testbed, port, server, client, name='a'):
    """@client of the host sends its standard input to @server in the guest @name, once that listens."""
    vm, data, where = testbed.vms[name], os.urandom(16 * MIB), os.path.join(testbed.folder, f'data-{port}')
    with open(where, 'wb') as f:
        f.write(data)
    job = vm.guest.start(f'{server} | sha256sum')
    command = client.format(cid=vm.cid)

    def sent():
        if job.ended():
            raise Failure(f'"{server}" ended with {job.status}: {job.output}')
        return testbed.zvsock_run('sh', '-c', f'exec {command} <{where}', mode='preload').wait() == 0
    until(sent, 'the guest to listen')
    job.wait()
    if hashlib.sha256(data).hexdigest() not in job.output:
        raise Failure(f'what has arrived has another hash: {job.output}')


@also_in_uml
@scenario
def dropin_socat_guest_to_host(bench):
    """socat in the guest sends 16 MiB to socat's VSOCK-LISTEN on the host."""
    to_host(testbed_of(bench), PORT, f'socat -u VSOCK-LISTEN:{PORT} -', f'socat -u OPEN:/tmp/data VSOCK-CONNECT:2:{PORT}')


@also_in_uml
@scenario
def dropin_socat_host_to_guest(bench):
    """socat's VSOCK-CONNECT on the host sends 16 MiB to socat in the guest."""
    to_guest(testbed_of(bench), 6102, 'socat -u VSOCK-LISTEN:6102 -', 'socat -u - VSOCK-CONNECT:{cid}:6102')


@also_in_uml
@scenario
def dropin_ncat_guest_to_host(bench):
    """ncat in the guest sends 16 MiB to `ncat --vsock -l` on the host."""
    to_host(testbed_of(bench), PORT + 1, f'ncat --vsock --recv-only -l -p {PORT + 1}',
            f'ncat --vsock --send-only 2 {PORT + 1} </tmp/data')


@also_in_uml
@scenario
def dropin_ncat_host_to_guest(bench):
    """`ncat --vsock` on the host sends 16 MiB to ncat in the guest."""
    to_guest(testbed_of(bench), 6104, 'ncat --vsock --recv-only -l -p 6104', 'ncat --vsock --send-only {cid} 6104')


@every_kernel
def dropin_200_from_guest(bench):
    """200 connections of the guest at once, to Python on the host, by threads and by asyncio; then to processes that
    were given them by fork, exec and SCM_RIGHTS."""
    testbed = testbed_of(bench)
    for what, n in (('echo_threads', 200), ('echo_asyncio', 200), ('echo_fork', 20), ('echo_exec', 5), ('echo_pass', 5)):
        job = serves(testbed.python(what, PORT + 2, n), PORT + 2)
        testbed.vms['a'].peer(f'parallel 2 {PORT + 2} {n} 20000')
        ended(job)
        until(lambda: not listening(PORT + 2), 'the port to be free')


@every_kernel
def dropin_200_from_host(bench):
    """200 connections of Python on the host at once, to the guest, by threads and by asyncio."""
    testbed = testbed_of(bench)
    for what in ('client_threads', 'client_asyncio'):
        ended(testbed.python(what, testbed.vms['a'].cid, ECHO, 200))


@every_kernel
def dropin_static_program(bench):
    """The guest's own static program on the host: bytes, messages, half-close, 200 at once."""
    testbed = testbed_of(bench)
    cid = testbed.vms['a'].cid
    testbed.peer('xfer', cid, XFER, 4 * MIB, 4 * MIB)
    testbed.peer('msg', cid, SEQ, 300)
    testbed.peer('parallel', cid, ECHO, 200, 20000)


@every_kernel
def dropin_errors(bench):
    """What calls answer towards a stock guest: refused, no such CID, connected twice, not bound ..."""
    testbed = testbed_of(bench)
    ended(testbed.python('answers_without_peer', testbed.vms['a'].cid, PORT + 10))


@also_in_uml
@scenario
def dropin_killed(bench):
    """kill -9 of the host's program: the guest's ends, the port is free. Of the guest's: so does the host's."""
    testbed = testbed_of(bench)
    vm = testbed.vms['a']
    server = serves(testbed.python('hold', PORT + 3), PORT + 3)
    job = vm.guest.start(f'socat -u VSOCK-CONNECT:2:{PORT + 3} -')
    until(lambda: testbed.connections() == 1, 'the connection')
    server.kill()
    job.wait()
    until(lambda: not listening(PORT + 3), 'the port to be free')
    holder = vm.guest.start("socat VSOCK-LISTEN:6105,fork SYSTEM:'printf here; sleep 1000'")
    client = None

    def held():
        nonlocal client
        client = testbed.python('held', vm.cid, 6105)
        try:
            client.expect('^held$')
        except Failure:
            return False
        return True
    until(held, 'the guest to listen')
    vm.guest.run('killall -9 socat')
    holder.wait()
    ended(client)
    if testbed.daemon.popen.poll() is not None:
        raise Failure(f'zvsockd ended; signal {signal.Signals(-testbed.daemon.popen.returncode).name}')
