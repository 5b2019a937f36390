#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd as the guest, [device NAME], beside a zvsockd that is its host: programs of both sides at once, the device
lost and back, what needs no DPDK, and what users get wrong.

usage: test_zvsockd_device.py ZVSOCKD ZVSOCKD-GUEST ZVSOCKCTL
"""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from zvd_program import LIMIT, PATIENT, ZVSOCKD, case, main, reload, until

ZVSOCKD_GUEST, ZVSOCKCTL = sys.argv[2:4]
MIB = 1 << 20
HOST = f'[daemon]\ncontrol = DIR/hc\n[guest vm]\ncid = 5\nsocket = DIR/vm.sock\nunix = DIR/h\nbuiltin = echo:7, discard:9\n{PATIENT}'
DEVICE = f'[daemon]\ncontrol = DIR/gc\n[device vm0]\nuri = vhost-user:DIR/vm.sock\nunix = DIR/g\nbuiltin = echo:7\n{PATIENT}'


def both(w, device=DEVICE, program=ZVSOCKD_GUEST):
    """The host's zvsockd (log "host") and the guest's (log "log")."""
    h = w.up('-c', w.write('h.conf', HOST), log='host')
    return h, w.up('-c', w.write('c', device), program=program)


def ctl(w, *words, of='gc'):
    done = subprocess.run([ZVSOCKCTL, '--json', '--socket', w.path(of), *words], capture_output=True, text=True,
                          timeout=LIMIT, check=True, stdin=subprocess.DEVNULL)
    return json.loads(done.stdout)


def device(w):
    return ctl(w, 'guests', 'vm0')['guests'][0]


def connect(w, name, port):
    """A program that connects through the hybrid socket @name, and has been let in."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(LIMIT)
    s.connect(w.path(name))
    s.sendall(f'CONNECT {port}\n'.encode())
    line = b''
    while not line.endswith(b'\n'):
        byte = s.recv(1)
        assert byte, f'{name}: CONNECT {port} was refused'
        line += byte
    assert line.startswith(b'OK '), line
    return s


def refused(w, name, port):
    try:
        connect(w, name, port)
    except AssertionError:
        return True
    return False


def listen(w, name):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(LIMIT)
    s.bind(w.path(name))
    s.listen(16)
    return s


def pour(s, data):
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)


def drain(s):
    """All that comes, to the end of the stream."""
    data = bytearray()
    while piece := s.recv(1 << 16):
        data += piece
    return bytes(data)


class Together:
    """Functions that run at the same time; the first that fails is what went wrong."""

    def __init__(self):
        self.threads, self.wrong = [], []

    def start(self, function, *args):
        def run():
            try:
                function(*args)
            except BaseException as why:  # noqa: B902  told by join()
                self.wrong.append(why)
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def join(self):
        for t in self.threads:
            t.join(LIMIT)
            assert not t.is_alive(), 'a transfer stands still'
        if self.wrong:
            raise self.wrong[0]


def echoed(s, size):
    """@size random bytes there and back; each side ends its direction when it has said all."""
    data = os.urandom(size)
    writer = threading.Thread(target=pour, args=(s, data), daemon=True)
    writer.start()
    got = drain(s)
    writer.join(LIMIT)
    s.close()
    assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest(), f'{len(got)} of {size} bytes came back'


# ---- programs of both sides

@case
def programs_of_both_sides_at_once(w):
    """Unix sockets, builtin services and TCP, in both directions at the same time; half-close is carried over."""
    tcp = socket.create_server(('127.0.0.1', 0))
    tcp.settimeout(LIMIT)
    port = tcp.getsockname()[1]
    _, d = both(w, DEVICE + f'queues = 1\ntcp = 80=127.0.0.1:{port}\n')
    served, work = {'g_5000': listen(w, 'g_5000'), 'h_6000': listen(w, 'h_6000')}, Together()

    def serve(listener):
        s, _ = listener.accept()
        pour(s, drain(s))
        s.close()

    for _ in range(3):
        work.start(lambda: echoed(connect(w, 'g', 7), MIB))       # guest program, the host's echo
        work.start(lambda: echoed(connect(w, 'h', 7), MIB))       # host program, the guest's echo
        work.start(lambda: echoed(connect(w, 'g', 6000), MIB))    # guest program, host program
        work.start(serve, served['h_6000'])
        work.start(lambda: echoed(connect(w, 'h', 5000), MIB))    # host program, guest program
        work.start(serve, served['g_5000'])
        work.start(lambda: echoed(connect(w, 'h', 80), MIB))      # host program, TCP in the guest
        work.start(serve, tcp)
    work.join()
    until(lambda: not ctl(w, 'list')['connections'], 'the last connection to end')
    stats = ctl(w, 'stats', 'vm0')['guests'][0]['endpoints']
    assert stats['host_joined'] == 6 and stats['guest_joined'] == 9, stats
    tcp.close()
    for s in served.values():
        s.close()
    w.end(d)


