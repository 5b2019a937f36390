#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Datagrams of AF_VSOCK programs under zvsock-run, on the host and in a guest, and what others do to them.

usage: test_dropin_dgram.py ZVSOCKD ZVSOCKD-GUEST ZVSOCK-RUN MODE [CASE...]
"""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys

import zvd_program
from dropin_pair import DEVICE, HOST, MODE, PORT, ZVSOCK_RUN, ZVSOCKD_GUEST, Pair, Side, ended, serve_prog, until
from zvd_program import LIMIT, Skip, case, main

PROG = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'dropin_dgram.py')
MANY = 1000
APP_PORT = 50000  # from 49152 on any application may have it
NOBODY = 65534


def dgram(side, *args, **more):
    return side.start(sys.executable, PROG, *args, **more)


def serve(side, *args, **more):
    p = dgram(side, *args, **more)
    assert p.stdout.readline() == b'ready\n', f'{args}: ended with {p.wait(LIMIT)}'
    return p


def run(side, *args):
    return side.run(sys.executable, PROG, *args)


def counters(w, guest='vm'):
    said = subprocess.run([os.environ['ZVSOCKCTL'], '--json', '-s', w.path('hc'), 'stats'], stdout=subprocess.PIPE,
                          check=True).stdout
    return next(g for g in json.loads(said)['guests'] if g['name'] == guest)['endpoints']


def lost_here(w):
    """Between programs of the host: of all lcores."""
    said = subprocess.run([os.environ['ZVSOCKCTL'], '--json', '-s', w.path('hc'), 'stats'], stdout=subprocess.PIPE,
                          check=True).stdout
    return sum(lc['dgrams_lost'] for lc in json.loads(said)['lcores'])


def lost(w):
    return counters(w)['af_vsock_dgrams_lost']


def label_of(port):
    """The name of the datagram socket that has @port; None: nobody has, or it was passed over (see dropin_pair.listening())."""
    with open('/proc/net/unix', encoding='utf-8', errors='replace') as f:
        found = re.search(rf'@(zvsock:P:2:\d+:{port}:-:-:\w+)', f.read())
    return found and '\0' + found.group(1)


@case
def there_and_back(w):
    pair = Pair(w)
    for i, server in enumerate(('echo', 'echo_selected', 'echo_asyncio')):
        for there, here, port in pair.both_ways():
            p = serve(there, server, port + i)
            run(here, 'talk', here.peer, port + i)
            ended(p)


@case
def both_ends_on_one_side(w):
    pair = Pair(w)
    for side, own in ((pair.host, 2), (pair.guest, 5)):
        for cid in (1, own):
            p = serve(side, 'echo', PORT)
            run(side, 'talk', cid, PORT)
            ended(p)


@case
def applications_of_zvsockd(w):
    """Programs with libzvsock (daemon:) are on the same machine: datagrams both ways, who asks first."""
    program = os.environ.get('DGRAM_APP')
    if not program:
        raise Skip('DGRAM_APP names a program with libzvsock')
    w.up('-c', w.write('h.conf', '[daemon]\ncontrol = DIR/hc\naf_vsock = DIR/host\napplications = DIR/apps\n'), log='host.log')
    uri, side = f'daemon:{w.path("apps")}', Side(w, 'host', 1)
    for cid in (1, 2):
        app = w.start(uri, 'echo', str(APP_PORT), program=program, log='app', stdout=subprocess.PIPE)
        assert app.stdout.readline() == b'ready\n', w.log('app')
        run(side, 'talk', cid, APP_PORT)
        ended(app)
        p = serve(side, 'echo', PORT)
        app = w.start(uri, 'ask', str(cid), str(PORT), program=program, log='app', stdout=subprocess.PIPE)
        said, _ = app.communicate(timeout=LIMIT)
        assert app.returncode == 0 and said.decode() == f'? from 2:{PORT}\n', (said, w.log('app'))
        p.kill()
        p.wait()


@case
def forked_executed_and_passed(w):
    for there, here, port in Pair(w).both_ways():
        p = serve(there, 'echo_given', port)
        run(here, 'ask', here.peer, port, 3)
        run(here, 'say_end', here.peer, port)
        ended(p)


@case
def what_calls_answer(w):
    """A device whose guest has datagrams for nobody is as a stock guest's: EOPNOTSUPP."""
    more = '[guest plain]\ncid = 6\nsocket = DIR/plain.sock\n'
    w.up('-c', w.write('h.conf', HOST + more), log='host.log')
    w.up('-c', w.write('g.conf', DEVICE + '[device plain]\nuri = vhost-user:DIR/plain.sock\naf_vsock = none\n'),
         program=ZVSOCKD_GUEST)
    run(Side(w, 'host', 5), 'answers', 5, PORT, 6)


