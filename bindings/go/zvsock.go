// SPDX-License-Identifier: BSD-3-Clause

// Package zvsock is vsock in user space: devices, connections that are net.Conn, and buffers without a copy.
//
// The calls are those of <zvsock.h>, which describes them. A device's queues belong to the package: a goroutine for each
// waits for what comes, and a lock for each makes all methods fit for use by any goroutine.
//
//	dev, err := zvsock.Open("daemon:/run/zvsock/clients.sock", nil)
//	conn, err := dev.Dial(zvsock.CIDLocal, 1234, zvsock.Stream)
//	conn.Write([]byte("hello"))
//
// It is found by pkg-config; for a library that is not installed set CGO_CFLAGS and CGO_LDFLAGS.
package zvsock

/*
#cgo LDFLAGS: -lzvsock
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <zvsock.h>

// errno is none of cgo's business here, and poll(2) must not be cut short by the runtime's signals.
static void wait_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}
*/
import "C"

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// CIDs that mean something to every device, and the port that stands for any.
const (
	CIDLocal = uint64(C.ZV_CID_LOCAL)
	CIDHost  = uint64(C.ZV_CID_HOST)
)

// Type is a socket type.
type Type int

// Socket types: bytes without boundaries, and messages.
const (
	Stream    Type = C.ZV_STREAM
	SeqPacket Type = C.ZV_SEQPACKET
)

// Flags of a Buffer of a SeqPacket connection: it ends a message, or a record.
const (
	EOM = uint32(C.ZV_EOM)
	EOR = uint32(C.ZV_EOR)
)

const maxBufs = 64 // buffers and events a call at most

// Options of Open; what is zero has the library's default.
type Options struct {
	Queues, RingSize, RxBuf, TxBuf, BufAlloc, MaxConns uint32
	ConnectTimeout, CloseTimeout                       time.Duration
	BusyPoll                                           bool
}

// Addr is a CID and a port.
type Addr struct {
	CID  uint64
	Port uint32
}

// Network is "vsock".
func (a Addr) Network() string { return "vsock" }
func (a Addr) String() string  { return fmt.Sprintf("%d:%d", a.CID, a.Port) }

// Error is a failed call: its errno (for errors.Is), and the library's sentence.
type Error struct {
	Op    string
	Errno syscall.Errno
	Text  string
}

func (e *Error) Error() string { return "zvsock: " + e.Op + ": " + e.Text }

// Unwrap gives the errno.
func (e *Error) Unwrap() error { return e.Errno }

// Timeout tells net.Error.
func (e *Error) Timeout() bool { return e.Errno == syscall.ETIMEDOUT }

// Temporary is there for net.Error.
func (e *Error) Temporary() bool { return e.Errno == syscall.EAGAIN }

// The thread that failed has the text, so the caller has locked itself to it, or does so by one call.
func failed(op string, ret int, text string) error {
	if text == "" {
		text = syscall.Errno(-ret).Error()
	}
	return &Error{op, syscall.Errno(-ret), text}
}

// Device is an open device.
type Device struct {
	mu        sync.Mutex // of what is below, and of calls on the device
	p         *C.struct_zv_dev
	queues    []*queue
	next      int
	listeners map[uint32]*Listener
	running   sync.WaitGroup
}

type queue struct {
	mu     sync.Mutex // all calls on the queue
	dev    *Device
	p      *C.struct_zv_queue
	conns  map[*C.struct_zv_conn]*Conn
	loans  map[*Buffer]bool            // received, not released
	events *[maxBufs]C.struct_zv_event // C memory
	closed bool
}

