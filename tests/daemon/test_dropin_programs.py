#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs as they are, under zvsock-run: on the host, on a zvsockd, and in a guest, on a zvsockd-guest that has
the device. Each case is run with the server on either side.

usage: test_dropin_programs.py ZVSOCKD ZVSOCKD-GUEST ZVSOCK-RUN MODE [CASE...]
"""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys

import zvd_program
from dropin_pair import DEVICE, HOST, MIB, PORT, ZVSOCK_RUN, ZVSOCKD_GUEST, Pair, Side, ended, listening, needs, serve, serve_prog, until
from zvd_program import LIMIT, Skip, case, main

MANY = 200
ECHO_PORT = 7  # of the examples
ENDS = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'dropin_ends.py')


def echo_case(server, client):
    def run(w):
        for there, here, port in Pair(w).both_ways():
            p = serve_prog(there, server, port, MANY)
            here.run_prog(client, here.peer, port, MANY)
            ended(p)
    run.__name__ = f'python_{server.removeprefix("echo_")}_server_{client.removeprefix("client_")}_client'
    return case(run)


echo_case('echo_threads', 'client_threads')
echo_case('echo_asyncio', 'client_asyncio')
echo_case('echo_selectors', 'client_threads')


@case
def python_forks_execs_and_passes(w):
    """Whoever has a descriptor finds out by getpeername(2) whose it is."""
    pair = Pair(w)
    for i, what in enumerate(('echo_fork', 'echo_exec', 'echo_pass', 'echo_dup')):
        for there, here, port in pair.both_ways():
            p = serve_prog(there, what, port + i, 10)
            here.run_prog('client_threads', here.peer, port + i, 10)
            ended(p)


@case
def what_calls_answer(w):
    for _, here, port in Pair(w).both_ways():
        here.run_prog('answers_without_peer', here.peer, port)


@case
def ends_of_connections(w):
    for there, here, port in Pair(w).both_ways():
        p = serve(there, port, sys.executable, ENDS, 'ends_server', port)
        until(lambda: listening(port + 1, kind=5), 'the second socket')
        here.run(sys.executable, ENDS, 'ends_client', here.peer, port)
        ended(p)


@case
def one_end_receives_no_more(w):
    for there, here, port in Pair(w).both_ways():
        p = serve(there, port, sys.executable, ENDS, 'shut_rd_server', port)
        until(lambda: listening(port + 1, kind=5), 'the second socket')
        here.run(sys.executable, ENDS, 'shut_rd_client', here.peer, port)
        ended(p)


@case
def ports_at_the_own_cid(w):
    """Of the host, and of a guest whose zvsockd drives the device."""
    for server, client, port in Pair(w).both_ways():
        p = serve_prog(server, 'at_own_cid', port)
        client.run_prog('client_threads', client.peer, port, 1)
        ended(p)


@case
def what_is_left_to_the_kernel(w):
    """sendfile, splice, SO_RCVLOWAT, SIOCINQ, SIOCOUTQ, SO_LINGER, SIGPIPE."""
    with open(w.path('file'), 'wb') as f:
        f.write(os.urandom(4 * MIB))
    for there, here, port in Pair(w).both_ways():
        p = serve(there, port, sys.executable, ENDS, 'moved_server', port, 4 * MIB)
        here.run(sys.executable, ENDS, 'moved_client', here.peer, port, w.path('file'))
        ended(p)


@case
def io_uring(w):
    """accept(2) and all that moves bytes by io_uring, which neither mode sees."""
    program = os.environ.get('URING_PROG')
    if not program:
        raise Skip('URING_PROG names a program that uses io_uring')
    for there, here, port in Pair(w).both_ways():
        if b'no io_uring' in there.run(program, 'none'):
            raise Skip('programs may not use io_uring here')
        p = serve(there, port, program, 'server', port)
        here.run(program, 'client', here.peer, port)
        ended(p)


@case
def both_ends_on_one_side(w):
    pair = Pair(w)
    pair.host.run_prog('local', PORT)
    pair.guest.run_prog('local', PORT)


def zvsockctl(w, command, what):
    said = subprocess.run([os.environ['ZVSOCKCTL'], '--json', '-s', w.path('hc'), command], stdout=subprocess.PIPE, check=True).stdout
    return json.loads(said)[what]


@case
def applications_of_zvsockd(w):
    """Programs with libzvsock (daemon:) are on the same machine as these: each reaches the others' ports."""
    server, client = (os.environ.get(f'EXAMPLE_{what}') for what in ('SERVER', 'CLIENT'))
    if not server:
        raise Skip('EXAMPLE_SERVER and EXAMPLE_CLIENT name programs with libzvsock')
    uri = f'daemon:{w.path("apps")}'
    w.up('-c', w.write('h.conf', '[daemon]\ncontrol = DIR/hc\naf_vsock = DIR/host\napplications = DIR/apps\n'
                       f'af_vsock_low_ports = {os.geteuid()}\n'), log='host.log')
    side = Side(w, 'host', 1)
    app = w.start(uri, program=server, log='server')
    until(lambda: 'ready' in w.log('server'), 'the application to listen')
    for cid in 1, 2:
        side.run_prog('client_threads', cid, ECHO_PORT, MANY)
        side.run_prog('client_asyncio', cid, ECHO_PORT, MANY)
    p = side.prog('held', 1, ECHO_PORT, stderr=subprocess.DEVNULL)
    until(lambda: [r for r in zvsockctl(w, 'ss', 'sockets') if r['state'] == 'ESTAB' and (r['peer_cid'], r['peer_port']) == (1, ECHO_PORT) and
                   f'pid={p.pid},' in r['users']], 'the connection to be listed')
    app.kill()
    ended(p, 1)  # it sees the end
    until(lambda: not zvsockctl(w, 'guests', 'guests'), 'the application to be missed')
    p = side.prog('echo_threads', ECHO_PORT, 1)

    def echoed():
        assert p.poll() is None, f'ended with {p.returncode}'
        done = subprocess.run([client, uri], input=b'from an application', capture_output=True, timeout=LIMIT, check=False)
        return done.stdout == b'from an application'
    until(echoed, 'the program to answer')
    ended(p)


