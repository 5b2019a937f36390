# SPDX-License-Identifier: BSD-3-Clause
"""zvsock for Python: devices, queues, connections and their buffers without a copy.

What the calls mean is described in <zvsock.h>; here they have the same names without the prefix. What differs:

* Failures are OSError and its subclasses (ConnectionResetError, BlockingIOError for -EAGAIN, ...), with the library's
  sentence as text. Times are seconds; None is no limit.
* Everything is freed by close() or a with block. What belongs to a device that was closed says so (ValueError).
* A queue and its connections belong to one thread at a time, as in C. Two that call at once get a RuntimeError.
  Only wake() may be called by any. Calls that wait let other Python threads run.

    import zvsock
    with zvsock.open('daemon:/run/zvsock/clients.sock') as dev:
        conn = dev.queues[0].connect(zvsock.CID_LOCAL, 1234)
        conn.send_all(b'hello')
        print(conn.recv(100, timeout=1))
"""
import contextlib
import errno as _errno
import functools
import os
import threading

from ._zvsock import ffi, lib

CID_LOCAL, CID_HOST, PORT_ANY = lib.ZV_CID_LOCAL, lib.ZV_CID_HOST, lib.ZV_PORT_ANY
STREAM, SEQPACKET = lib.ZV_STREAM, lib.ZV_SEQPACKET
EOM, EOR, MORE, TRUNC, PEEK = lib.ZV_EOM, lib.ZV_EOR, lib.ZV_MORE, lib.ZV_TRUNC, lib.ZV_PEEK
EV_IN, EV_OUT, EV_CONNECT, EV_ACCEPT = lib.ZV_EV_IN, lib.ZV_EV_OUT, lib.ZV_EV_CONNECT, lib.ZV_EV_ACCEPT
EV_HUP, EV_ERR, EV_EPIPE, EV_WAKE = lib.ZV_EV_HUP, lib.ZV_EV_ERR, lib.ZV_EV_EPIPE, lib.ZV_EV_WAKE
BUSY_POLL, NO_HUGE, NO_HELLO = lib.ZV_OPT_BUSY_POLL, lib.ZV_OPT_NO_HUGE, lib.ZV_OPT_NO_HELLO
NO_CHANNEL, PACKED, SPLIT = lib.ZV_OPT_NO_CHANNEL, lib.ZV_OPT_PACKED, lib.ZV_OPT_SPLIT
CONN_INCOMING, CONN_CHANNEL = lib.ZV_CONN_INCOMING, lib.ZV_CONN_CHANNEL

_NEVER = (1 << 64) - 1
_BUFS = 64  # buffers a call at most
_PEERS = {lib.ZV_PEER_UNKNOWN: 'unknown', lib.ZV_PEER_PLAIN: 'plain', lib.ZV_PEER_ZVSOCK: 'zvsock'}


def version():
    """The library's version: "0.1.0"."""
    return ffi.string(lib.zv_version()).decode()


def _ns(seconds):
    return _NEVER if seconds is None else min(_NEVER, max(0, int(seconds * 1e9)))


def _check(ret):
    """ret, unless it is -errno: then the exception for it."""
    if ret < 0:
        raise OSError(-ret, ffi.string(lib.zv_error_text()).decode() or os.strerror(-ret))
    return ret


def _alive(obj):
    if obj._p is None:
        raise ValueError(f'{type(obj).__name__.lower()} is closed')
    return obj._p


def _owner(fn):
    """A call that belongs to the queue's owner: refused while another thread is in one."""
    @functools.wraps(fn)
    def call(self, *args, **kwargs):
        if not self._lock.acquire(blocking=False):
            raise RuntimeError('another thread is in a call on this queue')
        try:
            return fn(self, *args, **kwargs)
        finally:
            self._lock.release()
    return call


def _fields(info, names):
    out = {}
    for name in names:
        value = getattr(info, name)
        out[name] = ffi.string(value).decode() if isinstance(value, ffi.CData) else value
    return out


def catch_sigbus():
    """See zv_catch_sigbus: peers that cut off shared memory break their connections, not this process."""
    _check(lib.zv_catch_sigbus())