@case
def what_nobody_serves_is_refused(w):
    _, d = both(w)
    assert refused(w, 'g', 4000) and refused(w, 'h', 4000)
    until(lambda: 'CONNECT 4000: refused: nobody listens there' in w.log(), 'the reason')
    w.end(d)


@case
def zvsockctl_works_there(w):
    """guests, list, stats and capture, and the words are those of a device."""
    _, d = both(w)
    s = connect(w, 'g', 7)
    until(lambda: device(w)['peer'] != 'unknown', 'HELLO to be answered')  # a connect may be quicker
    info = device(w)
    assert (info['kind'], info['cid'], info['state'], info['peer']) == ('device', 5, 'up', 'zvsock'), info
    assert info['devices'] == [f'vhost-user:{w.path("vm.sock")}'] and 'groups' not in info, info
    [conn] = ctl(w, 'list')['connections']
    assert (conn['local_cid'], conn['peer_cid'], conn['peer_port']) == (5, 2, 7), conn
    assert conn['endpoint'] == f'unix:{w.path("g")}', conn
    capture = subprocess.Popen([ZVSOCKCTL, '--socket', w.path('gc'), '--count=2', 'capture', w.path('pcap'), 'vm0'],
                               stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    w.procs.append(capture)
    until(lambda: os.path.exists(w.path('pcap')) and os.path.getsize(w.path('pcap')) >= 24, 'the capture to begin')
    end = time.monotonic() + LIMIT
    while capture.poll() is None:
        assert time.monotonic() < end, 'the capture saw no packet'
        s.sendall(b'needle')
        assert s.recv(6) == b'needle'
    with open(w.path('pcap'), 'rb') as f:
        assert b'needle' in f.read()
    capture.stderr.close()
    s.close()
    w.end(d)


@case
def an_idle_device_sleeps(w):
    """Its lcore makes no round more while nothing happens."""
    _, d = both(w)
    echoed(connect(w, 'g', 7), MIB)

    def rests():
        rounds = [ctl(w, 'stats')['lcores'][0]['rounds'] for _ in range(2)]
        return rounds[0] == rounds[1]
    until(rests, 'the lcore to sleep')
    echoed(connect(w, 'g', 7), 1000)  # and is woken
    w.end(d)


# ---- the device goes

@case
def backend_killed_and_back(w):
    """A cut stream does not end as a whole one does: TCP is reset. The daemon stays, says so once, and is back by itself."""
    tcp = socket.create_server(('127.0.0.1', 0))
    tcp.settimeout(LIMIT)
    h, d = both(w, DEVICE + f'tcp = 80=127.0.0.1:{tcp.getsockname()[1]}\n')
    host = connect(w, 'h', 80)
    guest, _ = tcp.accept()
    guest.settimeout(LIMIT)
    host.sendall(b'some of it')
    assert guest.recv(100, socket.MSG_PEEK)
    waiting = connect(w, 'g', 7)
    w.end(h, signal.SIGKILL, -signal.SIGKILL)
    try:
        drain(guest)
        raise AssertionError('the stream that was cut ended as if it were whole')
    except ConnectionResetError:
        pass
    try:
        assert drain(waiting) == b''
    except ConnectionResetError:
        pass
    assert refused(w, 'g', 7)
    assert d.poll() is None and device(w)['state'] == 'down', device(w)
    until(lambda: 'CONNECT 7: the device is gone or not running' in w.log(), 'the reason')
    h = w.start('-c', w.path('h.conf'), log='host')
    until(lambda: device(w)['state'] == 'up', 'the device to be back')
    echoed(connect(w, 'g', 7), MIB)
    echoed(connect(w, 'h', 7), MIB)
    assert w.log().count('reconnecting') == 1 and w.log().count('connected again') == 1, w.log()
    assert 'device=vm0 cid=5 msg="vhost-user ' in w.log(), w.log()
    for s in (tcp, host, guest, waiting):
        s.close()
    w.end(d)


@case
def a_reload_opens_what_has_gone(w):
    """Until then the library has tried, and from then on zvsockd does. A device that is there goes on."""
    h, d = both(w)
    s = connect(w, 'g', 7)
    reload(w, d, DEVICE, 'devices: 1 of 1')
    s.sendall(b'still there')
    assert s.recv(100) == b'still there'
    s.close()
    w.end(h)
    until(lambda: device(w)['state'] == 'down', 'the device to be gone')
    reload(w, d, DEVICE, 'devices: 0 of 1, lcores: 1; not started: vm0')
    assert device(w)['state'] == 'failed' and 'vm.sock' in device(w)['error'], device(w)
    w.start('-c', w.path('h.conf'), log='host')
    w.wait_told('devices: 1 of 1', d)
    echoed(connect(w, 'g', 7), 1000)
    w.end(d)


@case
def another_cid(w):
    """The host gives the device another CID: the log and zvsockctl have it."""
    h, d = both(w)
    w.write('h.conf', HOST.replace('cid = 5', 'cid = 6'))
    h.send_signal(signal.SIGHUP)
    until(lambda: device(w)['cid'] == 6 and device(w)['state'] == 'up', 'the new CID')
    until(lambda: 'device=vm0 cid=6 msg="the device has another CID now, 6"' in w.log(), 'a word about it')
    echoed(connect(w, 'g', 7), 1000)
    w.end(d)


@case
def a_device_that_is_not_there(w):
    """Alone it ends the program, with the reason."""
    d = w.start('-c', w.write('c', DEVICE), program=ZVSOCKD_GUEST)
    assert d.wait(LIMIT) == 1
    assert 'none of the devices could be started' in w.log() and 'vm.sock' in w.log(), w.log()


@case
def a_device_that_comes_late(w):
    """Beside another one it is tried again by itself."""
    h = w.up('-c', w.write('h.conf', HOST), log='host')
    d = w.start('-c', w.write('c', DEVICE + '[device late]\nuri = vhost-user:DIR/late.sock\n'), program=ZVSOCKD_GUEST)
    w.wait_told('devices: 1 of 2, lcores: 1; not started: late', d)
    w.write('h.conf', HOST + '[guest late]\ncid = 6\nsocket = DIR/late.sock\n')
    h.send_signal(signal.SIGHUP)
    w.wait_told('devices: 2 of 2', d)
    w.end(d)


@case
def an_unknown_kind_of_device(w):
    for uri, why in (('nothing:x', 'nothing'), ('vfio:0000:ff:1f.7', '0000:ff:1f.7')):
        d = w.start('-d', f'name=a,uri={uri}', program=ZVSOCKD_GUEST)
        assert d.wait(LIMIT) == 1
        [line] = [x for x in w.log().splitlines() if 'device=a' in x]
        assert 'not started: ' in line and why in line, w.log()


# ---- no DPDK

def threads(proc):
    names = set()
    for task in os.listdir(f'/proc/{proc.pid}/task'):
        with open(f'/proc/{proc.pid}/task/{task}/comm', encoding='utf-8') as f:
            names.add(f.read().strip())
    return names


@case
def devices_start_no_dpdk(w):
    """Neither threads nor descriptors of EAL, until a reload brings a guest; the device goes on meanwhile."""
    h, d = both(w, program=ZVSOCKD)
    of_eal = threads(h) - {'zvsockd', 'lcore'}
    assert of_eal, 'the host has no thread by which EAL is known'
    assert threads(d) == {'zvsockd', 'lcore', 'zvsock-ctl'}, threads(d)
    s = connect(w, 'g', 7)
    reload(w, d, DEVICE + '[guest nested]\ncid = 9\nsocket = DIR/n.sock\nbuiltin = echo:7\n', 'guests: 1 of 1, devices: 1 of 1')
    assert threads(d) & of_eal, threads(d)
    s.sendall(b'still there')
    assert s.recv(100) == b'still there'
    s.close()
    nested = w.up('-d', f'name=n,uri=vhost-user:{w.path("n.sock")},unix={w.path("n")}', program=ZVSOCKD_GUEST, log='nested')
    echoed(connect(w, 'n', 7), MIB)
    w.end(nested)
    w.end(d)


@case
def zvsockd_guest_serves_no_guests(w):
    d = w.start('-g', f'name=web,cid=3,socket={w.path("s")}', program=ZVSOCKD_GUEST)
    assert d.wait(LIMIT) == 1
    assert 'guest=web cid=3 msg="not started: zvsockd-guest has been built without' in w.log(), w.log()


if __name__ == '__main__':
    sys.exit(main())
