// SPDX-License-Identifier: BSD-3-Clause
//! Echo over zvsock: echo serve URI PORT, or echo send URI CID PORT with standard input.
use std::collections::HashMap;
use std::io::{self, Read, Write};

use zvsock::{Connection, Device, Type};

/// Sends back what has come. false: the connection is over.
fn answer(conn: &Connection) -> io::Result<bool> {
    let mut data = Vec::new();
    loop {
        match conn.recv_buf() {
            Ok(None) => return Ok(false),
            Ok(Some(buf)) => buf.copy_to(&mut data),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) => return Err(e),
        }
        conn.send_all(&data)?;
        data.clear();
    }
}

fn serve(uri: &str, port: u32) -> io::Result<()> {
    let dev = Device::open(uri, None)?;
    let queue = dev.queue(0).unwrap();
    let mut conns: HashMap<usize, Connection> = HashMap::new();
    dev.listen(port, Type::Stream, 0)?;
    println!("listening");
    loop {
        for ev in queue.wait(None)? {
            if ev.events & zvsock::EV_ACCEPT != 0 {
                let conn = queue.accept(ev.port)?;
                conns.insert(conn.id(), conn);
            } else if let Some(id) = ev.conn {
                let over = match conns.get(&id) {
                    Some(conn) => ev.events & zvsock::EV_ERR != 0 || !answer(conn).unwrap_or(false),
                    None => false,
                };
                if over {
                    conns.remove(&id);
                }
            }
        }
    }
}

fn send(uri: &str, cid: u64, port: u32) -> io::Result<()> {
    let dev = Device::open(uri, None)?;
    let conn = dev.queue(0).unwrap().connect(cid, port, Type::Stream, None)?;
    let mut data = vec![0; 65536];
    loop {
        let n = io::stdin().read(&mut data)?;
        if n == 0 {
            return Ok(());
        }
        conn.send_all(&data[..n])?;
        let mut back = 0;
        let mut part = vec![0; n];
        while back < n {
            let got = conn.recv_wait(&mut part[back..])?;
            if got == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            back += got;
        }
        io::stdout().write_all(&part)?;
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let arg = |i: usize| args.get(i).map_or("", String::as_str);
    let number = |i: usize| arg(i).parse::<u32>().ok();
    let done = match (arg(1), args.len(), number(3), number(4)) {
        ("serve", 4, Some(port), _) => serve(arg(2), port),
        ("send", 5, Some(cid), Some(port)) => send(arg(2), cid.into(), port),
        _ => {
            eprintln!("usage: echo serve URI PORT | echo send URI CID PORT");
            std::process::exit(2);
        }
    };
    if let Err(e) = done {
        eprintln!("echo: {}: {}", e, zvsock::error_text());
        std::process::exit(1);
    }
}
