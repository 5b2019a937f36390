#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs, as one writes them with Python's socket module: they know nothing of zvsock.

usage: dropin_prog.py WHAT ARGUMENT...
"""
import array
import asyncio
import base64
import errno
import fcntl
import json
import os
import random
import select
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time

LIMIT = 180
# What mode seccomp does not see, or leaves to AF_UNIX: docs/drop-in.md.
SECCOMP = os.environ.get('DROPIN_MODE') == 'seccomp'
VSOCK, ANY, STREAM, SEQPACKET = socket.AF_VSOCK, socket.VMADDR_CID_ANY, socket.SOCK_STREAM, socket.SOCK_SEQPACKET


def new(kind=STREAM):
    s = socket.socket(VSOCK, kind)
    s.settimeout(LIMIT)
    return s


def listen(port, kind=STREAM):
    s = new(kind)
    s.bind((ANY, int(port)))
    s.listen(256)
    return s


def echo(c):
    with c:
        while data := c.recv(65536):
            c.sendall(data)
        c.shutdown(socket.SHUT_WR)


# ---- servers: each takes COUNT connections, answers all that they say, and ends ----

def echo_threads(port, count):
    s, threads = listen(port), []
    for _ in range(count):
        c, peer = s.accept()
        assert c.getpeername() == peer and c.family == VSOCK, (c, peer)
        threads.append(threading.Thread(target=echo, args=(c,)))
        threads[-1].start()
    for t in threads:
        t.join(LIMIT)


def echo_fork(port, count):
    s, children = listen(port), []
    for _ in range(count):
        c, peer = s.accept()
        pid = os.fork()
        if not pid:
            s.close()
            assert c.getpeername() == peer, c
            echo(c)
            os._exit(0)
        c.close()
        children.append(pid)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0


def echo_exec(port, count):
    """Another program serves what it was given, and finds out by itself what that is."""
    s, children = listen(port), []
    for _ in range(count):
        c, peer = s.accept()
        children.append(subprocess.Popen([sys.executable, __file__, 'serve_given', str(c.fileno()), repr(peer)],
                                         pass_fds=[c.fileno()]))
        c.close()
    for p in children:
        assert p.wait(LIMIT) == 0


def serve_given(fd, peer):
    c = socket.socket(fileno=int(fd))
    assert c.family == VSOCK and c.type == STREAM, c
    assert repr(c.getpeername()) == peer, (c.getpeername(), peer)
    assert c.getsockname()[0] in (2, 5), c.getsockname()
    echo(c)


def echo_dup(port, count):
    """The listening socket gets a number that was known to be something else."""
    old = socket.socket(socket.AF_UNIX)
    fails(errno.EINVAL, old.accept)
    s = listen(port)
    s.setblocking(True)
    os.dup2(s.fileno(), old.fileno())
    s.close()
    for _ in range(count):
        c = socket.socket(fileno=libc_accept(old.fileno()))
        assert c.family == VSOCK and c.getsockname()[1] == port and c.getpeername()[0] > 1, c
        echo(c)


def libc_accept(fd):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    c = libc.accept(fd, None, None)
    if c < 0:
        raise OSError(ctypes.get_errno(), 'accept')
    return c


def echo_pass(port, count):
    """Each connection goes to a process that was there before, by SCM_RIGHTS."""
    here, there = socket.socketpair()
    there.settimeout(LIMIT)
    pid = os.fork()
    if not pid:
        here.close()
        for _ in range(count):
            peer, anc, _, _ = there.recvmsg(100, socket.CMSG_SPACE(4))
            c = socket.socket(fileno=array.array('i', anc[0][2])[0])
            assert c.family == VSOCK and repr(c.getpeername()) == peer.decode(), c
            echo(c)
        os._exit(0)
    s = listen(port)
    for _ in range(count):
        c, peer = s.accept()
        here.sendmsg([repr(peer).encode().ljust(100)[:len(repr(peer))]],
                     [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [c.fileno()]))])
        c.close()
    assert os.waitpid(pid, 0)[1] == 0


def echo_asyncio(port, count):
    async def serve():
        done, s = asyncio.Semaphore(0), listen(port)

        async def one(reader, writer):
            cid, _ = writer.get_extra_info('peername')
            assert cid > 1 and writer.get_extra_info('socket').family == VSOCK, cid
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
            done.release()
        s.setblocking(False)
        async with await asyncio.start_server(one, sock=s, backlog=256):
            for _ in range(count):
                await asyncio.wait_for(done.acquire(), LIMIT)
    asyncio.run(serve())


def echo_selectors(port, count):
    s, sel, over = listen(port), selectors.DefaultSelector(), 0
    s.setblocking(False)
    sel.register(s, selectors.EVENT_READ)
    while over < count:
        for key, _ in sel.select(LIMIT):
            if key.fileobj is s:
                c, _ = s.accept()
                c.setblocking(False)
                sel.register(c, selectors.EVENT_READ)
                continue
            data = key.fileobj.recv(65536)
            if not data:
                sel.unregister(key.fileobj)
                key.fileobj.close()
                over += 1
                continue
            key.fileobj.settimeout(LIMIT)
            key.fileobj.sendall(data)
            key.fileobj.setblocking(False)


# ---- clients: COUNT connections at once, each with bytes of its own ----

def payload(i):
    return random.Random(i).randbytes(1 + i * 311 % 60000)


def client_threads(cid, port, count):
    wrong = []

    def one(i):
        with new() as s:
            s.connect((cid, port))
            if s.getpeername() != (cid, port) or s.family != VSOCK:
                wrong.append(s.getpeername())
            s.sendall(payload(i))
            s.shutdown(socket.SHUT_WR)
            back = b''
            while data := s.recv(65536):
                back += data
            if back != payload(i):
                wrong.append(f'connection {i}: {len(back)} bytes of {len(payload(i))}')
    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(LIMIT)
    assert not wrong and not any(t.is_alive() for t in threads), wrong


def client_asyncio(cid, port, count):
    async def one(i):
        loop, s = asyncio.get_running_loop(), socket.socket(VSOCK, STREAM)
        s.setblocking(False)
        await loop.sock_connect(s, (cid, port))
        assert s.getpeername() == (cid, port), s
        reader, writer = await asyncio.open_connection(sock=s)
        writer.write(payload(i))
        await writer.drain()
        writer.write_eof()
        back = await reader.read()
        assert back == payload(i), f'connection {i}: {len(back)} bytes of {len(payload(i))}'
        writer.close()

    async def every():
        await asyncio.wait_for(asyncio.gather(*(one(i) for i in range(count))), LIMIT)
    asyncio.run(every())


# ---- what calls answer ----

def fails(err, call, *args):
    try:
        got = call(*args)
    except OSError as e:
        assert e.errno == err, f'{errno.errorcode[e.errno]}, not {errno.errorcode[err]}'
        return
    raise AssertionError(f'{errno.errorcode[err]} expected, not {got}')


def answers_without_peer(cid, port):
    """Errors of calls, as af_vsock.c gives them; nobody listens on @port of @cid."""
    s, t = new(), new()
    fails(errno.ENOTCONN, s.getpeername)
    fails(errno.ENOTCONN, s.shutdown, socket.SHUT_RDWR)
    fails(errno.EINVAL, s.listen, 1)
    fails(errno.EINVAL, s.accept)
    fails(errno.ENOTCONN, s.send, b'x')
    assert s.getsockname() == (0xffffffff, 0xffffffff), s.getsockname()
    fails(errno.ECONNRESET, s.connect, (cid, port))
    if cid != 2:  # a guest asks its host
        fails(errno.ENODEV, new().connect, (77, port))
    fails(errno.ECONNRESET, s.connect, (cid, port))  # the same socket again
    s.close()
    s = socket.socket(VSOCK, STREAM)
    fails(errno.ECONNRESET, s.connect, (cid, port))  # and one that blocks
    fails(errno.ECONNRESET, s.connect, (cid, port))
    s.bind((ANY, port))
    assert s.getsockname() == (ANY, port)
    fails(errno.EINVAL, s.bind, (ANY, port + 1))
    fails(errno.EADDRINUSE, t.bind, (ANY, port))
    fails(errno.EADDRNOTAVAIL, t.bind, (99, port + 2))
    fails(errno.EINVAL if SECCOMP else errno.EAFNOSUPPORT, raw_bind, t)
    fails(errno.EPROTONOSUPPORT, socket.socket, VSOCK, STREAM, 5)
    fails(errno.ESOCKTNOSUPPORT, socket.socket, VSOCK, socket.SOCK_RAW)
    fails(errno.ENOPROTOOPT, s.setsockopt, VSOCK, 3, 0)
    s.setsockopt(VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 100000)
    assert s.getsockopt(VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE) == 100000
    assert s.getsockopt(socket.SOL_SOCKET, 39) == VSOCK  # SO_DOMAIN
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == STREAM
    s.close()
    t.bind((ANY, port))  # it is free again
    t.close()
    local = local_cid()
    assert local == (2 if cid != 2 else 5), local
    nonblocking_refused(cid, port)


def local_cid():
    with open('/dev/vsock', 'rb') as f:
        return struct.unpack('I', fcntl.ioctl(f, socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID, b'\0' * 4))[0]


def at_own_cid(port):
    """The port at this machine's CID, and that at CID 1, are two."""
    own, here = new(), new()
    own.bind((local_cid(), port))
    here.bind((1, port))
    fails(errno.EADDRINUSE, new().bind, (ANY, port))
    own.listen(8)
    here.listen(8)
    c, _ = own.accept()  # from the other side
    assert c.getsockname() == (local_cid(), port), c
    echo(c)
    for s, cid in ((own, local_cid()), (here, 1)):
        a = new()
        a.connect((cid, port))
        c, _ = s.accept()
        assert c.getsockname() == a.getpeername() == (cid, port), (a, c)
        a.close()
        c.close()