def open(uri, **options):  # pylint: disable=redefined-builtin
    """Opens a device. options: members of struct zv_opts; those that end in _ns as NAME=seconds without the _ns.

    >>> zvsock.open('vhost-user:/run/vm0.sock', queues=4, flags=zvsock.BUSY_POLL, connect_timeout=1.5)
    """
    opts = ffi.new('struct zv_opts *', {'size': ffi.sizeof('struct zv_opts')})
    for name, value in options.items():
        if name != 'size' and hasattr(opts, name + '_ns'):
            setattr(opts, name + '_ns', _ns(value))
        elif name != 'size' and not name.endswith('_ns') and hasattr(opts, name):
            setattr(opts, name, value)
        else:
            raise TypeError(f'there is no option {name}')
    dev = ffi.new('struct zv_dev **')
    _check(lib.zv_open(dev, os.fsencode(uri), opts))
    return Device(dev[0])


class Device:
    """An open device. queues: its Queue objects."""

    def __init__(self, p):
        self._p = p
        self.queues = [Queue(self, lib.zv_queue(p, i)) for i in range(lib.zv_nqueues(p))]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Ends all. Buffers that are still held are given back before."""
        if self._p is None:
            return
        with contextlib.ExitStack() as held:
            for q in self.queues:
                if not q._lock.acquire(blocking=False):
                    raise RuntimeError('another thread is in a call on a queue of this device')
                held.callback(q._lock.release)
            for q in self.queues:
                q._drop()
            _check(lib.zv_close(self._p))
            self._p = None

    @property
    def cid(self):
        return lib.zv_cid(_alive(self))

    def info(self):
        """A dict of struct zv_dev_info."""
        info = ffi.new('struct zv_dev_info *', {'size': ffi.sizeof('struct zv_dev_info')})
        _check(lib.zv_dev_info(_alive(self), info))
        out = _fields(info, ('cid', 'guest_cid', 'queues', 'queues_up', 'page_size', 'transport'))
        out['peer'] = _PEERS[info.peer]
        return out

    def listen(self, port, type=STREAM, backlog=0):  # pylint: disable=redefined-builtin
        _check(lib.zv_listen(_alive(self), port, type, backlog))

    def unlisten(self, port):
        _check(lib.zv_unlisten(_alive(self), port))


class Event:
    """What zv_poll reports. conn: the Connection, or None; err: 0 or an errno value, positive."""
    __slots__ = ('conn', 'events', 'port', 'err')

    def __init__(self, conn, ev):
        self.conn, self.events, self.port, self.err = conn, ev.events, ev.port, -ev.err

    def __repr__(self):
        return f'<Event {self.events:#x} conn={self.conn} port={self.port} err={self.err}>'


class Queue:
    """A queue of a device: polls, connects, accepts. fileno() makes it fit for select and asyncio; see arm()."""

    def __init__(self, dev, p):
        self._dev, self._queue = dev, p
        self._lock = threading.Lock()
        self._conns = {}    # address -> Connection
        self._received = set()  # Buffers that are held
        self._events = ffi.new('struct zv_event[]', _BUFS)

    @property
    def _p(self):
        return None if self._dev._p is None else self._queue

    def _drop(self):
        for conn in self._conns.values():
            conn._cancel()
            conn._p = None
        self._conns.clear()
        for buf in list(self._received):
            buf._give_back()

    def _add(self, p):
        conn = Connection(self, p)
        self._conns[int(ffi.cast('uintptr_t', p))] = conn
        return conn

    def _taken(self, n):
        out = []
        for ev in self._events[0:n]:
            conn = self._conns.get(int(ffi.cast('uintptr_t', ev.conn)))
            if conn is not None or ev.conn == ffi.NULL:
                out.append(Event(conn, ev))
        return out

    @_owner
    def poll(self):
        """Does the queue's work and returns a list of Events. Never waits."""
        return self._taken(_check(lib.zv_poll(_alive(self), self._events, _BUFS)))

    @_owner
    def wait(self, timeout=None):
        """poll() until there is an event; [] when the time is up. A signal's handler runs, and the wait goes on."""
        while True:
            n = lib.zv_wait(_alive(self), self._events, _BUFS, _ns(timeout))
            if n != -_errno.EINTR:
                return self._taken(_check(n))
            if timeout is not None:
                return []

    @_owner
    def arm(self):
        """True: fileno() becomes readable when there is something to poll. False: there is already."""
        ret = lib.zv_arm(_alive(self))
        if ret == -_errno.EAGAIN:
            return False
        _check(ret)
        return True

    def wake(self):
        """Any thread: the owner's poll or wait reports EV_WAKE."""
        lib.zv_wake(_alive(self))

    def fileno(self):
        return lib.zv_fd(_alive(self))

    @_owner
    def connect(self, cid, port, type=STREAM, timeout=None):  # pylint: disable=redefined-builtin
        """A connected Connection; waits for it."""
        conn = ffi.new('struct zv_conn **')
        _check(lib.zv_connect_wait(_alive(self), cid, port, type, _ns(timeout), conn))
        return self._add(conn[0])

    @_owner
    def connect_start(self, cid, port, type=STREAM):  # pylint: disable=redefined-builtin
        """A Connection that EV_CONNECT tells the outcome of."""
        conn = ffi.new('struct zv_conn **')
        _check(lib.zv_connect(_alive(self), cid, port, type, conn))
        return self._add(conn[0])

    @_owner
    def accept(self, port=PORT_ANY):
        """The next Connection that waits, or None."""
        conn = ffi.new('struct zv_conn **')
        ret = lib.zv_accept(_alive(self), port, conn)
        if ret == -_errno.EAGAIN:
            return None
        _check(ret)
        return self._add(conn[0])

    @_owner
    def stats(self):
        """A dict of struct zv_queue_stats."""
        stats = ffi.new('struct zv_queue_stats *')
        _check(lib.zv_queue_stats(_alive(self), stats, ffi.sizeof('struct zv_queue_stats')))
        return {name: getattr(stats, name) for name in dir(stats)}