@case
def python_tests_of_its_own(w):
    """CPython's test_socket, in the guest: it connects to the CID that it has."""
    tests = ['test.test_socket.BasicVSOCKTest', 'test.test_socket.ThreadedVSOCKSocketStreamTest']
    if subprocess.run([sys.executable, '-c', 'import test.test_socket'], capture_output=True, check=False).returncode:
        raise Skip('this Python comes without its tests')
    pair = Pair(w)
    p = pair.guest.start(sys.executable, '-m', 'unittest', '-v', *tests, stderr=subprocess.PIPE)
    _, err = p.communicate(timeout=LIMIT)
    print(err.decode())
    assert p.returncode == 0
    assert b'testStream' in err and b'skipped=' not in err


def name_of(port):
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as f:
        return next((line.split()[-1] for line in f if f':{port}:-:-:' in line), None)


@case
def strangers_connect(w):
    """To the name of a listening socket, again and again: its program goes on, and the guest's connection gets through."""
    pair = Pair(w)
    p = pair.host.prog('beside_strangers', PORT, stdin=subprocess.PIPE)
    assert p.stdout.readline() == b'up\n'
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(MANY)]
    name = until(lambda: name_of(PORT), 'the name of the port')
    for s in strangers:
        s.connect('\0' + name[1:])
    c = pair.guest.prog('until_over', 2, PORT)
    assert c.stdout.readline() == b'held\n'  # zvsockd has connected for it: it is behind the strangers
    p.stdin.write(b'\n')
    p.stdin.flush()
    assert int(p.stdout.readline()) == MANY // 64
    ended(p)
    ended(c)


@case
def killed(w):
    """kill -9 of a program: its peer learns it, and its port is free."""
    for there, here, port in Pair(w).both_ways():
        for victim in range(2):
            p = serve_prog(there, 'hold', port)
            c = here.prog('held', here.peer, port)
            assert c.stdout.readline() == b'held\n'
            (p, c)[victim].kill()
            if victim == 0:
                ended(c)
            else:
                p.kill()
            ended((p, c)[victim], -signal.SIGKILL)
            p.wait()
            until(lambda: not listening(port), 'the port to be free')


