#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Services over vsock with the programs that people run them with, under zvsock-run: iperf3 through socat, ssh and sftp
through a ProxyCommand, qemu-guest-agent, and ttrpc as Kata Containers uses it. The server is on either side.

usage: test_dropin_services.py ZVSOCKD ZVSOCKD-GUEST ZVSOCK-RUN MODE [CASE...]
"""
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time

import zvd_program
from dropin_pair import MIB, MODE, PORT, ZVSOCK_RUN, Pair, listening, needs, serve, serve_prog, until
from zvd_program import LIMIT, Skip, case, main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), '..', 'e2e', 'dropin'))
# pylint: disable=wrong-import-position
import build  # noqa: E402

TTRPC_PORT = 1024  # of Kata's agent
MANY = 200


def stop(*programs):
    for p in programs:
        p.terminate()
        p.wait(LIMIT)


def tcp_port(w):
    """One that nobody else gets: a socket that is bound, and does not listen, keeps it for those who set SO_REUSEADDR."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
    w.files.append(s.detach())
    return port


def tcp_up(port, p):
    """Until something listens on @port of the loopback."""
    def up():
        assert p.poll() is None, f'{p.args}: ended with {p.returncode}'
        with open('/proc/net/tcp', encoding='ascii') as f:
            return f' 0100007F:{port:04X} 00000000:0000 0A ' in f.read()
    until(up, f'port {port}')


NOT_YET = 'server is busy', 'control socket has closed'


def iperf3_client(port, way):
    """What it reports. The server does one test at a time, and each connection is one, that of tcp_up() too: it may be busy with
    the last one still, or not listen for a moment after it."""
    end = time.monotonic() + LIMIT
    while True:
        done = subprocess.run(['iperf3', '-J', '-c', '127.0.0.1', '-p', str(port), '-t', '1', '-P', '4', *way],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LIMIT, check=False)
        said = json.loads(done.stdout)
        if not any(why in said.get('error', '') for why in NOT_YET) or time.monotonic() > end:
            assert done.returncode == 0 and 'error' not in said, said.get('error')
            return said['end']
        time.sleep(0.2)


