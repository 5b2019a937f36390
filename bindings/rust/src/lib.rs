// SPDX-License-Identifier: BSD-3-Clause
//! zvsock: vsock in user space. [`ffi`] is the C API; what stands here is a thin layer over it that frees what it owns
//! and keeps buffers from being used after they went back. The meaning of each call is described in `<zvsock.h>`.
//!
//! A device and all that comes from it stay in one thread (they are not `Send`), as the C API wants it for queues.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let dev = zvsock::Device::open("daemon:/run/zvsock/clients.sock", None)?;
//! let conn = dev.queue(0).unwrap().connect(zvsock::CID_LOCAL, 1234, zvsock::Type::Stream, None)?;
//! conn.send_all(b"hello")?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod ffi;

use std::ffi::{CStr, CString};
use std::io::{self, Error, ErrorKind};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::os::raw::{c_int, c_uint, c_void};
use std::os::unix::io::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

pub use ffi::{ZV_CID_HOST as CID_HOST, ZV_CID_LOCAL as CID_LOCAL, ZV_PORT_ANY as PORT_ANY};
pub use ffi::{ZV_EOM as EOM, ZV_EOR as EOR, ZV_MORE as MORE, ZV_PEEK as PEEK, ZV_TRUNC as TRUNC};
pub use ffi::{ZV_EV_ACCEPT as EV_ACCEPT, ZV_EV_CONNECT as EV_CONNECT, ZV_EV_ERR as EV_ERR, ZV_EV_HUP as EV_HUP};
pub use ffi::{ZV_EV_IN as EV_IN, ZV_EV_OUT as EV_OUT, ZV_EV_WAKE as EV_WAKE};

const EVENTS: usize = 64;

/// Socket type: bytes without boundaries, or messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// SOCK_STREAM
    Stream = ffi::ZV_STREAM as isize,
    /// SOCK_SEQPACKET
    SeqPacket = ffi::ZV_SEQPACKET as isize,
}

/// The library's version.
pub fn version() -> String {
    unsafe { CStr::from_ptr(ffi::zv_version()) }.to_string_lossy().into_owned()
}

/// What the library said of the last failure of this thread: what, where, how to mend it.
pub fn error_text() -> String {
    unsafe { CStr::from_ptr(ffi::zv_error_text()) }.to_string_lossy().into_owned()
}

fn check(ret: isize) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| Error::from_raw_os_error(-ret as i32))
}

fn ns(t: Option<Duration>) -> u64 {
    t.map_or(u64::MAX, |t| u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
}

struct Dev(*mut ffi::zv_dev);

impl Drop for Dev {
    fn drop(&mut self) {
        // Connections and buffers hold a reference, so none is left.
        unsafe { ffi::zv_close(self.0) };
    }
}

/// An open device; closed with the last of what came from it.
pub struct Device(Rc<Dev>);

impl Device {
    /// Opens a device by its URI. On failure [`error_text`] has a sentence.
    pub fn open(uri: &str, opts: Option<ffi::zv_opts>) -> io::Result<Device> {
        let uri = CString::new(uri).map_err(|_| Error::from(ErrorKind::InvalidInput))?;
        let mut opts = opts.unwrap_or_default();
        let mut p = std::ptr::null_mut();
        opts.size = std::mem::size_of::<ffi::zv_opts>();
        check(unsafe { ffi::zv_open(&mut p, uri.as_ptr(), &opts) } as isize)?;
        Ok(Device(Rc::new(Dev(p))))
    }

    /// Own CID.
    pub fn cid(&self) -> u64 {
        unsafe { ffi::zv_cid(self.0 .0) }
    }

    /// Queue `i`; None: there are fewer.
    pub fn queue(&self, i: u32) -> Option<Queue> {
        let p = unsafe { ffi::zv_queue(self.0 .0, i) };
        (!p.is_null()).then(|| Queue { dev: self.0.clone(), p })
    }

    /// Listens on a port, on all queues.
    pub fn listen(&self, port: u32, kind: Type, backlog: u32) -> io::Result<()> {
        check(unsafe { ffi::zv_listen(self.0 .0, port, kind as c_uint, backlog) } as isize).map(drop)
    }

    /// Stops listening.
    pub fn unlisten(&self, port: u32) -> io::Result<()> {
        check(unsafe { ffi::zv_unlisten(self.0 .0, port) } as isize).map(drop)
    }
}

/// What [`Queue::poll`] reports. `conn`: the id of the connection it is about ([`Connection::id`]).
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// None: EV_ACCEPT, EV_WAKE.
    pub conn: Option<usize>,
    /// EV_ bits.
    pub events: u32,
    /// The listening port of EV_ACCEPT.
    pub port: u32,
    /// 0, or an errno value.
    pub err: i32,
}

