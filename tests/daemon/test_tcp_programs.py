#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""TCP programs as they are, under zvsock-run --tcp, in a network namespace without a network card: curl and Python reach
a server that only zvsockd's side can reach, by name and by address.

usage: test_tcp_programs.py ZVSOCKD ZVSOCKD-GUEST ZVSOCK-RUN ZVSOCKCTL
"""
import os
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'e2e', 'dropin'))
# pylint: disable=wrong-import-position
import build  # noqa: E402
from zvd_program import LIMIT, PATIENT, Skip, case, main  # noqa: E402

ZVSOCKD, ZVSOCKD_GUEST, ZVSOCK_RUN, ZVSOCKCTL = sys.argv[1:5]
MODES = ('preload', 'seccomp')
HOST = f'''[daemon]
control = DIR/hc
[guest vm]
cid = 5
socket = DIR/vm.sock
tcp_out = 1080
tcp_allow = web.zvsock.test:8000, 192.0.2.2:8000
{PATIENT}'''
DEVICE = f'''[daemon]
control = DIR/gc
af_vsock = DIR/guest
[device vm0]
uri = vhost-user:DIR/vm.sock
listen = DIR/socks:1080
{PATIENT}'''
SERVER = '''
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.urandom(1 << 20) if self.path == '/large' else b'hello\\n'
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128 # with less the kernel resets some of those that come at once
Server(('', 8000), Page).serve_forever()
'''


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.02)


def needs():
    for program in ('unshare', 'nsenter', 'ip', 'mount'):
        if not shutil.which(program):
            raise Skip(f'{program} is not installed')
    done = subprocess.run(['unshare', '-nm', 'ip', 'link', 'set', 'lo', 'up'], capture_output=True, text=True,
                          timeout=LIMIT, check=False)
    if done.returncode:
        raise Skip(f'no namespaces here: {done.stderr.strip()}')


class Guest:
    """A guest without a network card: an empty network namespace."""

    def __init__(self, w):
        needs()
        self.w = w
        hosts = w.write('hosts', '127.0.0.1 localhost\n192.0.2.1 web.zvsock.test\n127.0.0.1 bound.zvsock.test\n')
        side = f'''mount --bind {hosts} /etc/hosts && ip link set lo up && ip addr add 192.0.2.1/32 dev lo &&
ip addr add 192.0.2.2/32 dev lo && ip addr add 192.0.2.3/32 dev lo && exec "$@"'''
        host = w.up('-nm', 'sh', '-c', side, 'sh', ZVSOCKD, '-c', w.write('h.conf', HOST), program='unshare',
                    log='host.log')
        w.procs.append(subprocess.Popen(['nsenter', '-t', str(host.pid), '-n', sys.executable,
                                         w.write('server.py', SERVER)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        w.up('-c', w.write('g.conf', DEVICE), program=ZVSOCKD_GUEST, log='guest.log')
        self.env = {**os.environ, 'ZVSOCK_AF_VSOCK': w.path('guest'), 'no_proxy': '*'}
        until(lambda: self.run(*self.tcp('curl', '-s', 'http://192.0.2.2:8000/')).returncode == 0, 'the server')

    def run(self, *args, data=None):
        return subprocess.run(['unshare', '-n', *args], input=data, capture_output=True, env=self.env, timeout=LIMIT,
                              check=False)

    @staticmethod
    def tcp(*args, mode='preload'):
        return [ZVSOCK_RUN, '--mode', mode, '--tcp', *args]

    def out(self, *args, data=None, mode='preload'):
        done = self.run(*self.tcp(*args, mode=mode), data=data)
        assert done.returncode == 0, (args, done)
        return done.stdout


@case
def curl_by_name_and_by_address(w):
    if not shutil.which('curl'):
        raise Skip('curl is not installed')
    g = Guest(w)
    data = os.urandom(1 << 20)
    for mode in MODES:
        for where in ('web.zvsock.test', '192.0.2.2'):
            assert g.out('curl', '-sS', f'http://{where}:8000/', mode=mode) == b'hello\n'
        assert len(g.out('curl', '-sS', 'http://web.zvsock.test:8000/large', mode=mode)) == 1 << 20
        assert g.out('curl', '-sS', '--data-binary', '@-', 'http://web.zvsock.test:8000/', data=data, mode=mode) == data
        # Without it there is no way out; and what no rule allows there is none either.
        assert g.run('curl', '-sS', 'http://192.0.2.2:8000/').returncode != 0
        for where in ('192.0.2.3:8000', '192.0.2.2:8001', 'bound.zvsock.test:8000', 'nobody.zvsock.test:8000'):
            done = g.run(*g.tcp('curl', '-sS', f'http://{where}/', mode=mode))
            assert done.returncode == 7 and b'onnect' in done.stderr, (where, done)


PYTHON = '''
import errno, socket, sys, threading, urllib.request
assert urllib.request.urlopen('http://web.zvsock.test:8000/', timeout=50).read() == b'hello\\n'
s = socket.create_connection(('web.zvsock.test', 8000), 50)
assert s.getpeername()[1] == 8000 and s.getsockname()[0] == '0.0.0.0', s
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
d = s.dup()
assert d.getpeername() == s.getpeername()
s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
s.shutdown(socket.SHUT_WR)
got = b''
while more := d.recv(100):
    got += more
assert got.endswith(b'hello\\n'), got
six = socket.socket(socket.AF_INET6)
six.connect(socket.getaddrinfo(sys.argv[1], 8000, socket.AF_INET6)[0][4])
assert six.getpeername()[1] == 8000
for where, why in ((('192.0.2.3', 8000), errno.EACCES), (('nobody.zvsock.test', 8000), errno.EHOSTUNREACH)):
    try:
        socket.create_connection(where, 50)
        sys.exit(f'{where} was reached')
    except OSError as e:
        assert e.errno == why, e
# More names at once than zvsockd looks up at a time for a guest.
errors = []
def by_name():
    try:
        socket.create_connection(('web.zvsock.test', 8000), 50).close()
    except OSError as e:
        errors.append(e)
threads = [threading.Thread(target=by_name) for _ in range(40)]
for t in threads:
    t.start()
for t in threads:
    t.join()
assert not errors, errors
# The loopback is the guest's own.
server = socket.create_server(('127.0.0.1', 0))
c = socket.create_connection(server.getsockname())
assert c.family == socket.AF_INET and c.getpeername() == server.getsockname()
n = socket.socket()
n.setblocking(False)
assert n.connect_ex(('192.0.2.2', 8000)) == 0
n.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
try:
    n.recv(1)
except BlockingIOError:
    pass # the socket that has its number is as it was
'''

ASYNC = '''
import asyncio
async def one():
    r, w = await asyncio.open_connection('web.zvsock.test', 8000)
    w.write(b'GET / HTTP/1.0\\r\\n\\r\\n')
    assert (await r.read()).endswith(b'hello\\n')
    w.close()
async def many():
    await asyncio.gather(*(one() for _ in range(50)))
asyncio.run(many())
'''


@case
def python(w):
    g = Guest(w)
    done = g.run('ip', 'link', 'set', 'lo', 'up')
    assert done.returncode == 0, done
    lo = ['sh', '-c', 'ip link set lo up && exec "$@"', 'sh']
    for mode, six in (('preload', 'web.zvsock.test'), ('seccomp', '::ffff:192.0.2.2')):
        for text in (PYTHON, ASYNC):
            done = g.run(*lo, *g.tcp(sys.executable, '-c', text, six, mode=mode))
            assert done.returncode == 0, (mode, done)


@case
def static_go_program(w):
    """Its own system calls and its own resolver: names and addresses, 50 at once, what is refused."""
    try:
        get = build.go('get.go', w.path('get'), w.path('gocache'))
    except build.Lacking as why:
        raise Skip(str(why)) from None
    g = Guest(w)
    for where in ('web.zvsock.test', '192.0.2.2'):
        lengths = g.out(get, f'{where}:8000', '/', '50', mode='auto').split()
        assert lengths == [b'6'] * 50, lengths
        assert g.out(get, f'{where}:8000', '/large', '1', mode='auto').split() == [b'%d' % (1 << 20)]
    assert g.out(get, '192.0.2.2:8000', mode='auto') == b'0.0.0.0:0 192.0.2.2:8000\n'
    for where, why in (('192.0.2.3:8000', b'permission denied'), ('nobody.zvsock.test:8000', b'no route to host'),
                       ('192.0.2.2:8001', b'permission denied')):
        done = g.run(*g.tcp(get, where, mode='auto'))
        assert done.returncode == 1 and why in done.stdout, (where, done)


@case
def curl_by_a_forward(w):
    """SOCKS5 as curl speaks it, through zvsockd-guest's listen: a name that the guest does not know."""
    if not shutil.which('curl') or not shutil.which('socat'):
        raise Skip('curl or socat is not installed')
    g = Guest(w)
    text = (f'ip link set lo up && socat TCP-LISTEN:1080,bind=127.0.0.1,fork UNIX-CONNECT:{w.path("socks")} & '
            'until socat -u OPEN:/dev/null TCP:127.0.0.1:1080 2>/dev/null; do sleep 0.05; done; '
            'curl -sS --noproxy "" --socks5-hostname 127.0.0.1:1080 http://web.zvsock.test:8000/; code=$?; kill $!; exit $code')
    done = g.run('sh', '-c', text)
    assert done.returncode == 0 and done.stdout == b'hello\n', done


@case
def what_is_wrong_is_said(w):
    g = Guest(w)
    inner = [ZVSOCK_RUN, '--mode', 'seccomp', '--tcp', 'true']
    done = g.run(ZVSOCK_RUN, '--mode', 'seccomp', *inner)
    assert done.returncode == 125 and b'--tcp=1080: the zvsock-run that this one runs under' in done.stderr, done
    done = g.run(ZVSOCK_RUN, '--mode', 'seccomp', '--tcp', *inner)
    assert done.returncode == 0 and not done.stderr, done
    done = g.run(ZVSOCK_RUN, '--tcp=x', 'true')
    assert done.returncode == 125 and b'--tcp=x: not a vsock port' in done.stderr, done
    for mode in MODES:
        done = g.run(ZVSOCK_RUN, '--tcp=1081', '--mode', mode, 'curl', '-sS', 'http://192.0.2.2:8000/')
        assert done.returncode == 7, done  # nobody is at that port: as without a network
    answer = subprocess.run([ZVSOCKCTL, '-s', w.path('hc'), 'stats', 'vm'], capture_output=True, text=True, timeout=LIMIT,
                            check=True)
    assert 'tcp_out_denied' in answer.stdout


if __name__ == '__main__':
    sys.exit(main())
