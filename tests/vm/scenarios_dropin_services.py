# SPDX-License-Identifier: BSD-3-Clause
"""Services over vsock between the host, under zvsock-run, and a guest: a stock one, where they are what the kernel's vsock
serves, and one whose device zvsockd-guest has. Each program is the server on either side."""
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess

from procs import Failure, until
from scenarios_dropin import MIB, PORT, ended, listening, serves, testbed_of
from scenarios_dropin_device import UNDER, testbed_with
from scenarios_dropin_programs import build, built, send, with_libraries
from testbed import Skip, scenario

QEMU_GA, NBD_PLUGIN = '/usr/sbin/qemu-ga', 'nbdkit-memory-plugin.so'
TTRPC_PORT = 1024  # of Kata's agent


class Services:
    """One guest; @under is what its programs run under."""

    def __init__(self, testbed, vm, under, port):
        self.testbed, self.vm, self.under, self.port = testbed, vm, f'exec {under} ', port
        self.stock = not under  # the guest's own kernel has the sockets

    def send(self, files):
        self.port += 1
        send(self.testbed, self.vm, self.port, files, self.under.removeprefix('exec '))

    def in_guest(self, command):
        return self.vm.guest.run(self.under + command)

    def guest_serves(self, command, answers):
        """The server @command in the guest, once @answers()."""
        job = self.vm.guest.start(self.under + command)

        def up():
            if job.ended():
                raise Failure(f'"{command}" ended with {job.status}: {job.output}')
            return answers()
        until(up, f'"{command}" to answer')
        return job

    def connects(self, port):
        """Is somebody at @port of the guest?"""
        return self.testbed.zvsock_run('socat', '-u', 'OPEN:/dev/null', f'VSOCK-CONNECT:{self.vm.cid}:{port}', mode='preload').wait() == 0

    def host_serves(self, *argv, port, mode='preload'):
        return serves(self.testbed.zvsock_run(*argv, mode=mode), port)

    def gone(self, job, port):
        """kill -9 of a server of the host: its port is free."""
        job.kill()
        until(lambda: not listening(port), 'the port to be free')

    def killed(self, job):
        job.kill(9)
        job.wait()

    def on_host(self, *argv, mode='preload'):
        job = self.testbed.zvsock_run(*argv, mode=mode)
        if job.wait():
            raise Failure(f'{job.name} ended with {job.popen.returncode}: {job.account()}')
        return job.output()


def free_port(testbed):
    """A TCP port that nobody else gets: a socket that is bound, and does not listen, keeps it for those who set SO_REUSEADDR."""
    s = testbed.owner.add(socket.socket())
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


def tcp_listens(port):
    with open('/proc/net/tcp', encoding='ascii') as f:
        return f' 0100007F:{port:04X} 00000000:0000 0A ' in f.read()


def needs(*programs):
    if lacks := [p for p in programs if not shutil.which(p)]:
        raise Skip(f'not installed: {", ".join(lacks)}')


def nbdcopy_in_guest(s, arguments):
    """nbdcopy shuts its half down at its end and reads the server's end. Where the server has closed before that, Linux has
    forgotten it then: vsock_shutdown() clears SOCK_DONE, and recv() answers ENOTCONN. What was copied is compared anyway."""
    try:
        s.in_guest(f'nbdcopy {arguments}')
    except Failure as e:
        if not s.stock or 'Transport endpoint is not connected' not in str(e):
            raise


def nbd(s):
    """A block device is written and read back; then its server is killed, and there is another one."""
    needs('nbdkit', 'nbdcopy')
    plugins = subprocess.run(['nbdkit', '--dump-config'], stdout=subprocess.PIPE, text=True, check=True).stdout
    plugin = os.path.join(dict(line.split('=', 1) for line in plugins.splitlines())['plugindir'], NBD_PLUGIN)
    here, back = os.path.join(s.testbed.folder, 'image'), os.path.join(s.testbed.folder, 'image-back')
    data = os.urandom(4 * MIB)
    with open(here, 'wb') as f:
        f.write(data)
    s.send({**with_libraries(shutil.which('nbdkit')), **with_libraries(shutil.which('nbdcopy')), **with_libraries(plugin),
            '/tmp/image': here})
    s.port += 1
    for _ in range(2):
        server = s.guest_serves(f'nbdkit -f --vsock --port {s.port} memory 4M', lambda: s.connects(s.port))
        uri = f'nbd+vsock://{s.vm.cid}:{s.port}'
        s.on_host('nbdcopy', here, uri)
        s.on_host('nbdcopy', '--connections=4', uri, back)
        with open(back, 'rb') as f:
            if f.read() != data:
                raise Failure('what was read from the guest is something else')
        s.killed(server)
    for _ in range(2):
        server = s.host_serves('nbdkit', '-f', '--vsock', '--port', s.port, 'memory', '4M', port=s.port)
        uri = f'nbd+vsock://2:{s.port}'
        nbdcopy_in_guest(s, f'/tmp/image {uri}')
        nbdcopy_in_guest(s, f'--connections=4 {uri} /tmp/image-back')
        if hashlib.sha256(data).hexdigest() not in s.vm.guest.run('sha256sum </tmp/image-back; rm /tmp/image-back'):
            raise Failure('what was read from the host is something else')
        s.gone(server, s.port)
    os.remove(here)
    os.remove(back)
    s.vm.guest.run('rm /tmp/image')