@case
def on_two_lcores(w):
    """The first guest's lcore is home to all programs; the other guest is on another one."""
    first = '[daemon]\ncpus = any, any\n'
    w.up('-c', w.write('h.conf', HOST.replace('[daemon]\n', first).replace(
        '[guest vm]', '[guest first]\ncid = 9\nsocket = DIR/first.sock\n[guest vm]')), log='host.log')
    w.up('-c', w.write('g.conf', DEVICE), program=ZVSOCKD_GUEST)
    host, guest = Side(w, 'host', 5), Side(w, 'guest', 2)
    for there, here in ((host, guest), (guest, host)):
        p = serve(there, 'echo', PORT)
        run(here, 'flood', here.peer, PORT + 1, MANY)
        run(here, 'settle', here.peer, PORT)
        run(here, 'talk', here.peer, PORT)
        ended(p)


@case
def a_reader_that_never_reads(w):
    """What it has no room for is lost and counted; a stream of the same guest goes on, and other datagrams do."""
    pair = Pair(w)
    p = serve(pair.host, 'never_reads', PORT, stdin=subprocess.PIPE)
    q = serve(pair.host, 'echo', PORT + 1)
    stream = serve_prog(pair.host, 'echo_threads', PORT + 2, 20)
    floods = [dgram(pair.guest, 'flood', 2, PORT, MANY) for _ in range(2)]
    pair.guest.run_prog('client_threads', 2, PORT + 2, 20)
    ended(stream)
    for f in floods:
        ended(f)
    # it has all that fits, of what has come
    run(pair.guest, 'settle', 2, PORT + 1)
    run(pair.guest, 'talk', 2, PORT + 1)
    ended(q)
    was = counters(w)
    assert was['af_vsock_dgrams_lost'] > 0 and was['af_vsock_dgrams'] > 0, was
    out, _ = p.communicate(b'', timeout=LIMIT)
    assert 0 < int(out) < 2 * MANY, out


@case
def a_flood_to_nobody(w):
    pair = Pair(w)
    p = serve(pair.guest, 'echo', PORT)
    run(pair.host, 'flood', 5, PORT + 1, MANY)
    run(pair.host, 'settle', 5, PORT)
    run(pair.host, 'talk', 5, PORT)
    ended(p)


@case
def lost_between_programs(w):
    """The log says so, not more than once a second; the lcore counts them, as no guest's counter can."""
    pair = Pair(w)
    run(pair.host, 'flood', 1, PORT, MANY)

    def said():
        with open(w.path('host.log'), encoding='utf-8') as f:
            return [line for line in f if f'to port {PORT} of this machine is lost' in line]
    until(said, 'a line in the log')
    assert len(said()) < MANY / 10, said()
    until(lambda: lost_here(w) == MANY, f'{MANY} datagrams to be counted')


@case
def to_a_guest_that_is_gone(w):
    """A program is connected to it when a reload takes it away. No guest's counter is left: the lcore counts."""
    pair = Pair(w)
    c = serve(pair.host, 'sends_when_told', 5, PORT, stdin=subprocess.PIPE)
    w.write('h.conf', HOST.split('[guest vm]', maxsplit=1)[0] + '[guest other]\ncid = 9\nsocket = DIR/other.sock\n')
    w.told = ''
    pair.host_d.send_signal(signal.SIGHUP)
    w.wait_told('READY=1', pair.host_d)
    assert lost_here(w) == 0
    c.stdin.write(b'\n')
    c.stdin.flush()
    ended(c)
    until(lambda: lost_here(w) == 1, 'the datagram to be counted')


@case
def forged(w):
    """Who is not zvsockd sends nothing to a program; who has no port sends nothing to zvsockd."""
    pair = Pair(w)
    before = lost(w)
    p = serve(pair.host, 'echo', PORT)
    name = until(lambda: label_of(PORT), 'the name of the port')
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(name.replace(':P:', ':Z:').replace(':-:-:', ':5:77:'))
    for data in (b'', b'x', b'end', b'end' + b'\0' * 8, b'x' * 70000):
        try:
            s.sendto(data, socket.MSG_DONTWAIT, name)
        except BlockingIOError as e:  # it would be in its queue
            raise AssertionError(data[:20]) from e
    head = struct.pack('IHHIIQ', 0x4944565a, 1, 0, 2, PORT, 0)
    unnamed = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for sender in (s, unnamed):
        for data in (b'', head[:5], head + b'end', b'\0' * 24 + b'end', head[:6] + b'\1\0' + head[8:] + b'end'):
            sender.sendto(data, w.path('host/dgram'))
    run(pair.guest, 'talk', 2, PORT)  # the echo has not ended: nothing of that has come
    ended(p)
    assert lost(w) == before


