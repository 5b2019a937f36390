#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The Python module, between two applications of a zvsockd.

usage: test_python.py ZVSOCKD

The built module must be on PYTHONPATH.
"""
import os
import select
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'daemon'))

import zvd_program  # noqa: E402 pylint: disable=wrong-import-position
from zvd_program import case  # noqa: E402 pylint: disable=wrong-import-position

try:
    import zvsock
except ImportError as why:
    print(f'cannot import the module: {why}')
    sys.exit(77)

PORT = 1234


class Pair:
    """Two devices of one zvsockd, and connections between them."""

    def __init__(self, w, **options):
        w.up('-s', f'applications={w.path("clients")}', '-s', 'drain_ms=0')
        uri = 'daemon:' + w.path('clients')
        self.a, self.b = zvsock.open(uri, **options), zvsock.open(uri, **options)
        self.qa, self.qb = self.a.queues[0], self.b.queues[0]

    def connect(self, kind=zvsock.STREAM):
        self.b.listen(PORT, kind)
        conn = self.qa.connect_start(zvsock.CID_LOCAL, PORT, kind)
        other, connected = None, False
        while not other or not connected:
            connected = any(e.events & zvsock.EV_CONNECT and e.err == 0 for e in self.qa.poll()) or connected
            self.qb.poll()
            other = other or self.qb.accept(PORT)
        self.b.unlisten(PORT)
        return conn, other

    def close(self):
        self.a.close()
        self.b.close()


def received(conn, queue):
    """What zv_buf_recv gives once there is something."""
    while True:
        try:
            return conn.buf_recv()
        except BlockingIOError:
            queue.wait(zvd_program.LIMIT)


def raises(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as e:
        return e
    raise AssertionError(f'{kind.__name__} expected')


@case
def bytes_go_both_ways(w):
    p = Pair(w)
    a, b = p.connect()
    a.send_all(b'hello')
    assert b.recv(100, timeout=zvd_program.LIMIT) == b'hello'
    b.send_all(bytearray(b'x' * 100000))
    got = bytearray()
    while len(got) < 100000:
        p.qb.poll()
        part = bytearray(70000)
        n, _ = a.recv_into(part, timeout=zvd_program.LIMIT)
        got += part[:n]
    assert got == b'x' * 100000
    a.shutdown()
    while (got := b.recv(10, timeout=zvd_program.LIMIT)):
        raise AssertionError(got)
    assert a.info()['tx_bytes'] == 5 and a.info()['state']
    assert a.info()['flags'] & ~zvsock.CONN_CHANNEL == 0 and b.info()['flags'] & ~zvsock.CONN_CHANNEL == zvsock.CONN_INCOMING
    a.close()
    assert a.closed
    raises(ValueError, a.send, b'x')
    p.close()


@case
def messages_keep_their_bounds(w):
    p = Pair(w)
    a, b = p.connect(zvsock.SEQPACKET)
    a.send_all(b'one')
    a.send_all(b'two', flags=zvsock.EOR)
    part = bytearray(2)
    n, flags = b.recv_into(part, timeout=zvd_program.LIMIT)
    assert (n, bytes(part)) == (2, b'on') and flags & zvsock.TRUNC, (n, part, flags)
    part = bytearray(10)
    n, flags = b.recv_into(part, timeout=zvd_program.LIMIT)
    assert part[:n] == b'two' and flags & zvsock.EOR and not flags & zvsock.TRUNC
    p.close()


@case
def buffers_without_a_copy(w):
    p = Pair(w)
    a, b = p.connect()
    bufs = a.buf_alloc(2, 1000)
    assert bufs
    bufs[0].data[:5] = b'first'
    bufs[0].len = 5
    view = bufs[0].data
    a.buf_send(bufs[:1])
    raises(ValueError, lambda: view[0])  # it is no longer ours
    raises(ValueError, a.buf_send, bufs[:1])
    if len(bufs) > 1:
        raises(ValueError, bufs[1].release)  # reserved ones are sent or cancelled
        a.buf_cancel(bufs[1:])
    p.qa.poll()
    got = received(b, p.qb)
    assert bytes(got[0].data) == b'first'
    raises(TypeError, lambda: got[0].data.__setitem__(0, 1))
    got[0].release()
    got[0].release()
    raises(ValueError, lambda: got[0].data[0])
    # what is held when the device closes is given back, and is nobody's to look at
    a.send_all(b'last')
    held = received(b, p.qb)
    left = a.buf_alloc(1, 10)
    p.close()
    raises(ValueError, lambda: held[0].data[0])
    raises(ValueError, lambda: left[0].data[0])
    held[0].release()


@case
def failures_are_exceptions(w):
    p = Pair(w)
    refused = raises(ConnectionError, p.qa.connect, zvsock.CID_LOCAL, 4321)
    assert isinstance(refused, (ConnectionRefusedError, ConnectionResetError)) and refused.strerror, refused
    raises(OSError, zvsock.open, 'nothing:')
    assert 'zvsockd' in str(raises(FileNotFoundError, zvsock.open, 'daemon:' + w.path('none')))
    raises(TypeError, zvsock.open, 'daemon:x', no_such_option=1)
    a, b = p.connect()
    raises(BlockingIOError, b.recv, 10, timeout=0)
    raises(TimeoutError, b.recv, 10, timeout=0.01)
    a.reset()
    end = raises(ConnectionResetError, b.recv, 10, timeout=zvd_program.LIMIT)
    assert end.errno, end
    p.close()
    raises(ValueError, p.qa.poll)
    raises(ValueError, p.a.listen, 5)
    p.close()


@case
def events_and_descriptor(w):
    p = Pair(w)
    a, b = p.connect()
    while not p.qb.arm():
        p.qb.poll()
    a.send_all(b'x')
    p.qa.poll()
    assert select.select([p.qb], [], [], zvd_program.LIMIT)[0]
    seen = []
    while not seen:
        seen = [e for e in p.qb.poll() if e.events & zvsock.EV_IN]
    assert seen[0].conn is b
    assert p.qb.stats()['conns_accepted'] == 1
    assert p.b.info()['transport'] == 'daemon' and p.b.cid == zvsock.CID_HOST
    p.close()


@case
def one_thread_at_a_time(w):
    p = Pair(w)
    began = threading.Event()
    seen = []

    def owner():
        began.set()
        while not any(e.events & zvsock.EV_WAKE for e in seen):
            seen.extend(p.qa.wait())

    thread = threading.Thread(target=owner)
    thread.start()
    began.wait()
    try:
        # sooner or later the owner is inside wait(): whoever calls then is told
        while True:
            try:
                p.qa.stats()
            except RuntimeError:
                break
    finally:
        p.qa.wake()
        thread.join()
    p.close()


if __name__ == '__main__':
    sys.exit(zvd_program.main())