// Open opens a device by its URI.
func Open(uri string, opts *Options) (*Device, error) {
	var o C.struct_zv_opts
	o.size = C.sizeof_struct_zv_opts
	if opts != nil {
		o.queues, o.ring_size = C.uint32_t(opts.Queues), C.uint32_t(opts.RingSize)
		o.rx_buf, o.tx_buf = C.uint32_t(opts.RxBuf), C.uint32_t(opts.TxBuf)
		o.buf_alloc, o.max_conns = C.uint32_t(opts.BufAlloc), C.uint32_t(opts.MaxConns)
		o.connect_timeout_ns, o.close_timeout_ns = C.uint64_t(opts.ConnectTimeout), C.uint64_t(opts.CloseTimeout)
		if opts.BusyPoll {
			o.flags |= C.ZV_OPT_BUSY_POLL
		}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := C.CString(uri)
	defer C.free(unsafe.Pointer(s))
	d := &Device{listeners: make(map[uint32]*Listener)}
	if ret := C.zv_open(&d.p, s, &o); ret < 0 {
		return nil, failed("open "+uri, int(ret), C.GoString(C.zv_error_text()))
	}
	for i := C.uint(0); i < C.zv_nqueues(d.p); i++ {
		q := &queue{dev: d, p: C.zv_queue(d.p, i), conns: make(map[*C.struct_zv_conn]*Conn), loans: make(map[*Buffer]bool)}
		q.events = (*[maxBufs]C.struct_zv_event)(C.calloc(maxBufs, C.sizeof_struct_zv_event))
		d.queues = append(d.queues, q)
		d.running.Add(1)
		go q.serve()
	}
	return d, nil
}

// CID is the device's own CID.
func (d *Device) CID() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p == nil {
		return 0
	}
	return uint64(C.zv_cid(d.p))
}

// Close ends all connections and listeners, and gives buffers back that are still held: do not use them any more.
func (d *Device) Close() error {
	d.mu.Lock()
	p := d.p
	d.p = nil
	if p == nil {
		d.mu.Unlock()
		return net.ErrClosed
	}
	for port, l := range d.listeners {
		l.end()
		delete(d.listeners, port)
	}
	d.mu.Unlock()
	for _, q := range d.queues {
		q.mu.Lock()
		q.closed = true
		for _, c := range q.conns {
			c.giveBack()
			c.p = nil // zv_close resets it
			c.end(net.ErrClosed)
		}
		q.conns = nil
		for b := range q.loans {
			b.release()
		}
		C.zv_wake(q.p)
		q.mu.Unlock()
	}
	d.running.Wait()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if ret := C.zv_close(p); ret < 0 {
		return failed("close", int(ret), C.GoString(C.zv_error_text()))
	}
	for _, q := range d.queues {
		C.free(unsafe.Pointer(q.events))
	}
	return nil
}

// serve is the queue's goroutine: it hands out events, and sleeps in poll(2) while there are none.
func (q *queue) serve() {
	defer q.dev.running.Done()
	fd := C.int(0)
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return
		}
		n := int(C.zv_poll(q.p, &q.events[0], maxBufs))
		for i := 0; i < n; i++ {
			q.event(&q.events[i])
		}
		sleep := n == 0 && C.zv_arm(q.p) == 0
		fd = C.zv_fd(q.p)
		q.mu.Unlock()
		if sleep {
			C.wait_readable(fd)
		} else {
			runtime.Gosched()
		}
	}
}

// What is level-triggered is masked until somebody finds nothing more, so that it keeps nobody awake.
func (q *queue) event(ev *C.struct_zv_event) {
	if ev.events&C.ZV_EV_ACCEPT != 0 {
		q.accept(uint32(ev.port))
		return
	}
	c := q.conns[ev.conn]
	if c == nil {
		return
	}
	if ev.events&C.ZV_EV_CONNECT != 0 && ev.err == 0 {
		c.connected = true
	}
	if ev.err != 0 {
		c.end(failed("connection", int(ev.err), C.GoString(C.zv_strerror(ev.err))))
	}
	c.mask &^= ev.events & (C.ZV_EV_IN | C.ZV_EV_OUT | C.ZV_EV_HUP)
	C.zv_set_events(c.p, c.mask)
	c.cond.Broadcast()
}