@case
def too_long_for_a_datagram(w):
    """A program that has connected can write more than a datagram has, and AF_UNIX takes it: lost, and counted."""
    pair = Pair(w)
    before = lost(w)
    p = serve(pair.guest, 'echo', PORT)
    run(pair.host, 'too_long', 5, PORT)
    ended(p)
    assert lost(w) == before + 1


@case
def the_label_of_a_closed_socket(w):
    """Whoever takes it gets none of the port's datagrams."""
    pair = Pair(w)
    p = serve(pair.host, 'echo', PORT)
    name = until(lambda: label_of(PORT), 'the name of the port')
    run(pair.guest, 'ask', 2, PORT, 1)
    p.kill()
    p.wait()
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(name)
    run(pair.guest, 'flood', 2, PORT, 20)
    p = serve(pair.host, 'echo', PORT)  # the port is free
    run(pair.guest, 'settle', 2, PORT)
    run(pair.guest, 'talk', 2, PORT)
    ended(p)
    s.setblocking(False)
    try:
        raise AssertionError(s.recv(100))
    except BlockingIOError:
        pass


@case
def zvsockd_is_killed(w):
    """A bound port is known again; a connected socket learns it, and connects anew."""
    pair = Pair(w)
    p = serve(pair.host, 'echo', PORT)
    c = serve(pair.host, 'connected_to_killed', 1, PORT, stdin=subprocess.PIPE)
    pair.host_d.kill()
    pair.host_d.wait()
    c.stdin.write(b'\n')
    c.stdin.flush()
    assert c.stdout.readline() == b'ready\n'
    w.up('-c', w.path('h.conf'), log='host2.log')
    c.stdin.write(b'\n')
    c.stdin.flush()
    ended(c)
    ended(p)


@case
def ports_at_the_own_cid(w):
    pair = Pair(w)
    for there, here in ((pair.host, pair.guest), (pair.guest, pair.host)):
        p = serve(there, 'echo_at_own_cid', PORT)
        run(here, 'talk', here.peer, PORT)
        ended(p)


@case
def threads_send_first(w):
    """The socket gets one port, whichever of them is first."""
    pair = Pair(w)
    p = serve(pair.host, 'echo', PORT)
    run(pair.host, 'threads_send_first', 1, PORT, 20)
    p.wait()


@case
def zvsockctl_lists_them(w):
    pair = Pair(w)
    p = serve(pair.host, 'echo', PORT)
    c = serve(pair.host, 'connected_to_killed', 1, PORT, stdin=subprocess.PIPE)
    said = subprocess.run([os.environ['ZVSOCKCTL'], '-s', w.path('hc'), 'ss'], stdout=subprocess.PIPE, check=True).stdout
    rows = [row.split() for row in said.decode().splitlines() if row.startswith('v_dgr')]
    assert [r for r in rows if r[4] == f'*:{PORT}' and r[5] == '*:*' and r[1] == 'UNCONN' and f'pid={p.pid},' in r[6]], said
    assert [r for r in rows if r[5] == f'1:{PORT}' and r[1] == 'ESTAB' and f'pid={c.pid},' in r[6]], said
    p.kill()
    c.kill()


@case
def unless_asked_for(w):
    """Mode seccomp has them with --dgram only, and says so."""
    pair = Pair(w)
    plain = Side(w, 'host', 5)
    plain.options = ['--verbose']
    if MODE == 'preload':
        run(plain, 'answers_alone')
        return
    p = dgram(plain, 'unsupported', stderr=subprocess.PIPE)
    _, err = p.communicate(timeout=LIMIT)
    assert p.returncode == 0 and b'zvsock-run --dgram' in err, err
    # it is the first one's supervisor that would have to see them
    inner = pair.host.start(ZVSOCK_RUN, '--mode', MODE, '--dgram', 'true')
    ended(inner)
    inner = plain.start(ZVSOCK_RUN, '--mode', MODE, '--dgram', 'true', stderr=subprocess.PIPE)
    _, err = inner.communicate(timeout=LIMIT)
    assert inner.returncode == 125 and b'was started without it' in err, err


if __name__ == '__main__':
    if MODE == 'seccomp':
        Side.options = ['--dgram']
    if sys.argv[5:]:
        zvd_program.CASES[:] = [c for c in zvd_program.CASES if c.__name__ in sys.argv[5:]]
    sys.exit(main())
