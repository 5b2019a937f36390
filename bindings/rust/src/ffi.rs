// SPDX-License-Identifier: BSD-3-Clause
//! <zvsock.h> and <zvsock_types.h> as they are. A test compares sizes and offsets with the C compiler's.
#![allow(non_camel_case_types, missing_docs)]

use std::os::raw::{c_char, c_int, c_uint, c_void};

pub enum zv_dev {}
pub enum zv_queue {}
pub enum zv_conn {}

pub const ZV_CID_LOCAL: u64 = 1;
pub const ZV_CID_HOST: u64 = 2;
pub const ZV_PORT_ANY: u32 = u32::MAX;

pub const ZV_STREAM: c_uint = 1;
pub const ZV_SEQPACKET: c_uint = 2;

pub const ZV_EOM: u32 = 1 << 0;
pub const ZV_EOR: u32 = 1 << 1;
pub const ZV_MORE: u32 = 1 << 2;
pub const ZV_TRUNC: u32 = 1 << 3;
pub const ZV_PEEK: u32 = 1 << 4;

pub const ZV_EV_IN: u32 = 1 << 0;
pub const ZV_EV_OUT: u32 = 1 << 1;
pub const ZV_EV_CONNECT: u32 = 1 << 2;
pub const ZV_EV_ACCEPT: u32 = 1 << 3;
pub const ZV_EV_HUP: u32 = 1 << 4;
pub const ZV_EV_ERR: u32 = 1 << 5;
pub const ZV_EV_EPIPE: u32 = 1 << 6;
pub const ZV_EV_WAKE: u32 = 1 << 7;

pub const ZV_CONN_INCOMING: u32 = 1 << 0;
pub const ZV_CONN_CHANNEL: u32 = 1 << 1;

pub const ZV_OPT_BUSY_POLL: u32 = 1 << 0;
pub const ZV_OPT_NO_HUGE: u32 = 1 << 1;
pub const ZV_OPT_NO_HELLO: u32 = 1 << 2;
pub const ZV_OPT_NO_CHANNEL: u32 = 1 << 3;
pub const ZV_OPT_PACKED: u32 = 1 << 5;
pub const ZV_OPT_SPLIT: u32 = 1 << 6;

#[repr(C)]
#[derive(Clone, Copy, Default, Debug)]
pub struct zv_opts {
    pub size: usize,
    pub queues: u32,
    pub ring_size: u32,
    pub rx_buf: u32,
    pub tx_buf: u32,
    pub buf_alloc: u32,
    pub max_conns: u32,
    pub flags: u32,
    pub connect_timeout_ns: u64,
    pub close_timeout_ns: u64,
    pub hello_timeout_ns: u64,
    pub spin_ns: u64,
    pub rx_memory: u64,
    pub tx_timeout_ns: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct zv_buf {
    pub data: *mut c_void,
    pub len: u32,
    pub capacity: u32,
    pub flags: u32,
    pub cookie: u32,
    pub serial: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct zv_event {
    pub conn: *mut zv_conn,
    pub user: *mut c_void,
    pub events: u32,
    pub port: u32,
    pub err: i32,
    pub queue: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct zv_conn_info {
    pub size: usize,
    pub local_cid: u64,
    pub peer_cid: u64,
    pub local_port: u32,
    pub peer_port: u32,
    pub r#type: c_uint,
    pub queue: u32,
    pub tx_credit: u32,
    pub rx_unread: u32,
    pub state: *const c_char,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    pub opened_ns: u64,
    pub peer_buf_alloc: u32,
    pub tx_unacked: u32,
    pub flags: u32,
    pub reserved: u32,
    pub user: *mut c_void,
}

extern "C" {
    pub fn zv_version() -> *const c_char;
    pub fn zv_strerror(err: c_int) -> *const c_char;
    pub fn zv_error_text() -> *const c_char;
    pub fn zv_catch_sigbus() -> c_int;
    pub fn zv_open(dev: *mut *mut zv_dev, uri: *const c_char, opts: *const zv_opts) -> c_int;
    pub fn zv_close(dev: *mut zv_dev) -> c_int;
    pub fn zv_cid(dev: *const zv_dev) -> u64;
    pub fn zv_nqueues(dev: *const zv_dev) -> c_uint;
    pub fn zv_queue(dev: *mut zv_dev, i: c_uint) -> *mut zv_queue;
    pub fn zv_listen(dev: *mut zv_dev, port: u32, kind: c_uint, backlog: c_uint) -> c_int;
    pub fn zv_unlisten(dev: *mut zv_dev, port: u32) -> c_int;
    pub fn zv_accept(q: *mut zv_queue, port: u32, conn: *mut *mut zv_conn) -> c_int;
    pub fn zv_connect(q: *mut zv_queue, cid: u64, port: u32, kind: c_uint, conn: *mut *mut zv_conn) -> c_int;
    pub fn zv_connect_wait(
        q: *mut zv_queue,
        cid: u64,
        port: u32,
        kind: c_uint,
        timeout_ns: u64,
        conn: *mut *mut zv_conn,
    ) -> c_int;
    pub fn zv_shutdown(conn: *mut zv_conn, how: c_int) -> c_int;
    pub fn zv_conn_close(conn: *mut zv_conn) -> c_int;
    pub fn zv_conn_reset(conn: *mut zv_conn) -> c_int;
    pub fn zv_conn_info(conn: *mut zv_conn, info: *mut zv_conn_info) -> c_int;
    pub fn zv_conn_wait(conn: *mut zv_conn, events: u32, timeout_ns: u64) -> c_int;
    pub fn zv_set_events(conn: *mut zv_conn, events: u32);
    pub fn zv_send(conn: *mut zv_conn, data: *const c_void, len: usize, flags: u32) -> isize;
    pub fn zv_send_all(
        conn: *mut zv_conn,
        data: *const c_void,
        len: usize,
        flags: u32,
        timeout_ns: u64,
        sent: *mut usize,
    ) -> c_int;
    pub fn zv_recv(conn: *mut zv_conn, data: *mut c_void, len: usize, flags: *mut u32) -> isize;
    pub fn zv_buf_alloc(conn: *mut zv_conn, bufs: *mut zv_buf, n: c_uint, len: usize) -> c_int;
    pub fn zv_buf_send(conn: *mut zv_conn, bufs: *mut zv_buf, n: c_uint) -> c_int;
    pub fn zv_buf_cancel(conn: *mut zv_conn, bufs: *mut zv_buf, n: c_uint);
    pub fn zv_buf_recv(conn: *mut zv_conn, bufs: *mut zv_buf, n: c_uint) -> c_int;
    pub fn zv_buf_release(q: *mut zv_queue, bufs: *mut zv_buf, n: c_uint);
    pub fn zv_poll(q: *mut zv_queue, events: *mut zv_event, max: c_uint) -> c_int;
    pub fn zv_arm(q: *mut zv_queue) -> c_int;
    pub fn zv_fd(q: *mut zv_queue) -> c_int;
    pub fn zv_wait(q: *mut zv_queue, events: *mut zv_event, max: c_uint, timeout_ns: u64) -> c_int;
    pub fn zv_wake(q: *mut zv_queue);
}