def guest_agent(s):
    """qemu-ga in the guest, asked by the host as a VMM does; and the other way round."""
    if not os.path.exists(QEMU_GA):
        raise Skip('not installed: qemu-guest-agent')
    s.send(with_libraries(QEMU_GA))
    s.port += 1
    folder = os.path.join(s.testbed.folder, 'ga')
    os.makedirs(folder)
    for _ in range(2):
        server = s.guest_serves(f'{QEMU_GA} -m vsock-listen -p {s.vm.cid}:{s.port} -t /tmp -f /tmp/ga.pid',
                                lambda: s.connects(s.port))
        ended(s.testbed.python('guest_agent', s.vm.cid, s.port, '/tmp/ga-file'))
        s.vm.guest.run('rm /tmp/ga-file')
        s.killed(server)
        s.vm.guest.run('rm -f /tmp/ga.pid')
    for i in range(2):
        server = s.host_serves(QEMU_GA, '-m', 'vsock-listen', '-p', f'2:{s.port}', '-t', folder, '-f', f'{folder}/pid{i}', port=s.port)
        asked = '{"execute":"guest-sync","arguments":{"id":77}}{"execute":"guest-ping"}\\n'
        said = s.vm.guest.run(f"(printf '{asked}'; sleep 1) | {s.under.removeprefix('exec ')} socat - VSOCK-CONNECT:2:{s.port}")
        if [json.loads(line)['return'] for line in said.splitlines() if line.strip()] != [77, {}]:
            raise Failure(f'qemu-ga of the host: {said}')
        s.gone(server, s.port)


def iperf3(s):
    """TCP of one side to TCP of the other, through socat and vsock: both directions of it, four connections."""
    needs('iperf3')
    s.send(with_libraries(shutil.which('iperf3')))
    s.port += 1
    s.vm.guest.run('ip link set lo up')
    near, far = free_port(s.testbed), free_port(s.testbed)

    def iperf_totals(client):
        """The server does one test at a time: it may be busy with the last one still. When connects() has looked for it, it
        opens its socket anew, and resets who has connected to the old one."""
        said = {}

        def answered():
            nonlocal said
            text = client()
            said = json.loads(text[text.index('{'):])
            return not re.search('server is busy|control socket has closed', said.get('error', ''))
        until(answered, 'the iperf3 server to be free')
        if 'error' in said or not said['end']['sum_sent']['bytes'] >= said['end']['sum_received']['bytes'] > 0:
            raise Failure(f'iperf3: {said.get("error", said["end"])}')

    def job(argv):
        done = s.testbed.program(argv)
        done.wait()
        return done.output()
    server = s.testbed.program(['iperf3', '-s', '-B', '127.0.0.1', '-p', str(far)])
    bridge = s.host_serves('socat', f'VSOCK-LISTEN:{s.port},fork', f'TCP:127.0.0.1:{far},retry=100,interval=0.1', port=s.port)
    entry = s.vm.guest.start(f'{s.under} socat TCP-LISTEN:5201,fork,reuseaddr VSOCK-CONNECT:2:{s.port}')
    until(lambda: ':1451 ' in s.vm.guest.run('cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true'), 'socat in the guest')
    for way in '', '-R':
        iperf_totals(lambda: s.vm.guest.run(f'iperf3 -J -c 127.0.0.1 -t 1 -P 4 {way} || true'))
    s.killed(entry)
    s.gone(bridge, s.port)
    server.kill()
    server = s.vm.guest.start('exec iperf3 -s -p 5202')
    bridge = s.guest_serves(f'socat VSOCK-LISTEN:{s.port},fork TCP:127.0.0.1:5202,retry=100,interval=0.1', lambda: s.connects(s.port))
    entry = s.testbed.zvsock_run('socat', f'TCP-LISTEN:{near},bind=127.0.0.1,fork,reuseaddr', f'VSOCK-CONNECT:{s.vm.cid}:{s.port}',
                          mode='preload')
    until(lambda: tcp_listens(near), 'socat of the host')
    for way in [], ['-R']:
        iperf_totals(lambda: job(['iperf3', '-J', '-c', '127.0.0.1', '-p', str(near), '-t', '1', '-P', '4', *way]))
    entry.kill()
    s.killed(bridge)
    s.killed(server)


def ttrpc(s):
    """Calls at once over two connections, cancelled and wrong ones; then its server is killed, and there is another one."""
    program = built(build.go, 'ttrpc.go', os.path.join(s.testbed.bench.vmdir, 'ttrpc'), os.path.join(s.testbed.bench.vmdir, 'gocache'),
                    ('mdlayher/vsock', 'containerd/ttrpc'))
    s.send({'/bin/ttrpc': program})
    for _ in range(2):
        server = s.vm.guest.start(f'{s.under} ttrpc server {TTRPC_PORT}')
        server.expect('listening')
        if '50 ok' not in s.on_host(program, 'client', s.vm.cid, TTRPC_PORT, 50, 2, mode='seccomp'):
            raise Failure('the client of the host has not said that all is well')
        s.killed(server)
    for _ in range(2):
        server = s.testbed.zvsock_run(program, 'server', TTRPC_PORT, mode='seccomp')
        server.expect('listening')
        if '50 ok' not in s.in_guest(f'ttrpc client 2 {TTRPC_PORT} 50 2'):
            raise Failure('the client of the guest has not said that all is well')
        s.gone(server, TTRPC_PORT)


def stock(bench, port):
    testbed = testbed_of(bench)
    return Services(testbed, testbed.vms['a'], '', port)


def vfio(bench, port):
    testbed = testbed_with(bench, 'vfio')
    return Services(testbed, testbed.vms['dev'], UNDER, port)


def scenarios():
    """Each service with each guest."""
    port = PORT + (1 << 30)  # each process of this test has 50 from there as well
    for service in nbd, guest_agent, iperf3, ttrpc:
        for where in stock, vfio:
            def run(bench, service=service, where=where, port=port):
                return service(where(bench, port))
            run.__name__ = f'dropin_{service.__name__}_{where.__name__}_guest'
            run.__doc__ = service.__doc__
            scenario(run)
            port += 5


scenarios()