/// A queue of a device.
#[derive(Clone)]
pub struct Queue {
    dev: Rc<Dev>,
    p: *mut ffi::zv_queue,
}

impl Queue {
    fn events(&self, get: impl Fn(*mut ffi::zv_event) -> c_int) -> io::Result<Vec<Event>> {
        let mut evs: [ffi::zv_event; EVENTS] = unsafe { std::mem::zeroed() };
        let n = check(get(evs.as_mut_ptr()) as isize)?;
        let conn = |e: &ffi::zv_event| (!e.conn.is_null()).then(|| e.conn as usize);
        Ok(evs[..n]
            .iter()
            .map(|e| Event { conn: conn(e), events: e.events, port: e.port, err: -e.err })
            .collect())
    }

    /// Does the queue's work; never waits.
    pub fn poll(&self) -> io::Result<Vec<Event>> {
        self.events(|evs| unsafe { ffi::zv_poll(self.p, evs, EVENTS as c_uint) })
    }

    /// The same, waiting for an event; empty when the time is up. `Interrupted`: a signal.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        self.events(|evs| unsafe { ffi::zv_wait(self.p, evs, EVENTS as c_uint, ns(timeout)) })
    }

    /// True: the descriptor becomes readable when there is something to poll. False: there is already.
    pub fn arm(&self) -> io::Result<bool> {
        match check(unsafe { ffi::zv_arm(self.p) } as isize) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn conn(&self, p: *mut ffi::zv_conn) -> Connection {
        Connection { q: self.clone(), p }
    }

    /// A connection, once it is connected.
    pub fn connect(&self, cid: u64, port: u32, kind: Type, timeout: Option<Duration>) -> io::Result<Connection> {
        let mut p = std::ptr::null_mut();
        check(unsafe { ffi::zv_connect_wait(self.p, cid, port, kind as c_uint, ns(timeout), &mut p) } as isize)?;
        Ok(self.conn(p))
    }

    /// A connection that EV_CONNECT tells the outcome of.
    pub fn connect_start(&self, cid: u64, port: u32, kind: Type) -> io::Result<Connection> {
        let mut p = std::ptr::null_mut();
        check(unsafe { ffi::zv_connect(self.p, cid, port, kind as c_uint, &mut p) } as isize)?;
        Ok(self.conn(p))
    }

    /// The next connection that waits at `port`; `WouldBlock`: none.
    pub fn accept(&self, port: u32) -> io::Result<Connection> {
        let mut p = std::ptr::null_mut();
        check(unsafe { ffi::zv_accept(self.p, port, &mut p) } as isize)?;
        Ok(self.conn(p))
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        unsafe { ffi::zv_fd(self.p) }
    }
}

/// A connection; dropping it closes it, and what was sent is delivered.
pub struct Connection {
    q: Queue,
    p: *mut ffi::zv_conn,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // TxBuf borrows the connection, so nothing is reserved on it any more.
        unsafe { ffi::zv_conn_close(self.p) };
    }
}

impl Connection {
    /// As in [`Event::conn`]. A later connection may have it again.
    pub fn id(&self) -> usize {
        self.p as usize
    }

    /// Ends it by a reset.
    pub fn reset(self) -> io::Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        let ret = check(unsafe { ffi::zv_conn_reset(this.p) } as isize).map(drop);
        drop(unsafe { std::ptr::read(&this.q) });
        ret
    }

    /// Ends sending (1), receiving (0) or both (2).
    pub fn shutdown(&self, how: i32) -> io::Result<()> {
        check(unsafe { ffi::zv_shutdown(self.p, how) } as isize).map(drop)
    }

    /// Addresses, state and counters.
    pub fn info(&self) -> io::Result<ffi::zv_conn_info> {
        let mut info: ffi::zv_conn_info = unsafe { std::mem::zeroed() };
        info.size = std::mem::size_of::<ffi::zv_conn_info>();
        check(unsafe { ffi::zv_conn_info(self.p, &mut info) } as isize)?;
        Ok(info)
    }

    /// Which events are reported.
    pub fn set_events(&self, events: u32) {
        unsafe { ffi::zv_set_events(self.p, events) }
    }

    /// Waits for one of `events`; 0: the time is up.
    pub fn wait(&self, events: u32, timeout: Option<Duration>) -> io::Result<u32> {
        check(unsafe { ffi::zv_conn_wait(self.p, events, ns(timeout)) } as isize).map(|n| n as u32)
    }

    /// Bytes taken; `WouldBlock`: no room.
    pub fn send(&self, data: &[u8], flags: u32) -> io::Result<usize> {
        check(unsafe { ffi::zv_send(self.p, data.as_ptr() as *const c_void, data.len(), flags) })
    }

    /// Waits until all is taken.
    pub fn send_all(&self, data: &[u8]) -> io::Result<()> {
        let (p, none) = (data.as_ptr() as *const c_void, std::ptr::null_mut());
        check(unsafe { ffi::zv_send_all(self.p, p, data.len(), 0, u64::MAX, none) } as isize).map(drop)
    }

    /// (bytes, flags out); 0 bytes: the end of the stream; `WouldBlock`: nothing yet.
    pub fn recv(&self, data: &mut [u8], mut flags: u32) -> io::Result<(usize, u32)> {
        let n = check(unsafe { ffi::zv_recv(self.p, data.as_mut_ptr() as *mut c_void, data.len(), &mut flags) })?;
        Ok((n, flags))
    }

    /// recv() that waits.
    pub fn recv_wait(&self, data: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.recv(data, 0) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(EV_IN, None)?,
                other => return other.map(|(n, _)| n),
            };
        }
    }

    /// Reserves a buffer of about `size` bytes to write into; `WouldBlock`: none is free now.
    pub fn alloc(&self, size: usize) -> io::Result<TxBuf<'_>> {
        let mut b = EMPTY;
        check(unsafe { ffi::zv_buf_alloc(self.p, &mut b, 1, size) } as isize)?;
        b.len = b.capacity;
        Ok(TxBuf { conn: self, b, sent: false })
    }

    /// The next received buffer; None: the end of the stream; `WouldBlock`: nothing yet.
    pub fn recv_buf(&self) -> io::Result<Option<RxBuf>> {
        let mut b = EMPTY;
        let n = check(unsafe { ffi::zv_buf_recv(self.p, &mut b, 1) } as isize)?;
        Ok((n > 0).then(|| RxBuf { q: self.q.clone(), b, one_thread: PhantomData }))
    }
}