func (q *queue) accept(port uint32) {
	var p *C.struct_zv_conn
	if C.zv_accept(q.p, C.uint32_t(port), &p) != 0 {
		return
	}
	c := q.add(p)
	c.connected = true
	q.dev.mu.Lock()
	l := q.dev.listeners[port]
	q.dev.mu.Unlock()
	if l == nil || !l.put(c) {
		c.close(true)
	}
}

// Under the queue's lock.
func (q *queue) add(p *C.struct_zv_conn) *Conn {
	info := C.struct_zv_conn_info{size: C.sizeof_struct_zv_conn_info}
	C.zv_conn_info(p, &info)
	c := &Conn{q: q, p: p, held: make(map[*Buffer]bool), mask: C.ZV_EV_IN | C.ZV_EV_OUT | C.ZV_EV_CONNECT | C.ZV_EV_HUP,
		local:  Addr{uint64(info.local_cid), uint32(info.local_port)},
		remote: Addr{uint64(info.peer_cid), uint32(info.peer_port)}}
	c.cond.L = &q.mu
	q.conns[p] = c
	return c
}

// Listener is a net.Listener.
type Listener struct {
	dev     *Device
	addr    Addr
	mu      sync.Mutex
	cond    sync.Cond
	waiting []*Conn
	closed  bool
}

const backlog = 128 // connections that wait for Accept; further ones are reset

// Listen listens on a port.
func (d *Device) Listen(port uint32, t Type) (*Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.p == nil {
		return nil, net.ErrClosed
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if ret := C.zv_listen(d.p, C.uint32_t(port), C.enum_zv_type(t), 0); ret < 0 {
		return nil, failed("listen", int(ret), C.GoString(C.zv_error_text()))
	}
	l := &Listener{dev: d, addr: Addr{uint64(C.zv_cid(d.p)), port}}
	l.cond.L = &l.mu
	d.listeners[port] = l
	return l, nil
}

func (l *Listener) put(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.waiting) >= backlog {
		return false
	}
	l.waiting = append(l.waiting, c)
	l.cond.Signal()
	return true
}

func (l *Listener) end() {
	l.mu.Lock()
	l.closed = true
	l.cond.Broadcast()
	l.mu.Unlock()
}

// AcceptConn waits for the next connection.
func (l *Listener) AcceptConn() (*Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) == 0 && !l.closed {
		l.cond.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	c := l.waiting[0]
	l.waiting = l.waiting[1:]
	return c, nil
}

// Accept is AcceptConn for net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Addr is the CID and port.
func (l *Listener) Addr() net.Addr { return l.addr }

// Close stops listening; connections that nobody has accepted are reset.
func (l *Listener) Close() error {
	l.dev.mu.Lock()
	if l.dev.listeners[l.addr.Port] != l {
		l.dev.mu.Unlock()
		return net.ErrClosed
	}
	delete(l.dev.listeners, l.addr.Port)
	C.zv_unlisten(l.dev.p, C.uint32_t(l.addr.Port))
	l.end()
	l.dev.mu.Unlock()
	for _, c := range l.waiting {
		_ = c.Reset()
	}
	return nil
}

// Conn is a connection, and a net.Conn. Read of a SeqPacket connection returns one message, cut to the slice's length.
type Conn struct {
	q             *queue
	cond          sync.Cond // on the queue's lock
	p             *C.struct_zv_conn
	held          map[*Buffer]bool // reserved, not sent
	local, remote Addr
	connected     bool
	mask          C.uint32_t
	err           error
	read, write   deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) over() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (c *Conn) end(err error) {
	if c.err == nil {
		c.err = err
	}
	c.cond.Broadcast()
}

// wait waits for an event under the queue's lock, with what the next call would miss unmasked.
func (c *Conn) wait(events C.uint32_t, d *deadline) error {
	switch {
	case c.err != nil:
		return c.err
	case d.over():
		return os.ErrDeadlineExceeded
	}
	if c.mask&events != events {
		c.mask |= events
		C.zv_set_events(c.p, c.mask)
	}
	c.cond.Wait()
	return nil
}