def without_device(port):
    """zvsockd is there, its device is not: no CID, nobody to connect to; a server may listen already, and waits."""
    assert local_cid() == ANY, local_cid()
    fails(errno.ENODEV, new().connect, (2, port))
    fails(errno.EADDRNOTAVAIL, new().bind, (2, port))
    s = listen(port)
    print('waits', flush=True)
    c, _ = s.accept()
    assert c.getsockname() == (local_cid(), port) == (5, port), c
    c.sendall(c.recv(1000, socket.MSG_WAITALL))
    c.close()


def question(cid, port):
    with new() as s:
        s.connect((cid, port))
        s.sendall(b'?' * 1000)
        assert s.recv(1000, socket.MSG_WAITALL) == b'?' * 1000


def raw_bind(s):
    """bind(2) with an address of another family."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    a = struct.pack('H14x', socket.AF_INET)
    if libc.bind(s.fileno(), a, len(a)) < 0:
        raise OSError(ctypes.get_errno(), 'bind')


def nonblocking_refused(cid, port):
    s = socket.socket(VSOCK, STREAM)
    s.setblocking(False)
    assert s.connect_ex((cid, port)) == errno.EINPROGRESS
    assert select.select([], [s], [], LIMIT)[1], 'the refusal does not make it writable'
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    fails(errno.ENOTCONN, s.getpeername)
    assert SECCOMP or s.connect_ex((cid, port)) == errno.EINPROGRESS  # once more
    s.close()


def nonblocking_accepted(cid, port):
    s = socket.socket(VSOCK, STREAM)
    s.setblocking(False)
    assert s.connect_ex((cid, port)) == errno.EINPROGRESS
    assert select.select([], [s], [], LIMIT)[1]
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.getpeername() == (cid, port)
    assert s.connect_ex((cid, port)) == errno.EISCONN
    s.settimeout(LIMIT)
    return s


def beside_strangers(port):
    """Whoever connects and is no guest's delays a listener that does not wait, but does not keep it."""
    s = listen(port)
    s.setblocking(False)
    print('up', flush=True)
    sys.stdin.readline()
    aborted = 0
    while True:
        try:
            c, _ = s.accept()
            break
        except ConnectionAbortedError:
            aborted += 1
    c.sendall(b'here')
    fails(errno.EAGAIN, s.accept)
    print(aborted, flush=True)


