#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""AF_VSOCK programs that end connections, each half of them or all; they know nothing of zvsock.

usage: dropin_ends.py WHAT ARGUMENT...
"""
import ctypes
import errno
import fcntl
import hashlib
import os
import select
import signal
import socket
import struct
import termios
import time

from dropin_prog import ANY, LIMIT, SECCOMP, SEQPACKET, STREAM, fails, listen, new, nonblocking_accepted, run_named

SIOCOUTQ = 0x5411


def ends_client(cid, port):
    """Against ends_server: the ends of connections, and what recv(2) does with its flags."""
    with nonblocking_accepted(cid, port) as s:  # PEEK, WAITALL, half-close
        s.sendall(b'question')
        s.shutdown(socket.SHUT_WR)
        fails(errno.EPIPE, s.send, b'x')
        assert s.recv(3, socket.MSG_PEEK) == b'ans'
        assert s.recv(6, socket.MSG_WAITALL) == b'answer'
        assert SECCOMP or s.recvfrom(10)[1] is None
        assert not SECCOMP or s.recv(1) == b'.'
        assert s.recv(1) == b''
    with new() as s:  # its peer reads no more
        s.connect((cid, port))
        assert s.recv(1) == b'r'
        try:
            while True:
                s.send(b'x' * 65536)
        except BrokenPipeError:
            pass
    with new() as s:  # its peer goes with our bytes unread
        s.connect((cid, port))
        s.sendall(b'x' * 100000)
        try:
            while s.recv(1000):
                pass
        except ConnectionResetError:
            pass
    with new(SEQPACKET) as s:
        s.connect((cid, port + 1))
        s.send(b'first message')
        s.send(b'second', socket.MSG_EOR)
        s.send(b'x' * 60000)
        data, _, flags, _ = s.recvmsg(100)
        assert data == hashlib.sha256(b'x' * 60000).digest() and not flags & socket.MSG_EOR, (data, flags)
        assert s.recv(100) == b''
    with new() as s:  # bound before
        s.bind((ANY, port + 2))
        s.connect((cid, port))
        assert s.getsockname()[1] == port + 2, s.getsockname()
        assert s.recv(100) == str(port + 2).encode()


def ends_server(port):
    s, q = listen(port), listen(port + 1, SEQPACKET)
    c, peer = s.accept()
    data, peer = c.recvfrom(4)
    assert data == b'ques' and (SECCOMP or peer is None), (data, peer)
    assert c.recv(100, socket.MSG_WAITALL) == b'tion'
    c.sendall(b'answer.')
    c.close()
    c, _ = s.accept()
    c.shutdown(socket.SHUT_RD)
    c.send(b'r')
    assert select.select([], [], [c], 0) and c.recv(1) == b''
    p = select.poll()
    p.register(c, 0)
    assert p.poll(LIMIT * 1000), 'the peer has gone, and nothing says so'
    c.close()
    c, _ = s.accept()
    assert c.recv(10) == b'x' * 10
    c.close()
    c, _ = q.accept()
    data, _, flags, _ = c.recvmsg(5)
    assert data == b'first' and flags & socket.MSG_TRUNC, (data, flags)
    data, _, flags, _ = c.recvmsg(100)
    # the mark is lost, as an AF_UNIX socket has no place for it; the message is not
    assert data == b'second' and not flags & socket.MSG_EOR, (data, flags)
    c.send(hashlib.sha256(c.recv(100000)).digest(), socket.MSG_EOR)
    c.close()
    c, peer = s.accept()
    c.sendall(str(peer[1]).encode())
    c.close()


def moved_client(cid, port, path):
    """What is the kernel's own business: files to and from the socket without a copy, how much waits, SIGPIPE."""
    size = os.path.getsize(path)
    with socket.socket(socket.AF_VSOCK) as s, open(path, 'rb') as f:
        # Python's setsockopt() takes numbers only for this family
        assert ctypes.CDLL(None).setsockopt(s.fileno(), socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0), 8) == 0
        s.connect((cid, port))
        sent = 0
        while sent < size // 2:
            sent += os.sendfile(s.fileno(), f.fileno(), sent, size // 2 - sent)
        out, into = os.pipe()
        while sent < size:
            n = os.splice(f.fileno(), into, min(65536, size - sent), offset_src=sent)
            while n:
                some = os.splice(out, s.fileno(), n)
                sent, n = sent + some, n - some
        with open(path, 'rb') as whole:
            assert s.recv(32, socket.MSG_WAITALL) == hashlib.sha256(whole.read()).digest()
        until(lambda: waiting(s, SIOCOUTQ) == 0)  # all of it has been read
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 8)
        s.send(b'?')
        assert s.recv(100) == b'01234567'  # two pieces
        s.send(b'?')
        until(lambda: waiting(s, termios.FIONREAD) == 5)
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it
            s.shutdown(socket.SHUT_WR)
            s.send(b'x')
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGPIPE
        assert s.recv(100) == b'there'


def moved_server(port, size):
    c, _ = listen(port).accept()
    out, into = os.pipe()
    whole = hashlib.sha256()
    while size:
        n = os.splice(c.fileno(), into, min(65536, size))
        assert n, f'{size} bytes lack'
        size -= n
        while n:
            data = os.read(out, n)
            whole.update(data)
            n -= len(data)
    c.send(whole.digest())
    assert c.recv(1) == b'?'
    c.send(b'0123')
    time.sleep(0.1)  # so that they may come one by one
    c.send(b'4567')
    assert c.recv(1) == b'?'
    c.send(b'there')
    assert c.recv(1) == b''


def waiting(s, what):
    return struct.unpack('i', fcntl.ioctl(s, what, bytes(4)))[0]


def until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def shut_rd_server(port):
    """Each receives no more, and then sends: by then the other end knows. A child says it, by a duplicate."""
    for s in listen(port), listen(port + 1, SEQPACKET):
        c, _ = s.accept()
        pid = os.fork()
        if not pid:
            socket.socket(fileno=os.dup(c.fileno())).shutdown(socket.SHUT_RD)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        c.send(b'r')
        c, _ = s.accept()
        assert c.recv(1) == b'r'
        fails(errno.EPIPE, c.send, b'x')


def shut_rd_client(cid, port):
    for kind, at in (STREAM, port), (SEQPACKET, port + 1):
        with new(kind) as c:
            c.connect((cid, at))
            assert c.recv(1) == b'r'
            fails(errno.EPIPE, c.send, b'x')
        with new(kind) as c:
            c.connect((cid, at))
            c.shutdown(socket.SHUT_RD)
            c.send(b'r')


if __name__ == '__main__':
    run_named(globals(), __doc__)