class Buffer:
    """A buffer on loan. data: a memoryview of it, in the transport's memory; len, flags: as in struct zv_buf.

    data is released when the buffer goes back. A slice of it that is kept, or an array that was made from it without a
    copy, is then memory of others: do not use it. Received data can still be changed by a hostile peer.
    """

    def __init__(self, owner, buf, writable):
        self._owner = owner  # Connection: to be sent; Queue: received
        self._buf = ffi.new('struct zv_buf *', buf)
        size = buf.capacity if writable else buf.len
        view = memoryview(ffi.buffer(buf.data, size)) if size else memoryview(bytearray())
        self.data = view if writable else view.toreadonly()
        self.len, self.flags = buf.len, buf.flags

    def _give_back(self):
        """It has gone, or goes: received ones to the queue."""
        owner, self._owner = self._owner, None
        if owner is None:
            return
        self.data.release()
        if isinstance(owner, Queue):
            owner._received.discard(self)
            if owner._p is not None:
                lib.zv_buf_release(owner._queue, self._buf, 1)
        else:
            owner._reserved.discard(self)

    def release(self):
        """Gives a received buffer back: its credit returns to the sender. Twice is once."""
        if self._owner is None:
            return
        if not isinstance(self._owner, Queue):
            raise ValueError('this buffer is reserved for sending: send or cancel it')
        if not self._owner._lock.acquire(blocking=False):
            raise RuntimeError('another thread is in a call on this queue')
        lock = self._owner._lock
        try:
            self._give_back()
        finally:
            lock.release()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.release()


