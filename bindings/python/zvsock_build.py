#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Builds zvsock/_zvsock*.so, which joins Python and libzvsock (cffi, "API mode").

usage: zvsock_build.py OUT_DIR INCLUDE_DIR LIB_DIR [RPATH]

The C compiler checks the declarations below against <zvsock.h>, so that they cannot differ from it unnoticed.
"""
import os
import shutil
import sys
import tempfile

CONSTANTS = """
ZV_CID_LOCAL ZV_CID_HOST ZV_PORT_ANY ZV_QUEUES_MAX ZV_WAIT_QUEUES_MAX ZV_EOM ZV_EOR ZV_MORE ZV_TRUNC ZV_PEEK
ZV_EV_IN ZV_EV_OUT ZV_EV_CONNECT ZV_EV_ACCEPT ZV_EV_HUP ZV_EV_ERR ZV_EV_EPIPE ZV_EV_WAKE
ZV_OPT_BUSY_POLL ZV_OPT_NO_HUGE ZV_OPT_NO_HELLO ZV_OPT_NO_CHANNEL ZV_OPT_PACKED ZV_OPT_SPLIT
ZV_CONN_INCOMING ZV_CONN_CHANNEL
""".split()

DECLARATIONS = """
struct zv_dev; struct zv_queue; struct zv_conn;
enum zv_type { ZV_STREAM, ZV_SEQPACKET, ... };
enum zv_peer_kind { ZV_PEER_UNKNOWN, ZV_PEER_PLAIN, ZV_PEER_ZVSOCK, ... };
struct zv_opts {
    size_t size;
    uint32_t queues, ring_size, rx_buf, tx_buf, buf_alloc, max_conns, flags;
    uint64_t connect_timeout_ns, close_timeout_ns, hello_timeout_ns, spin_ns, rx_memory, tx_timeout_ns;
    ...;
};
struct zv_buf { void *data; uint32_t len, capacity, flags; ...; };
struct zv_event { struct zv_conn *conn; uint32_t events, port; int32_t err; uint32_t queue; ...; };
struct zv_dev_info {
    size_t size; uint64_t cid, guest_cid; uint32_t queues, queues_up; uint64_t page_size; enum zv_peer_kind peer;
    const char *transport; uint32_t flags; uint64_t attached_ns; ...;
};
struct zv_conn_info {
    size_t size; uint64_t local_cid, peer_cid; uint32_t local_port, peer_port; enum zv_type type; uint32_t queue, tx_credit,
    rx_unread; const char *state; uint64_t tx_bytes, rx_bytes, opened_ns; uint32_t peer_buf_alloc, tx_unacked, flags; ...;
};
struct zv_queue_stats {
    uint64_t %s; ...;
};
const char *zv_version(void);
const char *zv_strerror(int err);
const char *zv_error_text(void);
int zv_catch_sigbus(void);
int zv_open(struct zv_dev **dev, const char *uri, const struct zv_opts *opts);
int zv_close(struct zv_dev *dev);
uint64_t zv_cid(const struct zv_dev *dev);
unsigned zv_nqueues(const struct zv_dev *dev);
struct zv_queue *zv_queue(struct zv_dev *dev, unsigned i);
int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info);
int zv_queue_stats(const struct zv_queue *q, struct zv_queue_stats *stats, size_t size);
int zv_listen(struct zv_dev *dev, uint32_t port, enum zv_type type, unsigned backlog);
int zv_unlisten(struct zv_dev *dev, uint32_t port);
int zv_accept(struct zv_queue *q, uint32_t port, struct zv_conn **conn);
int zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type, struct zv_conn **conn);
int zv_connect_wait(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type, uint64_t timeout_ns,
                    struct zv_conn **conn);
int zv_shutdown(struct zv_conn *conn, int how);
int zv_conn_close(struct zv_conn *conn);
int zv_conn_reset(struct zv_conn *conn);
int zv_conn_info(struct zv_conn *conn, struct zv_conn_info *info);
int zv_conn_wait(struct zv_conn *conn, uint32_t events, uint64_t timeout_ns);
void zv_set_events(struct zv_conn *conn, uint32_t events);
ssize_t zv_send(struct zv_conn *conn, const void *data, size_t len, uint32_t flags);
int zv_send_all(struct zv_conn *conn, const void *data, size_t len, uint32_t flags, uint64_t timeout_ns, size_t *sent);
ssize_t zv_recv(struct zv_conn *conn, void *data, size_t len, uint32_t *flags);
int zv_buf_alloc(struct zv_conn *conn, struct zv_buf *bufs, unsigned n, size_t len);
int zv_buf_send(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);
void zv_buf_cancel(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);
int zv_buf_recv(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);
void zv_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n);
int zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);
int zv_arm(struct zv_queue *q);
int zv_fd(struct zv_queue *q);
int zv_wait(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns);
void zv_wake(struct zv_queue *q);
"""

# Members of struct zv_queue_stats, which become the keys of Queue.stats().
STATS = """
rx_packets rx_bytes tx_packets tx_bytes rx_copied tx_no_buffer tx_no_credit kicks wakeups conns_opened conns_accepted
conns_refused conns_reset conns_timedout rst_sent rst_dropped rx_bad_hdr rx_bad_cid rx_bad_type rx_no_conn rx_bad_state
rx_overrun rx_bad_credit rx_bad_chain ring_broken sessions rx_late rx_promised rx_private chans chan_broken chan_rings
dgram_dropped dgram_unbound loan_limit
""".split()


def main():
    if '-h' in sys.argv[1:] or '--help' in sys.argv[1:]:
        print(__doc__.strip())
        return
    if not 4 <= len(sys.argv) <= 5 or any(a.startswith('-') for a in sys.argv[1:]):
        print('usage: zvsock_build.py OUT_DIR INCLUDE_DIR LIB_DIR [RPATH]', file=sys.stderr)
        sys.exit(2)
    from cffi import FFI  # after the above: --help needs no package  # pylint: disable=import-outside-toplevel
    out, include, lib = sys.argv[1:4]
    ffi = FFI()
    ffi.cdef(''.join(f'#define {c} ...\n' for c in CONSTANTS) + DECLARATIONS % ', '.join(STATS))
    ffi.set_source('zvsock._zvsock', '#include <zvsock.h>', libraries=['zvsock'], include_dirs=[include],
                   library_dirs=[lib], runtime_library_dirs=sys.argv[4:5])
    with tempfile.TemporaryDirectory() as tmp:
        built = ffi.compile(tmpdir=tmp)
        package = os.path.join(out, 'zvsock')
        os.makedirs(package, exist_ok=True)
        shutil.copy(built, package)
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'zvsock', '__init__.py'), package)


if __name__ == '__main__':
    main()
