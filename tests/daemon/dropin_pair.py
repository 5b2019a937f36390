# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs under zvsock-run on two sides: the host, on a zvsockd, and a guest, on a zvsockd-guest that has the
device. What the files of cases share.
"""
import os
import re
import shutil
import subprocess
import sys
import time

from zvd_program import LIMIT, PATIENT, Skip

ZVSOCKD_GUEST, ZVSOCK_RUN, MODE = sys.argv[2:5]
PROG = os.path.join(os.path.dirname(os.path.realpath(__file__)), 'dropin_prog.py')
MIB = 1 << 20
HOST = f'[daemon]\ncontrol = DIR/hc\naf_vsock = DIR/host\n[guest vm]\ncid = 5\nsocket = DIR/vm.sock\n{PATIENT}'
DEVICE = f'[daemon]\ncontrol = DIR/gc\naf_vsock = DIR/guest\n[device vm0]\nuri = vhost-user:DIR/vm.sock\n{PATIENT}'
PORT = 10000 + os.getpid() * 50  # names of ports are seen by all tests of the machine: see listening()


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not (got := condition()):
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.02)
    return got


class Side:
    """Where programs run: what they know is a directory, and which CID the other side has."""
    options = []  # of zvsock-run

    def __init__(self, w, name, peer_cid):
        self.w, self.peer = w, peer_cid
        self.env = {**os.environ, 'ZVSOCK_AF_VSOCK': w.path(name), 'DROPIN_MODE': MODE}

    def start(self, *args, **more):
        more.setdefault('stdin', subprocess.DEVNULL)
        more.setdefault('stdout', subprocess.PIPE)
        p = subprocess.Popen([ZVSOCK_RUN, '--mode', MODE, *self.options, *map(str, args)], env=self.env, **more)
        self.w.procs.append(p)
        return p

    def prog(self, *args, **more):
        return self.start(sys.executable, PROG, *args, **more)

    def run(self, *args, data=None, rc=0):
        """What the program prints, when it ends well."""
        p = self.start(*args, stdin=subprocess.PIPE)
        out, _ = p.communicate(data, timeout=LIMIT)
        assert p.returncode == rc, f'{args}: ended with {p.returncode}'
        return out

    def run_prog(self, *args):
        return self.run(sys.executable, PROG, *args)


class Pair:
    def __init__(self, w):
        self.host_d = w.up('-c', w.write('h.conf', HOST), log='host.log')
        self.guest_d = w.up('-c', w.write('g.conf', DEVICE), program=ZVSOCKD_GUEST)
        self.host, self.guest = Side(w, 'host', 5), Side(w, 'guest', 2)

    def both_ways(self):
        """(server's side, client's side, a port that is new) in both directions."""
        yield self.host, self.guest, PORT
        yield self.guest, self.host, PORT + 20


def listening(port, kind=1):
    """Some program listens on @port: its name says so, as /proc/net/unix shows it. A read of that file may pass over a socket
    while others come and go beside it: several reads do not."""
    name = re.compile(rf'00010000 000{kind} 01 +\d+ @zvsock:P:{1 if kind == 1 else 5}:\d+:{port}:-:-:')
    for _ in range(4):
        with open('/proc/net/unix', encoding='utf-8', errors='replace') as f:
            if found := name.search(f.read()):
                return found
    return None


def serve(side, port, *command, **more):
    assert not listening(port), f'port {port} is taken by another test'
    p = side.start(*command, **more)

    def up():
        assert p.poll() is None, f'{command}: ended with {p.returncode}'
        return listening(port)
    until(up, f'{command} to listen')
    return p


def serve_prog(side, what, port, *args):
    return serve(side, port, sys.executable, PROG, what, port, *args)


def ended(p, rc=0):
    assert p.wait(LIMIT) == rc, f'{p.args}: ended with {p.returncode}'


def needs(*programs):
    lacks = [p for p in programs if not shutil.which(p)]
    if lacks:
        raise Skip(f'not installed: {", ".join(lacks)}')