// Dial connects to a port.
func (d *Device) Dial(cid uint64, port uint32, t Type) (*Conn, error) {
	d.mu.Lock()
	if d.p == nil {
		d.mu.Unlock()
		return nil, net.ErrClosed
	}
	q := d.queues[d.next%len(d.queues)]
	d.next++
	d.mu.Unlock()

	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, net.ErrClosed
	}
	runtime.LockOSThread()
	var p *C.struct_zv_conn
	ret := C.zv_connect(q.p, C.uint64_t(cid), C.uint32_t(port), C.enum_zv_type(t), &p)
	text := ""
	if ret < 0 {
		text = C.GoString(C.zv_error_text())
	}
	runtime.UnlockOSThread()
	if ret < 0 {
		return nil, failed("dial", int(ret), text)
	}
	c := q.add(p)
	for !c.connected {
		if err := c.wait(C.ZV_EV_CONNECT, &c.write); err != nil {
			c.close(false)
			return nil, err
		}
	}
	return c, nil
}

func (c *Conn) call(op string, d *deadline, events C.uint32_t, try func() int) (int, error) {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	for {
		if c.p == nil {
			return 0, net.ErrClosed
		}
		runtime.LockOSThread()
		n := try()
		text := ""
		if n < 0 && n != -int(syscall.EAGAIN) {
			text = C.GoString(C.zv_error_text())
		}
		runtime.UnlockOSThread()
		switch {
		case n >= 0:
			return n, nil
		case n != -int(syscall.EAGAIN):
			return 0, failed(op, n, text)
		}
		if err := c.wait(events, d); err != nil {
			return 0, err
		}
	}
}

// Read reads what has come, one message of a SeqPacket connection.
func (c *Conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, err := c.call("read", &c.read, C.ZV_EV_IN, func() int {
		return int(C.zv_recv(c.p, unsafe.Pointer(&b[0]), C.size_t(len(b)), nil))
	})
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

// Write sends all of b, one message of a SeqPacket connection.
func (c *Conn) Write(b []byte) (int, error) {
	sent := 0
	for {
		var data unsafe.Pointer
		if sent < len(b) {
			data = unsafe.Pointer(&b[sent])
		}
		n, err := c.call("write", &c.write, C.ZV_EV_OUT, func() int {
			return int(C.zv_send(c.p, data, C.size_t(len(b)-sent), 0))
		})
		sent += n
		if err != nil || sent == len(b) {
			return sent, err
		}
	}
}

// Under the queue's lock.
func (c *Conn) giveBack() {
	for b := range c.held {
		C.zv_buf_cancel(c.p, &b.b, 1)
		delete(c.held, b)
	}
}

// Under the queue's lock.
func (c *Conn) close(reset bool) {
	c.giveBack()
	if reset {
		C.zv_conn_reset(c.p)
	} else {
		C.zv_conn_close(c.p)
	}
	delete(c.q.conns, c.p)
	c.p = nil
	c.end(net.ErrClosed)
}

func (c *Conn) finish(reset bool) error {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.p == nil || c.q.closed {
		return net.ErrClosed
	}
	c.close(reset)
	return nil
}

// Close gives the connection back; what was written is delivered.
func (c *Conn) Close() error { return c.finish(false) }

// Reset ends it at once: the peer sees a reset.
func (c *Conn) Reset() error { return c.finish(true) }

// CloseWrite ends sending: the peer reads an end of file behind what was written.
func (c *Conn) CloseWrite() error {
	_, err := c.call("shutdown", &c.write, 0, func() int {
		return int(C.zv_shutdown(c.p, 1))
	})
	return err
}

// Channel tells whether its payload goes through shared memory and bypasses zvsockd; false for one that was closed.
func (c *Conn) Channel() bool {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	if c.p == nil {
		return false
	}
	info := C.struct_zv_conn_info{size: C.sizeof_struct_zv_conn_info}
	return C.zv_conn_info(c.p, &info) == 0 && info.flags&C.ZV_CONN_CHANNEL != 0
}

// LocalAddr is this side's CID and port.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the peer's.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

func (c *Conn) set(d *deadline, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = t, nil
	if !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), func() {
			c.q.mu.Lock()
			c.cond.Broadcast()
			c.q.mu.Unlock()
		})
	}
	c.cond.Broadcast()
}

