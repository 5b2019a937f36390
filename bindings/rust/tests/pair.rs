// SPDX-License-Identifier: BSD-3-Clause
//! Two devices of the zvsockd whose client socket ZVSOCK_TEST_URI names, each test on a port of its own.
use std::io::{self, ErrorKind};

use zvsock::{ffi, Connection, Device, Type};

fn devices() -> (Device, Device) {
    let uri = std::env::var("ZVSOCK_TEST_URI").expect("ZVSOCK_TEST_URI names a device");
    (Device::open(&uri, None).unwrap(), Device::open(&uri, None).unwrap())
}

fn wait<T>(mut get: impl FnMut() -> io::Result<T>, dev: &Device) -> io::Result<T> {
    loop {
        match get() {
            Err(e) if e.kind() == ErrorKind::WouldBlock => drop(dev.queue(0).unwrap().poll()?),
            other => return other,
        }
    }
}

fn pair(a: &Device, b: &Device, port: u32, kind: Type) -> (Connection, Connection) {
    b.listen(port, kind, 0).unwrap();
    let (qa, qb) = (a.queue(0).unwrap(), b.queue(0).unwrap());
    let x = qa.connect_start(zvsock::CID_LOCAL, port, kind).unwrap();
    let mut connected = false;
    let mut y = None;
    while !connected || y.is_none() {
        connected |= qa.poll().unwrap().iter().any(|e| e.events & zvsock::EV_CONNECT != 0 && e.err == 0);
        qb.poll().unwrap();
        y = y.or_else(|| qb.accept(port).ok());
    }
    b.unlisten(port).unwrap();
    (x, y.unwrap())
}

#[test]
fn bytes_and_the_end() {
    let (a, b) = devices();
    let (x, y) = pair(&a, &b, 2001, Type::Stream);
    x.send_all(b"hello").unwrap();
    let mut data = [0; 100];
    assert_eq!(y.recv_wait(&mut data).unwrap(), 5);
    assert_eq!(&data[..5], b"hello");
    assert_eq!(x.info().unwrap().tx_bytes, 5);
    assert_eq!(x.info().unwrap().flags & ffi::ZV_CONN_INCOMING, 0);
    assert_eq!(y.info().unwrap().flags & ffi::ZV_CONN_INCOMING, ffi::ZV_CONN_INCOMING);
    drop(x);
    drop(a.queue(0).unwrap().poll().unwrap());
    assert_eq!(y.recv_wait(&mut data).unwrap(), 0);
}

#[test]
fn buffers_without_a_copy() {
    let (a, b) = devices();
    let (x, y) = pair(&a, &b, 2002, Type::SeqPacket);
    let mut buf = x.alloc(100).unwrap();
    buf[..8].copy_from_slice(b"in place");
    buf.send(8, zvsock::EOR).unwrap();
    drop(x.alloc(100).unwrap()); // goes back unsent
    let got = wait(|| y.recv_buf(), &b).unwrap().unwrap();
    let mut v = Vec::new();
    got.copy_to(&mut v);
    assert_eq!(v, b"in place");
    assert_ne!(got.flags() & zvsock::EOR, 0);
    drop(y); // the buffer outlives its connection
    assert_eq!(unsafe { got.as_slice() }, b"in place");
}

#[test]
fn failures() {
    let e = Device::open("nothing:", None).map(drop).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(93)); // EPROTONOSUPPORT
    assert!(zvsock::error_text().contains("nothing"));
    let (a, b) = devices();
    let e = a.queue(0).unwrap().connect(zvsock::CID_LOCAL, 4321, Type::Stream, None).map(drop).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset), "{}", e);
    let (x, y) = pair(&a, &b, 2003, Type::Stream);
    x.reset().unwrap();
    drop(a.queue(0).unwrap().poll().unwrap());
    assert_eq!(y.recv_wait(&mut [0; 10]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// One line a member, as tests/bindings/layout.c prints them.
#[test]
fn layout() {
    macro_rules! size { ($out:ident, $($t:ident),*) => { $(
        $out.push_str(&format!("{} {}\n", stringify!($t), std::mem::size_of::<ffi::$t>())); )* } }
    macro_rules! at { ($out:ident, $t:ident, $($m:ident),*) => { $( {
        let u = std::mem::MaybeUninit::<ffi::$t>::uninit();
        let p = u.as_ptr();
        let off = unsafe { std::ptr::addr_of!((*p).$m) } as usize - p as usize;
        $out.push_str(&format!("{}.{} {}\n", stringify!($t), stringify!($m).trim_start_matches("r#"), off));
    } )* } }
    let mut out = String::new();
    size!(out, zv_opts, zv_buf, zv_event, zv_conn_info);
    at!(out, zv_opts, size, queues, ring_size, rx_buf, tx_buf, buf_alloc, max_conns, flags, connect_timeout_ns,
        close_timeout_ns, hello_timeout_ns, spin_ns, rx_memory, tx_timeout_ns);
    at!(out, zv_buf, data, len, capacity, flags, cookie, serial);
    at!(out, zv_event, conn, user, events, port, err, queue);
    at!(out, zv_conn_info, size, local_cid, peer_cid, local_port, peer_port, r#type, queue, tx_credit, rx_unread, state,
        tx_bytes, rx_bytes, opened_ns, peer_buf_alloc, tx_unacked, flags, reserved, user);
    let path = std::env::var("ZVSOCK_TEST_LAYOUT").expect("ZVSOCK_TEST_LAYOUT names what layout.c has printed");
    assert_eq!(out, std::fs::read_to_string(path).unwrap());
}
