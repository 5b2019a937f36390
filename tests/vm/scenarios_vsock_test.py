# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs of the host under zvsock-run against stock guests: the Linux kernel's own vsock_test.

Its source is Debian's package of the kernel's, downloaded and built once in VMDIR/vsock_test/; nothing is installed.
The two ends of a case talk over TCP besides; socat in the guest and socat under zvsock-run carry that, each case on
connections of its own.
"""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

import image
from procs import Failure, LIMIT, until
from testbed import Skip, both_kernels
from testbed_daemon import DaemonTestbed

PACKAGE = {'stable': 'linux-source-6.1', 'uml': 'linux-source-6.1', 'backports': 'linux-source-6.12'}
FLAGS = '-O2 -w -I. -I../../include -D_GNU_SOURCE'
CONTROL = 1000  # TCP port in the guest
UPLOAD, TO_GUEST, TO_HOST = 6300, 6301, 6302  # vsock ports
TRIES = 3  # some cases have limits of 0.1 s, and races of their own

# What AF_UNIX sockets cannot do, by where the server is; docs/drop-in.md has the same table.
BOUNDS = 'MSG_EOR does not cross an AF_UNIX socket, nor do 2 MiB of messages wait in one'
ZEROCOPY = 'AF_UNIX has no SO_ZEROCOPY'
NOT_ON_UNIX = {
    'guest': {
        'SOCK_SEQPACKET msg bounds': BOUNDS,
        'SOCK_STREAM poll() + SO_RCVLOWAT': 'poll(2) of an AF_UNIX socket does not look at SO_RCVLOWAT',
        'SOCK_STREAM MSG_ZEROCOPY': ZEROCOPY,
        'SOCK_SEQPACKET MSG_ZEROCOPY': ZEROCOPY,
        'SOCK_STREAM MSG_ZEROCOPY empty MSG_ERRQUEUE': 'an AF_UNIX socket has no error queue',
    },
    'host': {
        'SOCK_SEQPACKET msg bounds': BOUNDS,
    },
}

# Such a program polls until one byte more than 64 KiB is there, and reads that without waiting. AF_UNIX wakes it for any
# byte, so it depends on the guest's speed whether the last packet, of one byte, is there by then.
LATE_BYTE = 'poll(2) of an AF_UNIX socket does not look at SO_RCVLOWAT: the last byte may be too late'
MAY_FAIL_ON_UNIX = {
    'guest': {},
    'host': {'SOCK_STREAM virtio credit update + SO_RCVLOWAT': LATE_BYTE,
             'SOCK_STREAM virtio credit update + low rx_bytes': LATE_BYTE},
}

OF_OLD_TEST = {'host': {'SOCK_SEQPACKET invalid receive buffer':
                        'the test of 6.1 wants ENOMEM; later kernels, and AF_UNIX, give EFAULT'}}


def run(what, args, **kw):
    done = subprocess.run(args, text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False, **kw)
    if done.returncode:
        raise image.Missing(f'{what}: {done.stderr.strip()[-300:]}')
    return done.stdout


def build(vmdir, package):
    """(static, dynamic) vsock_test of @package's source."""
    top = os.path.join(vmdir, 'vsock_test', package)
    if not os.path.isdir(top):
        os.makedirs(os.path.dirname(top), exist_ok=True)
        folder = tempfile.mkdtemp(prefix=package, dir=os.path.dirname(top))
        try:
            image.download(package, source_options(folder, package), folder)
            name = f'usr/src/{package}.tar.xz'
            run('tar', ['tar', '-xf', name, '--strip-components=1', f'{package}/tools/testing/vsock',
                        f'{package}/tools/include'], cwd=folder)
            shutil.rmtree(os.path.join(folder, 'usr'))
            source = os.path.join(folder, 'tools/testing/vsock')
            for kind, link in ('static', '-static'), ('dynamic', ''):
                run('make', ['make', '-s', 'clean'], cwd=source)
                run('make', ['make', '-s', 'vsock_test', f'CFLAGS={FLAGS}', f'LDFLAGS={link}'], cwd=source)
                os.rename(os.path.join(source, 'vsock_test'), os.path.join(folder, kind))
            if not os.path.isdir(top):  # another run may have been quicker
                os.rename(folder, top)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return os.path.join(top, 'static'), os.path.join(top, 'dynamic')


def source_options(folder, package):
    """apt's: bookworm-backports where the machine's own lists do not have @package."""
    if 'Candidate' in image.call('apt-cache', 'policy', package).stdout:
        return []
    options = image.backports_options(os.path.join(folder, 'apt'))
    run('bookworm-backports', ['apt-get', '-q', *options, 'update'])
    return options