@case
def zvsockd_is_killed(w):
    """Programs learn it; then it is as on a machine without vsock. They go on with the next one."""
    pair = Pair(w)
    p = serve_prog(pair.host, 'hold', PORT)
    c = pair.guest.prog('held', 2, PORT)
    assert c.stdout.readline() == b'held\n'
    pair.guest_d.kill()
    ended(c)
    pair.guest.run_prog('no_vsock')
    p.kill()
    pair.guest_d.wait()
    w.up('-c', w.path('g.conf'), program=ZVSOCKD_GUEST)
    p = serve_prog(pair.guest, 'echo_threads', PORT + 20, 1)
    pair.host.run_prog('client_threads', 5, PORT + 20, 1)
    ended(p)


@case
def while_the_guest_has_no_device(w):
    """There is no CID then, nor anybody to connect to; who listens already is reached later."""
    other = '[guest other]\ncid = 6\nsocket = DIR/other.sock\naf_vsock = none\n'
    other_device = '[device other]\nuri = vhost-user:DIR/other.sock\naf_vsock = none\n'
    w.up('-c', w.write('h.conf', HOST + other), log='host.log')
    guest_d = w.up('-c', w.write('g.conf', DEVICE + other_device), program=ZVSOCKD_GUEST)
    guest, host = Side(w, 'guest', 2), Side(w, 'host', 5)

    def reload(conf):
        w.write('g.conf', conf + other_device)
        w.told = ''
        guest_d.send_signal(signal.SIGHUP)
        w.wait_told('READY=1', guest_d)
    reload(DEVICE.replace('vm.sock', 'none.sock'))
    p = guest.prog('without_device', PORT)
    assert p.stdout.readline() == b'waits\n'
    said = subprocess.run([ZVSOCK_RUN, '--dir', w.path('guest'), '--check'], stdout=subprocess.PIPE, check=False).stdout
    assert b'no local CID: no device is attached' in said, said
    reload(DEVICE)

    def reached():
        return host.prog('question', 5, PORT, stderr=subprocess.DEVNULL).wait(LIMIT) == 0
    until(reached, 'the device to be attached')
    ended(p)


@case
def socat_as_it_is(w):
    needs('socat')
    data = os.urandom(4 * MIB)
    pair = Pair(w)
    for there, here, port in pair.both_ways():
        p = serve(there, port, 'socat', '-t', LIMIT, f'VSOCK-LISTEN:{port},fork', 'EXEC:sha256sum')
        back = here.run('socat', '-t', LIMIT, '-', f'VSOCK-CONNECT:{here.peer}:{port}', data=data)
        assert back.split()[0].decode() == hashlib.sha256(data).hexdigest(), back
        p.terminate()
        p.wait()
        p = serve(there, port + 1, 'socat', '-t', LIMIT, f'VSOCK-LISTEN:{port + 1},fork,backlog=250', 'PIPE')
        here.run_prog('client_threads', here.peer, port + 1, MANY)
        p.terminate()
        p.wait()


@case
def ncat_as_it_is(w):
    needs('ncat')
    data = os.urandom(4 * MIB)
    for there, here, port in Pair(w).both_ways():
        with open(w.path('got'), 'w+b') as f:
            p = serve(there, port, 'ncat', '--vsock', '-l', '-p', port, '--recv-only', stdout=f)
            here.run('ncat', '--vsock', '--send-only', here.peer, port, data=data)
            ended(p)
            f.seek(0)
            assert f.read() == data


@case
def nbdkit_and_nbdcopy(w):
    """A block device over vsock: written, read back, and asked about."""
    needs('nbdkit', 'nbdcopy', 'nbdinfo')
    with open(w.path('image'), 'wb') as f:
        f.write(os.urandom(8 * MIB))
    for there, here, port in Pair(w).both_ways():
        p = serve(there, port, 'nbdkit', '-f', '--vsock', '--port', port, 'memory', '8M')
        uri = f'nbd+vsock://{here.peer}:{port}'
        here.run('nbdcopy', w.path('image'), uri)
        here.run('nbdcopy', '--connections=4', uri, w.path('back'))
        assert here.run('nbdinfo', '--size', uri).strip() == str(8 * MIB).encode()
        with open(w.path('image'), 'rb') as a, open(w.path('back'), 'rb') as b:
            assert a.read() == b.read()
        os.unlink(w.path('back'))
        p.terminate()
        p.wait(LIMIT)


if __name__ == '__main__':
    if sys.argv[5:]:
        zvd_program.CASES[:] = [c for c in zvd_program.CASES if c.__name__ in sys.argv[5:]]
    sys.exit(main())