// SetReadDeadline is that of net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.set(&c.read, t)
	return nil
}

// SetWriteDeadline is that of net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.set(&c.write, t)
	return nil
}

// SetDeadline is both.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// Buffer is a buffer on loan, in the transport's memory: Data may be used until it is sent, cancelled or released, and not
// after the device was closed, which gives all back. What is received can still be changed by a hostile peer: copy before you check.
type Buffer struct {
	Data  []byte // for sending, cut it to what is to be sent
	Flags uint32
	b     C.struct_zv_buf
	c     *Conn
}

func (c *Conn) buffers(bufs []C.struct_zv_buf, recvd bool) []*Buffer {
	out := make([]*Buffer, len(bufs))
	for i := range bufs {
		size := bufs[i].capacity
		if recvd {
			size = bufs[i].len
		}
		b := &Buffer{b: bufs[i], c: c, Flags: uint32(bufs[i].flags)}
		if size > 0 {
			b.Data = unsafe.Slice((*byte)(bufs[i].data), int(size))
		}
		if recvd {
			c.q.loans[b] = true
		} else {
			c.held[b] = true
		}
		out[i] = b
	}
	return out
}

// Alloc reserves up to n buffers of about size bytes to write into; it waits for at least one.
func (c *Conn) Alloc(n, size int) ([]*Buffer, error) {
	var bufs [maxBufs]C.struct_zv_buf
	var out []*Buffer
	if n > maxBufs {
		n = maxBufs
	}
	_, err := c.call("alloc", &c.write, C.ZV_EV_OUT, func() int {
		got := int(C.zv_buf_alloc(c.p, &bufs[0], C.uint(n), C.size_t(size)))
		if got > 0 {
			out = c.buffers(bufs[:got], false)
		}
		return got
	})
	return out, err
}

var errForeign = errors.New("zvsock: a buffer is not reserved on this connection")

// Send sends reserved buffers in order, len(Data) bytes of each. They are gone, whatever is returned.
func (c *Conn) Send(bufs []*Buffer) error {
	if len(bufs) == 0 {
		return nil
	}
	_, err := c.call("send", &c.write, 0, func() int {
		array := make([]C.struct_zv_buf, len(bufs))
		for i, b := range bufs {
			if !c.held[b] {
				return -int(syscall.EINVAL)
			}
			array[i] = b.b
			array[i].len, array[i].flags = C.uint32_t(len(b.Data)), C.uint32_t(b.Flags)
		}
		for _, b := range bufs {
			delete(c.held, b)
			b.Data = nil
		}
		return int(C.zv_buf_send(c.p, &array[0], C.uint(len(array))))
	})
	if errors.Is(err, syscall.EINVAL) && bufs[0].Data != nil {
		err = errForeign
	}
	return err
}

// Recv waits for received buffers, at most n. io.EOF: the end of the stream. Release each.
func (c *Conn) Recv(n int) ([]*Buffer, error) {
	var bufs [maxBufs]C.struct_zv_buf
	if n > maxBufs {
		n = maxBufs
	}
	var out []*Buffer
	got, err := c.call("recv", &c.read, C.ZV_EV_IN, func() int {
		got := int(C.zv_buf_recv(c.p, &bufs[0], C.uint(n)))
		if got > 0 {
			out = c.buffers(bufs[:got], true)
		}
		return got
	})
	if err == nil && got == 0 {
		err = io.EOF
	}
	return out, err
}

// Release gives a received buffer back, and its credit to the sender. Also after the connection was closed.
func (b *Buffer) Release() {
	b.c.q.mu.Lock()
	defer b.c.q.mu.Unlock()
	if b.c.q.loans[b] {
		b.release()
	}
}

func (b *Buffer) release() {
	delete(b.c.q.loans, b)
	b.Data = nil
	C.zv_buf_release(b.c.q.p, &b.b, 1)
}
