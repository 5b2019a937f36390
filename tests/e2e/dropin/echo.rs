// SPDX-License-Identifier: BSD-3-Clause
//! An AF_VSOCK program in Rust, as one writes it on the vsock crate.
//!
//!     echo client PORT N [CID]    N threads, each with a connection to CID 3, or CID
//!     echo server PORT N          N connections, each with a thread
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

fn client(cid: u32, port: u32, i: usize) {
    let mut c = vsock::VsockStream::connect_with_cid_port(cid, port).expect("connect");
    let text = format!("this is {}", i);
    let mut back = String::new();
    c.write_all(text.as_bytes()).expect("write");
    c.shutdown(Shutdown::Write).expect("shutdown");
    c.read_to_string(&mut back).expect("read");
    assert_eq!(text, back);
}

fn echo(mut c: vsock::VsockStream) {
    let mut buf = [0u8; 4096];
    loop {
        let n = c.read(&mut buf).expect("read");
        if n == 0 {
            return;
        }
        c.write_all(&buf[..n]).expect("write");
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let port: u32 = args[2].parse().expect("port");
    let n: usize = args[3].parse().expect("number");
    if args[1] == "client" {
        let cid: u32 = args.get(4).map_or(3, |a| a.parse().expect("CID"));
        let all: Vec<_> = (0..n).map(|i| thread::spawn(move || client(cid, port, i))).collect();
        for t in all {
            t.join().expect("a client");
        }
        println!("{} ok", n);
        return;
    }
    let l = vsock::VsockListener::bind_with_cid_port(u32::MAX, port).expect("bind");
    println!("listening");
    let mut all = Vec::new();
    for _ in 0..n {
        let (c, peer) = l.accept().expect("accept");
        println!("peer {}", peer);
        all.push(thread::spawn(move || echo(c)));
    }
    for t in all {
        t.join().expect("a connection");
    }
}