def hold(port):
    """Takes a connection, says so, and stays until it is killed."""
    s = listen(port)
    c, _ = s.accept()
    c.sendall(b'here')
    while True:
        c.recv(65536)


def outlives(port, what):
    """Takes a connection, and says when its other end is gone, which has read "here". With "sends", that reads nothing more."""
    c, _ = listen(port).accept()
    c.sendall(b'here')
    try:
        if what == 'sends':
            c.setblocking(False)
            try:
                while True:
                    c.send(b'x' * 65536)
            except BlockingIOError:
                print('full', flush=True)
            c.settimeout(LIMIT)
            while True:
                c.send(b'x' * 65536)
        assert c.recv(1) == b''
    except (ConnectionResetError, BrokenPipeError):
        pass
    print('gone', flush=True)


def held(cid, port):
    """Until the other is gone."""
    with new() as s:
        s.connect((cid, port))
        assert s.recv(4, socket.MSG_WAITALL) == b'here'
        print('held', flush=True)
        try:
            assert s.recv(1) == b''
        except ConnectionResetError:
            pass


def greeted(cid, port, count, text):
    """COUNT connections, all there at the same time, each of which is told TEXT, perhaps with more."""
    text, conns, end = text.encode(), [], time.monotonic() + LIMIT
    while len(conns) < count:
        s = new()
        try:
            s.connect((cid, port))
            conns.append(s)
        except ConnectionResetError:  # ncat's backlog is 10
            assert time.monotonic() < end, f'refused after {len(conns)}'
            time.sleep(0.005)
    for i, s in enumerate(conns):
        assert (said := s.recv(len(text), socket.MSG_WAITALL)) == text, (i, said)
    for s in conns:
        s.close()