def iperf3_server(w, port):
    server = subprocess.Popen(['iperf3', '-s', '-B', '127.0.0.1', '-p', str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    w.procs.append(server)
    tcp_up(port, server)
    return server


def bridges(there, here, port, far, near):
    """From the TCP port @near by vsock to the TCP port @far."""
    bridge = serve(there, port, 'socat', f'VSOCK-LISTEN:{port},fork', f'TCP:127.0.0.1:{far}', stderr=subprocess.DEVNULL)
    entry = here.start('socat', f'TCP-LISTEN:{near},bind=127.0.0.1,fork,reuseaddr', f'VSOCK-CONNECT:{here.peer}:{port}',
                       stderr=subprocess.DEVNULL)
    tcp_up(near, entry)
    return entry, bridge


@case
def iperf3_through_socat(w):
    """Both directions of iperf3, four connections each, from TCP to vsock and back to TCP."""
    needs('iperf3', 'socat')
    for there, here, port in Pair(w).both_ways():
        far, near = tcp_port(w), tcp_port(w)
        server = iperf3_server(w, far)
        entry, bridge = bridges(there, here, port, far, near)
        for way in [], ['-R']:
            sums = iperf3_client(near, way)
            # It ends by word of its control connection and leaves what the bridges still have: with a number of bytes
            # (-n) that the buffers hold, nothing may have been received by then.
            assert sums['sum_sent']['bytes'] >= sums['sum_received']['bytes'] > 0, sums
        stop(entry, bridge, server)


def iperf3_amid_a_test(w, port, way):
    """A client that goes on until it is stopped, and has moved some bytes. The server may be busy at first."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        p = subprocess.Popen(['iperf3', '-c', '127.0.0.1', '-p', str(port), '-t', '3600', '-i', '0.1', '--forceflush', *way],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        w.procs.append(p)
        for line in p.stdout:
            if b'Bytes' in line and b'sec' in line:
                p.stderr.close()
                return p
        said = p.stderr.read()
        assert p.wait(LIMIT) and any(why.encode() in said for why in NOT_YET), said
        p.stdout.close()
        p.stderr.close()
        time.sleep(0.2)
    raise AssertionError('the server stays busy')


@case
def iperf3_killed_with_9(w):
    """kill -9 of either end amid a test: the other one learns it through both bridges, of which nothing stays behind."""
    needs('iperf3', 'socat')
    pair = Pair(w)
    left = Leftovers(w, pair)
    for there, here, port in pair.both_ways():
        far, near = tcp_port(w), tcp_port(w)
        server = iperf3_server(w, far)
        entry, bridge = bridges(there, here, port, far, near)
        for way in [], ['-R']:
            client = iperf3_amid_a_test(w, near, way)
            client.kill()
            client.wait()
            left.none('the client', port)
            iperf3_client(near, way)  # the server is done with that one
            client = iperf3_amid_a_test(w, near, way)
            server.kill()
            server.wait()
            client.stdout.close()
            assert client.wait(LIMIT) != 0
            left.none('the server', port)
            server = iperf3_server(w, far)
        stop(entry, bridge, server)


class Ssh:
    """A key of the host and one of the user, and what both programs are told about them."""

    def __init__(self, w):
        needs('socat', 'ssh', 'sftp', 'ssh-keygen')
        self.sshd = shutil.which('sshd') or '/usr/sbin/sshd'  # it wants to be called by its path
        if not os.path.exists(self.sshd):
            raise Skip('not installed: openssh-server')
        if os.getuid() == 0:
            os.makedirs('/run/sshd', 0o755, exist_ok=True)  # as its service does; without it root's sshd does not start
        self.user = pwd.getpwuid(os.getuid()).pw_name
        for name in 'host_key', 'user_key':
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', w.path(name)], check=True)
        self.conf = w.write('sshd_config', 'HostKey DIR/host_key\nAuthorizedKeysFile DIR/user_key.pub\nStrictModes no\nUsePAM no\n'
                            'PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n')
        with open(w.path('host_key.pub'), encoding='ascii') as f:
            w.write('known', f'vsock {f.read()}')
        self.options = ['-F', 'none', '-i', w.path('user_key'), '-o', 'BatchMode=yes', '-o', f'UserKnownHostsFile={w.path("known")}',
                        '-o', 'HostKeyAlias=vsock', '-o', f'User={self.user}']

    def proxies(self, side, port):
        yield f'{ZVSOCK_RUN} --mode {MODE} socat - VSOCK-CONNECT:{side.peer}:{port}'
        if 'ZVSOCKCTL' in os.environ:
            control, name = ('hc', 'vm') if side.peer == 5 else ('gc', 'vm0')
            yield f'{os.environ["ZVSOCKCTL"]} --socket {side.w.path(control)} connect {name} {port}'


def sessions(w, options, env, data):
    """Three at once with a command that reads @data, whose exit status comes back; a file to and fro."""
    def start(program, *args):
        p = subprocess.Popen([program, *options, *args], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        w.procs.append(p)
        return p
    jobs = [start('ssh', 'vsock', 'sha256sum; exit 7') for _ in range(3)]
    for p in jobs:
        out, _ = p.communicate(data, timeout=LIMIT)
        assert p.returncode == 7 and out.split()[0].decode() == hashlib.sha256(data).hexdigest(), (p.returncode, out)
    p = start('sftp', '-b', '-', 'vsock')
    p.communicate(f'put {w.path("data")} {w.path("sent")}\nget {w.path("sent")} {w.path("back")}\n'.encode(), timeout=LIMIT)
    assert p.returncode == 0
    with open(w.path('back'), 'rb') as f:
        assert f.read() == data
    os.unlink(w.path('back'))


@case
def ssh_by_proxy_command(w):
    """The ProxyCommand is socat under zvsock-run, and `zvsockctl connect`; sshd is behind socat, as behind inetd."""
    ssh, data = Ssh(w), os.urandom(4 * MIB)
    with open(w.path('data'), 'wb') as f:
        f.write(data)
    for there, here, port in Pair(w).both_ways():
        server = serve(there, port, 'socat', f'VSOCK-LISTEN:{port},fork', f'EXEC:{ssh.sshd} -i -f {ssh.conf}')
        for proxy in ssh.proxies(here, port):
            sessions(w, [*ssh.options, '-o', f'ProxyCommand={proxy}'], here.env, data)
        stop(server)


@case
def qemu_guest_agent(w):
    """Questions to it, a file written and read back through it, and once more after the client has gone."""
    if not (ga := qemu_ga()):
        raise Skip('not installed: qemu-guest-agent')
    os.mkdir(w.path('ga'))
    for (there, here, port), own in zip(Pair(w).both_ways(), (2, 5)):
        server = serve(there, port, ga, '-m', 'vsock-listen', '-p', f'{own}:{port}', '-t', w.path('ga'), '-f', w.path('ga/pid'),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2):
            here.run_prog('guest_agent', here.peer, port, w.path('ga/file'))
        stop(server)


def qemu_ga():
    path = shutil.which('qemu-ga') or '/usr/sbin/qemu-ga'
    return path if os.path.exists(path) else None


def servers(w):
    """Servers of others, by what they are called: what one is started by on a port of its own, and what it says first."""
    if shutil.which('socat'):
        yield 'socat', lambda cid, port: ['socat', f'VSOCK-LISTEN:{port},fork,backlog=250', 'SYSTEM:printf here; cat'], 'here'
    if shutil.which('ncat'):
        yield 'ncat', lambda cid, port: ['ncat', '--vsock', '-l', '-k', '-m', '250', '--sh-exec', 'printf here; cat', '-p', port], 'here'
    if shutil.which('nbdkit'):
        yield 'nbdkit', lambda cid, port: ['nbdkit', '-f', '--vsock', '--port', port, 'memory', '8M'], 'NBDMAGIC'
    if ga := qemu_ga():
        os.makedirs(w.path('ga'), exist_ok=True)
        yield 'qemu-ga', lambda cid, port: [ga, '-m', 'vsock-listen', '-p', f'{cid}:{port}', '-t', w.path('ga'), '-f',
                                            w.path(f'ga/pid-{os.urandom(4).hex()}')], None


def every_server(w, pair):
    """(name, a function that starts it, what it says first, the client's side, the port), each on either side."""
    for i, (name, command, says) in enumerate(servers(w)):
        for (there, here, port), own in zip(pair.both_ways(), (2, 5)):
            def start(there=there, command=command, own=own, port=port + i):
                return serve(there, port, *command(own, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             start_new_session=True)
            yield name, start, says, here, port + i


@case
def killed_with_9(w):
    """kill -9 of each server with what it has started, amid a connection: the peer learns it, and the port is free for the
    next one."""
    for name, start, _, here, port in every_server(w, Pair(w)):
        for _ in range(2):
            server = start()
            client = here.prog('until_over', here.peer, port)
            assert client.stdout.readline() == b'held\n', name
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            assert client.wait(LIMIT) == 0, name
            until(lambda port=port: not listening(port), f'the port of {name} to be free')


def asked(w, control, command, what):
    said = subprocess.run([os.environ['ZVSOCKCTL'], '--json', '-s', w.path(control), command], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(said)[what]


class Leftovers:
    """What zvsockd and zvsockd-guest have of programs, now and later."""

    def __init__(self, w, pair):
        self.w, self.pids = w, [pair.host_d.pid, pair.guest_d.pid]
        self.fds = self.count()

    def count(self):
        return [len(os.listdir(f'/proc/{pid}/fd')) for pid in self.pids]

    def sockets(self, port):
        """Connected ones of programs, to or from @port: other tests have theirs."""
        return [s for c in ('hc', 'gc') for s in asked(self.w, c, 'ss', 'sockets')
                if s['state'] == 'ESTAB' and port in (s['local_port'], s['peer_port'])]

    def none(self, what, port):
        """Until neither has a connection, nor more descriptors than before."""
        until(lambda: not any(asked(self.w, c, 'list', 'connections') for c in ('hc', 'gc')), f'connections of {what} to be gone')
        until(lambda: not self.sockets(port), f'sockets of {what} to be gone')
        until(lambda: all(n <= before for n, before in zip(self.count(), self.fds)), f'descriptors of {what} to be closed')


def clients(cid, port):
    """Clients of others, by what they are called."""
    if shutil.which('socat'):
        yield 'socat', ['socat', '-', f'VSOCK-CONNECT:{cid}:{port}']
    if shutil.which('ncat'):
        yield 'ncat', ['ncat', '--vsock', cid, port]
    yield 'python', [sys.executable, '-c', 'import os, socket, sys\ns = socket.socket(socket.AF_VSOCK)\n'
                     f's.connect(({cid}, {port}))\nos.write(1, s.recv(4))\nos.read(0, 1)']


@case
def clients_killed_with_9(w):
    """kill -9 of each client, when it waits for its user, and when the server cannot send any more: the server learns it, and
    nothing stays behind."""
    pair = Pair(w)
    left = Leftovers(w, pair)
    for there, here, port in pair.both_ways():
        for name, command in clients(here.peer, port):
            for what in 'waits', 'sends':
                server = serve_prog(there, 'outlives', port, what)
                client = here.start(*command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
                assert client.stdout.read(4) == b'here', name
                if what == 'sends':
                    assert server.stdout.readline() == b'full\n', name
                client.kill()
                client.wait()
                assert server.stdout.readline() == b'gone\n', name
                assert server.wait(LIMIT) == 0, name
                client.stdout.close()
                left.none(f'{name} that {what}', port)
                until(lambda port=port: not listening(port), 'the port to be free')


@case
def many_at_once(w):
    """200 connections that are there at the same time, each of which the server serves. qemu-ga has one at a time."""
    for name, start, says, here, port in every_server(w, Pair(w)):
        if says is None:
            continue
        server = start()
        here.run_prog('greeted', here.peer, port, MANY, says)
        assert server.poll() is None, name
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ttrpc_program(w):
    # With the user's cache: what is compiled here takes half a minute the first time.
    cache = os.environ.get('GOCACHE') or ('HOME' in os.environ and os.path.expanduser('~/.cache/go-build')) or w.path('gocache')
    try:
        return build.go('ttrpc.go', w.path('ttrpc'), cache, ['mdlayher/vsock', 'containerd/ttrpc'])
    except build.Lacking as why:
        raise Skip(str(why)) from None


def ttrpc_of_kata(w):
    """Calls at once on one connection, and on 200; one that is cancelled, one that is not there; then after kill -9 of the server."""
    program = ttrpc_program(w)
    for there, here, _ in Pair(w).both_ways():
        for _ in range(2):
            server = there.start(program, 'server', TTRPC_PORT)
            line = server.stdout.readline()
            assert b'listening' in line, line
            assert here.run(program, 'client', here.peer, TTRPC_PORT, 50, 1) == b'50 ok\n'
            assert here.run(program, 'client', here.peer, TTRPC_PORT, MANY, MANY) == b'200 ok\n'
            server.kill()
            server.wait()


if MODE == 'seccomp':  # it is a Go program, which makes its own system calls
    case(ttrpc_of_kata)


if __name__ == '__main__':
    if sys.argv[5:]:
        zvd_program.CASES[:] = [c for c in zvd_program.CASES if c.__name__ in sys.argv[5:]]
    sys.exit(main())