class Connection:
    """A connection. closed: it has been given back, or its device has."""

    def __init__(self, queue, p):
        self.queue, self._p = queue, p
        self._lock = queue._lock
        self._reserved = set()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self._p is not None:
            self.close()

    def __repr__(self):
        return f'<Connection {"closed" if self.closed else hex(int(ffi.cast("uintptr_t", self._p)))}>'

    @property
    def closed(self):
        return self._p is None

    def _cancel(self):
        for buf in list(self._reserved):
            lib.zv_buf_cancel(self._p, buf._buf, 1)
            buf._give_back()

    def _end(self, how):
        p = _alive(self)
        self._cancel()
        _check(how(p))
        self.queue._conns.pop(int(ffi.cast('uintptr_t', p)), None)
        self._p = None

    @_owner
    def close(self):
        """Gives the connection back; what was sent is delivered, what is reserved is cancelled."""
        self._end(lib.zv_conn_close)

    @_owner
    def reset(self):
        self._end(lib.zv_conn_reset)

    @_owner
    def shutdown(self, how=1):
        _check(lib.zv_shutdown(_alive(self), how))

    @_owner
    def info(self):
        """A dict of struct zv_conn_info; 'flags' has CONN_ bits."""
        info = ffi.new('struct zv_conn_info *', {'size': ffi.sizeof('struct zv_conn_info')})
        _check(lib.zv_conn_info(_alive(self), info))
        return _fields(info, [n for n in dir(info) if n != 'size'])

    @_owner
    def set_events(self, events):
        lib.zv_set_events(_alive(self), events)

    @_owner
    def wait(self, events, timeout=None):
        """The EV_ bits that the connection has, 0 when the time is up."""
        return _check(lib.zv_conn_wait(_alive(self), events, _ns(timeout)))

    @_owner
    def send(self, data, flags=0):
        """Bytes taken, at least 1; BlockingIOError: no room now."""
        view = ffi.from_buffer(data)
        return _check(lib.zv_send(_alive(self), view, len(view), flags))

    @_owner
    def send_all(self, data, flags=0, timeout=None):
        """Waits for room until all is taken. On failure the exception's attribute sent has the bytes taken."""
        view, sent = ffi.from_buffer(data), ffi.new('size_t *')
        try:
            _check(lib.zv_send_all(_alive(self), view, len(view), flags, _ns(timeout), sent))
        except OSError as e:
            e.sent = sent[0]
            raise

    def _recv(self, where, size, flags, timeout):
        io = ffi.new('uint32_t *')
        while True:
            io[0] = flags
            n = lib.zv_recv(_alive(self), where, size, io)
            if n != -_errno.EAGAIN or timeout == 0:
                return _check(n), io[0]
            if _check(lib.zv_conn_wait(self._p, EV_IN, _ns(timeout))) == 0:
                raise TimeoutError(_errno.ETIMEDOUT, 'nothing to receive in the time given')

    @_owner
    def recv(self, size, flags=0, timeout=None):
        """bytes, b'' at the end of the stream; waits. timeout=0: BlockingIOError when there is nothing."""
        where = ffi.new('char[]', size)
        n, _ = self._recv(where, size, flags, timeout)
        return ffi.buffer(where, n)[:]

    @_owner
    def recv_into(self, buffer, flags=0, timeout=None):
        """(bytes received, flags out: EOM, EOR, TRUNC)."""
        view = ffi.from_buffer(buffer, require_writable=True)
        return self._recv(view, len(view), flags, timeout)

    @_owner
    def buf_alloc(self, n, size):
        """Up to n Buffers to write into, without waiting; BlockingIOError: none is free."""
        bufs = ffi.new('struct zv_buf[]', min(n, _BUFS))
        got = _check(lib.zv_buf_alloc(_alive(self), bufs, min(n, _BUFS), size))
        out = [Buffer(self, bufs[i], True) for i in range(got)]
        self._reserved.update(out)
        return out

    def _list(self, bufs):
        for buf in bufs:
            if buf._owner is not self:
                raise ValueError('a buffer is not reserved on this connection')
        if len(set(bufs)) != len(bufs):
            raise ValueError('a buffer is given twice')
        return ffi.new('struct zv_buf[]', [b._buf[0] for b in bufs])

    @_owner
    def buf_send(self, bufs):
        """Sends reserved buffers, len bytes of each with its flags. They are gone, whatever happens."""
        p, array = _alive(self), self._list(bufs)
        for b, c in zip(bufs, array):
            c.len, c.flags = b.len, b.flags
        try:
            _check(lib.zv_buf_send(p, array, len(bufs)))
        finally:
            for b in bufs:
                b._give_back()

    @_owner
    def buf_cancel(self, bufs):
        p, array = _alive(self), self._list(bufs)
        lib.zv_buf_cancel(p, array, len(bufs))
        for b in bufs:
            b._give_back()

    @_owner
    def buf_recv(self, n=_BUFS):
        """Up to n Buffers with what has come, [] at the end of the stream; BlockingIOError: nothing yet."""
        bufs = ffi.new('struct zv_buf[]', min(n, _BUFS))
        got = _check(lib.zv_buf_recv(_alive(self), bufs, min(n, _BUFS)))
        out = [Buffer(self.queue, bufs[i], False) for i in range(got)]
        self.queue._received.update(out)
        return out
