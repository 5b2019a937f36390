#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs that use datagrams; they know nothing of zvsock.

usage: dropin_dgram.py WHAT ARGUMENT...
"""
import array
import asyncio
import errno
import os
import select
import socket
import subprocess
import sys
import threading

from dropin_prog import ANY, LIMIT, VSOCK, fails, local_cid, run_named

DGRAM, MOST = socket.SOCK_DGRAM, 65536


def new(port=None):
    s = socket.socket(VSOCK, DGRAM)
    s.settimeout(socket.getdefaulttimeout() or LIMIT)
    if port is not None:
        s.bind((ANY, port))
    return s


def until_known(cid):
    """The other side is there, and has said whether it has datagrams."""
    while True:
        try:
            new().connect((cid, 1))
            return
        except OSError as e:
            if e.errno == errno.EOPNOTSUPP:
                return
            assert e.errno in (errno.ENODEV, errno.EAGAIN), e
            select.select([], [], [], 0.01)


def ready():
    print('ready', flush=True)


def answer(s):
    """Sends each datagram back where it came from, until one says "end"."""
    data = b''
    while data != b'end':
        data, peer = s.recvfrom(MOST + 1)
        s.sendto(data, peer)


# ---- servers ----

def echo(port):
    s = new(port)
    ready()
    answer(s)


def echo_at_own_cid(port):
    """What goes to the port at CID 1 is another's."""
    s, here, other = new(), new(), new()
    s.bind((local_cid(), port))
    here.bind((1, port))
    other.sendto(b'here', (1, port))
    assert here.recv(MOST) == b'here'
    ready()
    answer(s)


def echo_selected(port):
    """By epoll, without blocking, recvmsg and sendmsg."""
    s, data = new(port), b''
    s.setblocking(False)
    e = select.epoll()
    e.register(s, select.EPOLLIN)
    ready()
    while data != b'end':
        assert e.poll(LIMIT), 'nothing comes'
        data, _, flags, peer = s.recvmsg(MOST + 1)
        assert flags == 0 and peer[0] in (1, 2, 5), (flags, peer)
        s.sendmsg([data[:1], data[1:]], [], 0, peer)


def echo_asyncio(port):
    async def serve():
        over = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, addr):
                self.transport.sendto(data, addr)
                if data == b'end':
                    over.set_result(None)
        s = new(port)
        s.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Protocol, sock=s)
        ready()
        await asyncio.wait_for(over, LIMIT)
        transport.close()
    asyncio.run(serve())


def echo_given(port):
    """Bound here; a child, another program and a process that is passed the socket answer one each."""
    s = new(port)
    here, there = socket.socketpair()
    receiver = os.fork()
    if not receiver:
        s.close()
        _, anc, _, _ = there.recvmsg(1, socket.CMSG_SPACE(4))
        one(array.array('i', anc[0][2])[0], port)
        os._exit(0)
    ready()
    pid = os.fork()
    if not pid:
        one(s.fileno(), port)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    subprocess.run([sys.executable, __file__, 'one', str(s.fileno()), str(port)], pass_fds=[s.fileno()], check=True)
    here.sendmsg([b'.'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [s.fileno()]))])
    assert os.waitpid(receiver, 0)[1] == 0
    answer(s)


def one(fd, port):
    s = socket.socket(fileno=os.dup(fd))
    s.settimeout(LIMIT)
    assert s.family == VSOCK and s.type == DGRAM and s.getsockname() == (ANY, port), s
    data, peer = s.recvfrom(100)
    s.sendto(data, peer)


def never_reads(port):
    s = new(port)
    ready()
    sys.stdin.read()
    s.setblocking(False)
    n = 0
    while True:
        try:
            s.recv(MOST)
        except BlockingIOError:
            break
        n += 1
    print(n)


# ---- clients ----

def talk(cid, port):
    """With an echo. A datagram may be lost when a ring has no room: then all of it once more, with sockets that are new."""
    socket.setdefaulttimeout(6)
    for _ in range(8):
        try:
            talk_once(cid, port)
            return
        except TimeoutError:
            print('a datagram was lost', file=sys.stderr, flush=True)
    raise AssertionError('no answer')


def talk_once(cid, port):
    """Both ends of all that a datagram says."""
    until_known(cid)
    s = new()
    assert s.getsockname() == (ANY, ANY), s
    fails(errno.ENOTCONN, s.getpeername)
    for data in (b'one', b'x' * 40000, b'y' * MOST, b'z'):
        assert s.sendto(data, (cid, port)) == len(data)
        assert s.recvfrom(MOST + 1) == (data, (cid, port))
    assert s.getsockname()[1] != ANY and s.getsockname()[0] == ANY, s
    fails(errno.EMSGSIZE, s.sendto, b'x' * (MOST + 1), (cid, port))
    for data in (b'first', b'second'):
        s.sendto(data, (cid, port))
    # they keep their order and their boundaries, and what is cut off is gone
    assert s.recv(3, socket.MSG_PEEK) == b'fir'
    assert s.recvmsg(3, 0, socket.MSG_TRUNC)[::2] == (b'fir', socket.MSG_TRUNC)
    assert s.recvfrom(100, socket.MSG_PEEK) == (b'second', (cid, port))
    assert s.recv(100) == b'second'
    s.setblocking(False)
    fails(errno.EAGAIN, s.recv, 1)
    s.settimeout(socket.getdefaulttimeout())
    connected(s, cid, port)
    s.close()
    s = new()
    connected(s, cid, port)
    s.sendto(b'end', (cid, port))
    assert s.recv(10) == b'end'