const EMPTY: ffi::zv_buf =
    ffi::zv_buf { data: std::ptr::null_mut(), len: 0, capacity: 0, flags: 0, cookie: 0, serial: 0 };

/// A reserved buffer; dropping it gives it back unsent.
pub struct TxBuf<'c> {
    conn: &'c Connection,
    b: ffi::zv_buf,
    sent: bool,
}

impl TxBuf<'_> {
    /// Sends the first `len` bytes, with EOM or EOR for a message of a SEQPACKET connection.
    pub fn send(mut self, len: usize, flags: u32) -> io::Result<()> {
        if len > self.b.capacity as usize {
            return Err(Error::from(ErrorKind::InvalidInput));
        }
        self.b.len = len as u32;
        self.b.flags = flags;
        self.sent = true;
        check(unsafe { ffi::zv_buf_send(self.conn.p, &mut self.b, 1) } as isize).map(drop)
    }
}

impl Drop for TxBuf<'_> {
    fn drop(&mut self) {
        if !self.sent {
            unsafe { ffi::zv_buf_cancel(self.conn.p, &mut self.b, 1) }
        }
    }
}

impl Deref for TxBuf<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        unsafe { std::slice::from_raw_parts(self.b.data as *const u8, self.b.capacity as usize) }
    }
}

impl DerefMut for TxBuf<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        unsafe { std::slice::from_raw_parts_mut(self.b.data as *mut u8, self.b.capacity as usize) }
    }
}

/// A received buffer; dropping it gives it, and its credit, back. It may outlive its connection.
///
/// A hostile peer can change the bytes while they are looked at, which a slice of Rust must not: so they are copied out
/// ([`RxBuf::copy_to`]) or read through the raw pointer.
pub struct RxBuf {
    q: Queue,
    b: ffi::zv_buf,
    one_thread: PhantomData<*mut u8>,
}

impl RxBuf {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.b.len as usize
    }

    /// An empty message.
    pub fn is_empty(&self) -> bool {
        self.b.len == 0
    }

    /// EOM, EOR.
    pub fn flags(&self) -> u32 {
        self.b.flags
    }

    /// The bytes, valid as long as this buffer.
    pub fn as_ptr(&self) -> *const u8 {
        self.b.data as *const u8
    }

    /// Appends a private copy to `v`.
    pub fn copy_to(&self, v: &mut Vec<u8>) {
        v.reserve(self.len());
        unsafe {
            std::ptr::copy_nonoverlapping(self.as_ptr(), v.as_mut_ptr().add(v.len()), self.len());
            v.set_len(v.len() + self.len());
        }
    }

    /// Slices over memory that the peer shares.
    ///
    /// # Safety
    /// The peer must not write to it meanwhile: trust it, or use [`RxBuf::copy_to`].
    pub unsafe fn as_slice(&self) -> &[u8] {
        std::slice::from_raw_parts(self.as_ptr(), self.len())
    }
}

impl Drop for RxBuf {
    fn drop(&mut self) {
        unsafe { ffi::zv_buf_release(self.q.p, &mut self.b, 1) }
        let _ = &self.q.dev; // keeps the device until now
    }
}