def cases_of(program):
    """{number: name}."""
    listed = subprocess.run([program, '--list'], text=True, capture_output=True, check=False)
    found = re.findall(r'^(?:ID:\s*)?(\d+)\t(.*)$', listed.stdout + listed.stderr, re.M)
    if not found:
        raise Failure(f'vsock_test --list: {listed.stdout}{listed.stderr}')
    return {int(n): name.strip() for n, name in found}


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Conformance:
    """A guest with vsock_test in it, and the host's side."""

    def __init__(self, bench):
        self.package = PACKAGE[bench.which]
        try:
            self.static, self.dynamic = build(bench.vmdir, self.package)
        except image.Missing as why:
            raise Skip(f'the kernel\'s vsock_test cannot be had: {why}') from None
        self.runner = bench.program('zvsock-run')
        self.testbed = bench.own(DaemonTestbed, {'a': {'af_vsock': os.path.join(bench.new_folder(), 'av')}})
        self.vm = self.testbed.vms['a']
        self.dir = self.vm.keys['af_vsock']
        self.cases = cases_of(self.static)
        self.upload()

    def upload(self):
        guest = self.vm.guest
        job = guest.start(f'socat -u VSOCK-LISTEN:{UPLOAD} CREATE:/tmp/vsock_test && chmod 755 /tmp/vsock_test')
        end = time.monotonic() + LIMIT
        while True:
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.vm.unix)
            s.settimeout(LIMIT)
            s.sendall(b'CONNECT %d\n' % UPLOAD)
            if s.recv(64).startswith(b'OK '):
                break
            s.close()
            if time.monotonic() > end:
                raise Failure('socat in the guest does not listen')
            time.sleep(0.1)
        with s, open(self.static, 'rb') as f:
            s.sendfile(f)
        if job.wait():
            raise Failure(f'upload: {job.output}')
        guest.run('ifconfig lo 127.0.0.1 up')

    def host(self, mode, *args):
        program = self.static if mode == 'seccomp' else self.dynamic
        return self.testbed.program([self.runner, '--dir', self.dir, '--mode', mode, program, *args])

    def socat(self, *args):
        return self.testbed.program([self.runner, '--dir', self.dir, 'socat', *args])

    def args(self, number, side, port, cid):
        skips = [f'--skip={n}' for n in self.cases if n != number]
        return [f'--mode={side}', '--control-host=127.0.0.1', f'--control-port={port}', f'--peer-cid={cid}', *skips]

    def case(self, number, mode, server):
        """'' or what went wrong. @server: which end it is on."""
        port, jobs, guest = free_port(), [], self.vm.guest
        try:
            if server == 'host':
                far = self.host(mode, *self.args(number, 'server', port, self.vm.cid))
                jobs = [far, self.socat(f'VSOCK-LISTEN:{TO_HOST},fork', f'TCP:127.0.0.1:{port}'),
                        guest.start(f'exec socat TCP-LISTEN:{CONTROL},reuseaddr VSOCK-CONNECT:2:{TO_HOST}')]
                far.expect('listening on')
                self.listening(guest)
                near = guest.start('exec /tmp/vsock_test ' + ' '.join(self.args(number, 'client', CONTROL, 2)))
            else:
                near = guest.start('exec /tmp/vsock_test ' + ' '.join(self.args(number, 'server', CONTROL, 2)))
                near.expect('listening on')
                jobs = [near, guest.start(f'exec socat VSOCK-LISTEN:{TO_GUEST} TCP:127.0.0.1:{CONTROL}'),
                        self.socat(f'TCP-LISTEN:{port},bind=127.0.0.1', f'VSOCK-CONNECT:{self.vm.cid}:{TO_GUEST},'
                                   'retry=100,interval=0.1')]
                until(lambda: listens(port), 'socat to listen')
                far = self.host(mode, *self.args(number, 'client', port, self.vm.cid))
            jobs += [near, far]
            codes = near.wait(), far.wait()
            return '' if codes == (0, 0) else f'guest: {near.output.strip()[-150:]}; host: {far.account()[-400:]}'
        finally:
            for job in jobs:
                job.kill(9)

    @staticmethod
    def listening(guest):
        until(lambda: guest.start(f"netstat -ltn | grep -q ':{CONTROL} '").wait() == 0, 'socat to listen in the guest')

    def all(self, mode, server):
        bad, late, cannot = [], [], dict(NOT_ON_UNIX[server])
        if self.package == PACKAGE['stable']:
            cannot.update(OF_OLD_TEST.get(server, {}))
        for number, name in self.cases.items():
            why = [self.case(number, mode, server)]
            while why[-1] and name not in cannot and len(why) < TRIES:
                why.append(self.case(number, mode, server))
            if name in cannot and not why[-1]:
                bad.append(f'{number} {name}: passes: take it out of NOT_ON_UNIX and docs/drop-in.md')
            if name in MAY_FAIL_ON_UNIX[server] and 'recv: Resource temporarily unavailable' in why[-1]:
                late.append(f'{name} ({MAY_FAIL_ON_UNIX[server][name]})')
            elif name not in cannot and why[-1]:
                bad.append(f'{number} {name}: {why[-1]}')
        if bad:
            raise Failure(f'mode {mode}, server on the {server}:\n' + '\n'.join(bad))
        cannot = late + [f'{name} ({cannot[name]})' for name in self.cases.values() if name in cannot]
        return f'{len(self.cases) - len(cannot)} of {len(self.cases)} cases; not: {", ".join(cannot) or "none"}'


def listens(port):
    """Looked up, as a connection would be taken for the program's."""
    with open('/proc/net/tcp', encoding='ascii') as f:
        return f'0100007F:{port:04X} 00000000:0000 0A' in f.read()


def spare_time(bench):
    """.ci/run has an hour for everything."""
    if os.environ.get('ZV_CI') and bench.which == 'stable':
        raise Skip('.ci/run does this with the newer kernel only: ./run vmtest NAME')


@both_kernels
def dropin_vsock_test_client(bench):
    """The kernel's vsock_test as client on the host under zvsock-run, in both modes; its server in the guest."""
    spare_time(bench)
    testbed = Conformance(bench)
    return '; '.join(f'{mode}: {testbed.all(mode, "guest")}' for mode in ('seccomp', 'preload'))


@both_kernels
def dropin_vsock_test_server(bench):
    """The same with the server on the host and the client in the guest."""
    spare_time(bench)
    testbed = Conformance(bench)
    return '; '.join(f'{mode}: {testbed.all(mode, "host")}' for mode in ('seccomp', 'preload'))