def connected(s, cid, port):
    """connect(2), again, to another, and never mind."""
    for _ in range(2):
        s.connect((cid, port))
        assert s.getpeername() == (cid, port) and s.getsockname()[0] in (1, 2, 5), s
        assert s.send(b'hello') == 5 and s.recv(10) == b'hello'
        os.write(s.fileno(), b'again')
        assert select.select([s], [], [], LIMIT)[0] and os.read(s.fileno(), 10) == b'again'
    other = new(0xfffffff0)
    s.connect((1, 0xfffffff0))
    s.send(b'to another')
    data, peer = other.recvfrom(100)
    assert data == b'to another' and peer == (1, s.getsockname()[1]), (data, peer)
    other.sendto(b'and back', peer)
    assert s.recvfrom(100) == (b'and back', (1, 0xfffffff0))
    other.sendto(b'is dropped', peer)
    assert select.select([s], [], [], LIMIT)[0]
    disconnect(s)
    fails(errno.ENOTCONN, s.getpeername)
    other.sendto(b'comes', peer)
    assert s.recvfrom(100) == (b'comes', (1, 0xfffffff0))
    s.sendto(b'alone', (cid, port))
    assert s.recvfrom(10) == (b'alone', (cid, port))


def disconnect(s):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(s.fileno(), b'\0' * 16, 16) == 0, ctypes.get_errno()


def ask(cid, port, count):
    """One question after the other, each answered."""
    until_known(cid)
    s = new()
    for i in range(count):
        s.sendto(b'%d' % i, (cid, port))
        assert s.recvfrom(100) == (b'%d' % i, (cid, port))


def settle(cid, port):
    """After a flood: asks until the echo answers. What is asked meanwhile may be lost."""
    until_known(cid)
    s = new()
    while True:
        s.sendto(b'?', (cid, port))
        if select.select([s], [], [], 0.1)[0]:
            assert s.recvfrom(10) == (b'?', (cid, port))
            return


def say_end(cid, port):
    """Sends one, and is gone before anybody has read it."""
    s = new()
    s.sendto(b'end', (cid, port))


def answers(cid, port, absent):
    """What calls answer where there is nothing to talk to."""
    until_known(cid)
    until_known(absent)
    s = new(port)
    t = new()
    fails(errno.EINVAL, s.bind, (ANY, port + 1))
    fails(errno.EADDRINUSE, t.bind, (ANY, port))
    stream = socket.socket(VSOCK, socket.SOCK_STREAM)
    stream.bind((ANY, port))  # connections have ports of their own
    fails(errno.EADDRNOTAVAIL, t.bind, (99, port))
    fails(errno.EOPNOTSUPP, s.listen, 1)
    fails(errno.ENOTCONN, s.send, b'x')
    if cid != 2:
        fails(errno.ENODEV, t.sendto, b'x', (77, port))
        fails(errno.ENODEV, t.connect, (77, port))
    fails(errno.EOPNOTSUPP, t.sendto, b'x', (absent, port))
    fails(errno.EOPNOTSUPP, t.connect, (absent, port))
    fails(errno.EINVAL, t.sendto, b'x', (cid, ANY))
    assert t.sendto(b'nobody', (cid, port)) == 6  # is told to nobody
    assert t.getsockopt(socket.SOL_SOCKET, 39) == VSOCK and t.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == DGRAM
    s.close()
    t.close()
    t = new(port)  # it is free again


def flood(cid, port, count):
    until_known(cid)
    s = new()
    for _ in range(count):
        s.sendto(b'x' * 8000, (cid, port))


def threads_send_first(cid, port, rounds):
    """Threads that send on one unbound socket at the same time, to an echo: each is as if it were alone."""
    for _ in range(rounds):
        s, names = new(), set()
        begin = threading.Barrier(4)
        failed = []

        def one(s=s, names=names, begin=begin, failed=failed):
            begin.wait()
            try:
                s.sendto(b'x', (cid, port))
                names.add(s.getsockname())
            except OSError as e:
                failed.append(e)

        threads = [threading.Thread(target=one) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed and len(names) == 1, (failed, names)
        assert [s.recv(MOST) for _ in threads] == [b'x'] * len(threads)
        s.close()
    new().sendto(b'end', (cid, port))


def connected_to_killed(cid, port):
    """Its connection ends with zvsockd; the next one goes on."""
    s = new()
    s.connect((cid, port))
    s.send(b'hello')
    assert s.recv(10) == b'hello'
    ready()
    sys.stdin.readline()
    try:
        while True:  # the kernel closes what the dead one had behind its back
            s.send(b'x')
            select.select([], [], [], 0.01)
    except ConnectionRefusedError:
        ready()
    sys.stdin.readline()
    s.connect((cid, port))
    s.send(b'end')
    assert s.recv(10) == b'end'


def sends_when_told(cid, port):
    until_known(cid)
    s = new()
    s.connect((cid, port))
    ready()
    sys.stdin.readline()
    assert s.send(b'late') == 4


def too_long(cid, port):
    until_known(cid)
    s = new()
    s.connect((cid, port))
    s.send(b'x' * (MOST + 1))
    s.send(b'end')
    assert s.recv(10) == b'end'


def answers_alone():
    new(ANY).close()


def unsupported():
    fails(errno.EOPNOTSUPP, socket.socket, VSOCK, DGRAM)


if __name__ == '__main__':
    run_named(globals(), __doc__)