def until_over(cid, port):
    """Connected until the other is gone, whatever it says."""
    with new() as s:
        s.connect((cid, port))
        print('held', flush=True)
        try:
            while s.recv(65536):
                pass
        except ConnectionResetError:
            pass


def guest_agent(cid, port, path):
    """Talks to qemu-guest-agent, in lines of JSON."""
    with new() as s:
        s.connect((cid, port))
        f = s.makefile('rwb', buffering=0)

        def ask(what, **args):
            f.write(json.dumps({'execute': what, 'arguments': args}).encode() + b'\n')
            return json.loads(f.readline())['return']
        assert ask('guest-sync', id=port) == port
        assert ask('guest-ping') == {}
        assert any(c['name'] == 'guest-file-write' for c in ask('guest-info')['supported_commands'])
        data = os.urandom(100000)
        h = ask('guest-file-open', path=path, mode='w+')
        done = 0
        while done < len(data):
            done += ask('guest-file-write', handle=h, **{'buf-b64': base64.b64encode(data[done:]).decode()})['count']
        ask('guest-file-seek', handle=h, offset=0, whence='set')
        back = b''
        while len(back) < len(data):
            back += base64.b64decode(ask('guest-file-read', handle=h, count=65536)['buf-b64'])
        ask('guest-file-close', handle=h)
        assert back == data


def local(port):
    """Both ends here, by CID 1; what is accepted has the listener's options."""
    s = listen(port)
    s.setsockopt(VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 100000)
    with new() as a:
        a.connect((socket.VMADDR_CID_LOCAL if hasattr(socket, 'VMADDR_CID_LOCAL') else 1, port))
        b, peer = s.accept()
        assert peer == a.getsockname() and b.getsockname() == a.getpeername() == (1, port), (a, b, peer)
        assert b.getsockopt(VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE) == 100000
        a.sendall(b'to')
        assert b.recv(10) == b'to'
        b.sendall(b'fro')
        assert a.recv(10) == b'fro'
        b.close()
        assert a.recv(1) == b''


def no_vsock():
    fails(errno.EAFNOSUPPORT, socket.socket, VSOCK, STREAM)
    if not SECCOMP:  # the machine's own, if it has one
        fails(errno.ENOENT, open, '/dev/vsock')


def run_named(programs, doc):
    """Calls the function of @programs that the command line names."""
    what, *words = sys.argv[1:] or ['']
    if what in ('-h', '--help'):
        print(doc.strip())
    elif callable(programs.get(what)):
        programs[what](*(int(w) if w.isdigit() else w for w in words))
    else:
        print(f'no such program: {what or "(none)"}\n{doc.strip().splitlines()[-1]}', file=sys.stderr)
        sys.exit(2)


if __name__ == '__main__':
    run_named(globals(), __doc__)
