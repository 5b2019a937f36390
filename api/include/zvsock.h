/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock: vsock in user space, for the guest and for the host.
 *
 * Guest and host use the same header; constants and structures are in <zvsock_types.h>, which it
 * includes. A *device* (struct zv_dev) is opened by a URI and has N *queues* (struct zv_queue),
 * each of which carries *connections* (struct zv_conn).
 *
 * Return values: every int and ssize_t call returns >= 0 on success and a negative errno value on
 * failure; zv_error_text() has a sentence about the last failure. The library never prints, never
 * exits, and does not use errno to report anything. Lengths are in bytes, times in nanoseconds.
 *
 * Threads: calls on a queue, and on its connections, must be made by one thread at a time, the
 * queue's owner. A thread may own any number of queues. To hand a queue to another thread, stop
 * calling in the first, synchronise (a mutex, a join), and go on in the second. Different queues of
 * a device may be used in parallel without locks. Any thread may access the payload behind a struct
 * zv_buf, and may call zv_wake. The caller serialises device calls (zv_close, zv_listen,
 * zv_listen_all, zv_unlisten) on one device; device calls on different devices, zv_open and
 * zv_host_init may be made by several threads at once, also while others make calls on queues.
 *
 * fork() and exec(): after fork() only the parent may use a device; the child must not call
 * anything. Until it exits or executes a program, the child holds what the parent had open, so
 * sockets and memory of the peer outlive zv_close for that long. All descriptors are close-on-exec.
 *
 * Real-time scheduling: a thread that polls, in zv_wait or in a loop of its own, yields by
 * sched_yield. Under SCHED_FIFO and SCHED_RR that lets threads of the same priority run, but never
 * lower ones: a peer, or a control thread of the library, with lower priority on the same CPU runs
 * only while the poller sleeps, and never if the poller does not sleep (ZV_OPT_BUSY_POLL). Give
 * pollers CPUs of their own, or all threads of a CPU the same priority. Control threads inherit
 * policy and priority from the thread that calls zv_open: each guest device has its own; all host
 * devices share one, which is started with the first of them.
 *
 * Hostile peers: payload received without copying (zv_buf_recv) lies in memory that the peer can
 * still change while you look at it. Copy before you check and use it, or use zv_recv.
 */
#ifndef ZVSOCK_H
#define ZVSOCK_H

#include <zvsock_types.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ZV_API		__attribute__((visibility("default")))
#define ZV_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define ZV_API
#define ZV_PRINTF(f, a)
#endif

/* For C++ a call that is named as its structure is (zv_dev_info) hides the constructor. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

/* ---- library ---------------------------------------------------------------------------- */

/* "0.1.0". */
ZV_API const char *zv_version(void);

/* A short name for a negative errno value as zvsock uses it. Static storage. */
ZV_API const char *zv_strerror(int err);

/*
 * A sentence about this thread's last failed call: what is wrong, where, and how to correct it. It
 * is set by every call that returns a negative errno value (-EAGAIN included), and for what
 * zv_buf_release and zv_buf_cancel have ignored. "" when nothing has failed. Valid until this
 * thread's next failing call.
 */
ZV_API const char *zv_error_text(void);

/*
 * Sets the function that receives log lines; NULL: none, as initially. May be called from any
 * thread, and @fn may be called by several threads at once. When zv_set_log returns, the previous
 * function is not running and will not be called again, so its context may be freed: do not hold a
 * lock that the previous function waits for. When called by @fn itself, it does not wait.
 *
 * @fn is called where the line originates: by the thread that polls a queue, in the middle of a
 * call, or by the host's control thread, which serves all VMMs. So it must not block: a write(2) to
 * a pipe that nobody reads, or to a disk that hangs, stops the queue, or all of them. Copy the
 * line, which is invalid afterwards, and pass it to a thread of your own with a bounded backlog; or
 * write without blocking, and count what is lost. @fn must not call anything on the queue or device
 * that the line is about, nor leave by longjmp(3) or a C++ exception.
 */
ZV_API void zv_set_log(zv_log_fn fn, void *ctx);

/*
 * Installs a SIGBUS handler for the whole process. It handles the case that somebody truncates the
 * file behind memory shared with this process (a frontend that of its guest's memory, or a process
 * that of a region of channels, unless it is sealed), or removes hugepages from it when no others
 * are free (also from a sealed one). Then that guest's queues break (ring_broken), or the
 * connections through that region (chan_broken), and the process goes on. Faults at other addresses
 * are passed on to the previous handler. Not installed unless you ask, because signal handlers
 * belong to the application. Idempotent. 0 or -errno.
 */
ZV_API int zv_catch_sigbus(void);

/* ---- device ----------------------------------------------------------------------------- */

/*
 * Opens a device; docs/devices.md has all options.
 *   vhost-user:PATH[,PATH...][,region=SIZE]
 *                          guest side without a VM: this process is the vhost-user frontend.
 *                          Several sockets: one queue each, all of one CID, in the host's order.
 *                          region: allocates shared memory ("64M") and offers it for channels
 *   vfio:BDF[,BDF...], uio:BDF[,BDF...]
 *                          guest side in a VM: virtio-vsock PCI devices bound to vfio-pci or
 *                          uio_pci_generic (docs/guest-driver.md)
 *   vhost-kernel:cid=N     guest side without a VM: the device is the kernel's vhost-vsock, the
 *                          host side AF_VSOCK sockets of this machine (the guest's CID is N)
 *   vsock:[region=auto|none|NAME]
 *                          the kernel's own AF_VSOCK, in a guest or on a host; any number of
 *                          processes. Payload goes through the VM's shared region where there is
 *                          one, the process has CAP_NET_BIND_SERVICE and zvsockd grants channels.
 *                          Reaches every CID that the kernel reaches, including ZV_CID_LOCAL and
 *                          its own. Queues divide the connections among threads. There is no
 *                          zv_listen_all. Linux cannot reset a connection: to the peer,
 *                          zv_conn_reset looks like a close, and a peer's reset looks like the end
 *                          of the stream here (docs/guest-driver.md)
 *   daemon:PATH            an application of the host, attached to zvsockd at its client socket
 *                          PATH, with CID 2: it reaches zvsockd's guests by their CIDs, and by
 *                          ZV_CID_LOCAL or ZV_CID_HOST other applications, and AF_VSOCK programs
 *                          of the machine if zvsockd has a directory for them; docs/daemon.md
 *   host:PATH[,PATH...],cid=N[,mode=client|server][,sockmode=0660]
 *                          host side: this process is the vhost-user backend on socket PATH for
 *                          the guest with CID N (libzvsock-host; call zv_host_init first).
 *                          Several sockets: one queue each, queue i is pair 0 of socket i.
 *                          mode=client: the VMM listens, this process connects to it, and
 *                          reconnects when either restarts. sockmode: permission bits of a socket
 *                          that this process creates; until they are set, the umask applies.
 *   host:fd=N,cid=N[,name=TEXT][,user=UID]
 *                          the same on descriptor N, a connected AF_UNIX socket whose other end is
 *                          a vhost-user frontend. The device takes a duplicate; N stays the
 *                          caller's. There is one session: after it, the device is without a
 *                          guest. All rings together have at most 131,072 descriptors. CID 2 is
 *                          allowed here, for applications of the host.
 * @opts may be NULL. On success *dev is set and owned by the caller until zv_close. A guest device
 * is attached when the call returns; a host device waits for its guest in the background.
 * Errors, with a sentence in zv_error_text() each:
 *   -EINVAL           URI, an option out of its range, unknown flags, @opts newer than the library
 *   -EPROTONOSUPPORT  unknown scheme (host: before zv_host_init); the backend lacks a feature
 *   -EADDRINUSE       host: the socket is served, or something else is at PATH; CID taken
 *                     (vhost-kernel as well)
 *   -ENOENT, -ECONNREFUSED, -EACCES, -ENOTDIR, -EPERM, -EROFS and others from the system
 *                     the socket's path: nothing there, nobody listens, no right
 *   -ETIMEDOUT        vhost-user: the backend does not answer
 *   -ECONNRESET, -EPIPE
 *                     vhost-user: the backend has closed the connection during the set-up
 *   -EPROTO           vhost-user: the backend broke the protocol
 *   -ERANGE           more queues than the backend or the device has
 *   -EAFNOSUPPORT, -ENODEV
 *                     vsock: the kernel has no AF_VSOCK, or nothing that carries it
 *   -ENOMEM, -ENOSPC, -EMFILE, -ENFILE, -EAGAIN
 *                     no memory, descriptors or threads left
 */
ZV_API int zv_open(struct zv_dev **dev, const char *uri, const struct zv_opts *opts);

/*
 * Closes a device: resets its connections, stops its rings, frees everything. No thread may be
 * inside a call on the device. -EBUSY, with nothing changed, while buffers are on loan.
 */
ZV_API int zv_close(struct zv_dev *dev);

/* Own CID; 0 when a guest device has none yet. */
ZV_API uint64_t zv_cid(const struct zv_dev *dev);
ZV_API unsigned zv_nqueues(const struct zv_dev *dev);

/* Queue @i, 0..zv_nqueues-1; NULL when out of range. Lives as long as the device. */
ZV_API struct zv_queue *zv_queue(struct zv_dev *dev, unsigned i);

/* Fills in *info; the caller has set its member size. -EINVAL. Any thread. */
ZV_API int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info);

/* Copies the counters; any thread. @size: sizeof(*stats) as the caller knows it. */
ZV_API int zv_queue_stats(const struct zv_queue *q, struct zv_queue_stats *stats, size_t size);

/*
 * Passes every packet of the queue to @fn, in the queue's owner thread: received packets once their
 * header has been found valid (others are only counted), and sent packets when they are put into
 * the ring, including the library's own (HELLO, RST). NULL: off. @fn must not call anything on this
 * queue, and delays the queue while it runs. -EINVAL.
 */
ZV_API int zv_set_tap(struct zv_queue *q, zv_tap_fn fn, void *ctx);

/* ---- connections ------------------------------------------------------------------------ */

/*
 * Listens on @port, on all queues of the device; each queue has its own accept queue of @backlog
 * connections (0: 128). Connections beyond the backlog are refused. A connection that its peer
 * closes before it is accepted stays in the accept queue, with what was sent on it; one that is
 * reset is removed.
 *
 * -EADDRINUSE, -EINVAL (type, port 0 or ZV_PORT_ANY or reserved), -ENOMEM. daemon: asks zvsockd,
 * which takes a few milliseconds, or five seconds if zvsockd hangs: also -EACCES (zvsockd reserves
 * the port for others, or for root), -EADDRINUSE for a port of another application or of an
 * AF_VSOCK program, and -ENOSPC (the application has too many ports). While zvsockd is away the
 * port is kept, and requested again when it is back.
 */
ZV_API int zv_listen(struct zv_dev *dev, uint32_t port, enum zv_type type, unsigned backlog);

/*
 * Listens for everything that no listener of zv_listen takes: a REQUEST of either type, to any
 * port, waits unanswered in the accept queue of its queue, at most @backlog of them per queue (0:
 * 128). Requests beyond that are refused. ZV_EV_ACCEPT reports them with port ZV_PORT_ANY,
 * zv_accept with ZV_PORT_ANY takes them, zv_conn_info tells who asks for what, and zv_conn_answer
 * answers. A port that is listened on later is served by its own listener from then on.
 *
 * @flags: with ZV_LISTEN_ANY_CID (host devices), also requests for another CID than the host's,
 * provided that it can be a guest's: for a process that connects guests with each other. Without it
 * such requests are refused and counted in rx_bad_cid.
 *
 * -EADDRINUSE (there is one already), -EOPNOTSUPP (ZV_LISTEN_ANY_CID on a guest device; daemon:,
 * whose ports are shared with other applications), -EINVAL, -ENOMEM.
 */
ZV_API int zv_listen_all(struct zv_dev *dev, uint32_t flags, unsigned backlog);
#define ZV_LISTEN_ANY_CID (1u << 0)

/*
 * Stops listening on @port, or ends zv_listen_all (ZV_PORT_ANY). Connections that were not accepted
 * are reset, each by its queue's next zv_poll; those taken by zv_accept stay, answered or not.
 * -ENOENT.
 */
ZV_API int zv_unlisten(struct zv_dev *dev, uint32_t port);

/*
 * Takes a connection that arrived on @q for @port. It is connected. ZV_PORT_ANY: from any of the
 * listeners, in turn; but once zv_listen_all was called, only from that one, and the connection
 * then waits for zv_conn_answer. -EAGAIN: none is waiting. -ENOENT: nothing listens on that port.
 */
ZV_API int zv_accept(struct zv_queue *q, uint32_t port, struct zv_conn **conn);

/*
 * Whether zv_poll reports ZV_EV_ACCEPT for @port on @q (ZV_PORT_ANY: for zv_listen_all); by default
 * it does. For a server at its limit: when off, waiting connections do not keep zv_wait awake. They
 * go on waiting, up to the backlog, and zv_accept still takes them. This is a setting of the queue,
 * like the accept queue itself, and ends with the listener. -ENOENT: nothing listens on that port.
 * -EINVAL.
 */
ZV_API int zv_set_accept(struct zv_queue *q, uint32_t port, bool report);

/*
 * Answers a connection taken from zv_listen_all. @err 0: sends RESPONSE; the connection is
 * established. @err < 0: sends RST; the peer sees ECONNREFUSED or ECONNRESET, the connection is
 * dead with that error and must be closed (closing it unanswered also refuses it).
 *
 * Until then data calls return -ENOTCONN. If the peer gives up, or the session ends, ZV_EV_ERR
 * reports -ECONNRESET. If there is no answer within connect_timeout_ns of the request's arrival,
 * RST is sent and ZV_EV_ERR reports -ETIMEDOUT. Returns that error if it came first; -EINVAL: there
 * is nothing to answer, or @err > 0.
 */
ZV_API int zv_conn_answer(struct zv_conn *conn, int err);

/*
 * Starts a connection to @port of @cid, on the pair of @q. @cid is, from a guest, ZV_CID_HOST or a
 * sibling that the host connects to; with vsock:, any CID that the kernel reaches; from a host, the
 * guest's CID, or 0 for it; with daemon:, any guest's CID or ZV_CID_LOCAL. Asynchronous:
 * ZV_EV_CONNECT reports the result (0, -ECONNREFUSED, -ETIMEDOUT, -ECONNRESET). Owned by the caller
 * until zv_conn_close.
 *
 * -ENETDOWN (rings not running, or a session has just ended), -EHOSTUNREACH (no such CID here),
 * -EADDRNOTAVAIL (ports exhausted), -ENOSPC (max_conns), -ENOMEM, -EINVAL.
 */
ZV_API int zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
		      struct zv_conn **conn);

/*
 * zv_connect with a source address: @src_port (ZV_PORT_ANY: any free one) of @src_cid (0: own;
 * others are for a host that acts for sibling guests). Connections that differ only in the local
 * CID are different connections. A port given explicitly need not belong to this queue's share; it
 * is up to you not to use it on other queues.
 *
 * Errors of zv_connect; -EOPNOTSUPP: a guest device, and @src_cid is not 0; -EADDRINUSE: the queue
 * has a connection with these CIDs and ports; -EINVAL also: @src_cid is reserved or the guest's
 * own.
 */
ZV_API int zv_connect_from(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
			   uint32_t port, enum zv_type type, struct zv_conn **conn);

/*
 * Ends sending (VSOCK SHUT_WR, how = 1), receiving (0) or both (2), like shutdown(2). To make sure
 * that the peer has everything that was sent: zv_shutdown(conn, 1), then wait for ZV_EV_HUP, which
 * comes when the peer has read it and closed (meanwhile receive what it still sends). -ENOTCONN,
 * -EINVAL.
 */
ZV_API int zv_shutdown(struct zv_conn *conn, int how);

/*
 * Closes the connection. Data sent before is delivered; data not yet received is lost. The handle
 * is invalid afterwards; received buffers on loan stay valid until zv_buf_release, transmit buffers
 * on loan must be sent or cancelled before (-EBUSY). Events that zv_poll has already reported for
 * it still contain the handle; see there.
 */
ZV_API int zv_conn_close(struct zv_conn *conn);

/*
 * Closes the connection like zv_conn_close, but sends RST at once (SO_LINGER with time 0): the peer
 * sees ECONNRESET and may lose data that it has not read. -EBUSY as zv_conn_close.
 */
ZV_API int zv_conn_reset(struct zv_conn *conn);

/*
 * Fills in *info; the caller has set its member size. Members that this library does not know stay
 * as they are, and those that the caller does not know are left out; info->size says how much there
 * is. -EINVAL.
 */
ZV_API int zv_conn_info(struct zv_conn *conn, struct zv_conn_info *info);

/*
 * Calls @fn for every connection of the queue, including those that wait in an accept queue, are
 * finishing after zv_conn_close, or are dead but not closed yet. *info is valid during the call;
 * @fn must not call anything on this queue. If @fn returns a value other than 0, the call ends and
 * returns it. Otherwise 0; -EINVAL.
 *
 * @cursor: NULL: all connections, however long that takes. Otherwise *cursor is 0 for the first
 * call; each call passes a bounded number (some hundreds) and stores in *cursor where the next call
 * continues; 0: that was the end. Connections may come and go between calls: one that stays is
 * passed once; one that dies without being closed may be passed again, dead; one that was made or
 * closed since the first call may be passed or not.
 */
ZV_API int zv_queue_conns(struct zv_queue *q, uint64_t *cursor,
			  int (*fn)(void *ctx, const struct zv_conn_info *info), void *ctx);

/* The queue of the connection, for as long as the handle is valid. */
ZV_API struct zv_queue *zv_conn_queue(struct zv_conn *conn);

/* A pointer of the application, returned with every event of the connection. */
ZV_API void zv_set_user(struct zv_conn *conn, void *user);
ZV_API void *zv_user(struct zv_conn *conn);

/*
 * Which events zv_poll reports for the connection (ZV_EV_* bits). ZV_EV_ERR cannot be masked. For a
 * reader that pauses: without ZV_EV_IN, unread bytes do not keep zv_wait awake.
 *
 * By default all but ZV_EV_EPIPE. That one is for programs that forward data and must tell their
 * own source at once that nobody reads it any more. It is set from the peer's SHUT_RD (or close)
 * until this side has shut down sending, so whoever unmasks it must do that or mask it again, or
 * zv_wait does not sleep. Without it the next zv_send returns -EPIPE; a sender that waits for
 * ZV_EV_OUT is always woken.
 */
ZV_API void zv_set_events(struct zv_conn *conn, uint32_t events);

/* ---- copying calls ---------------------------------------------------------------------- */

/*
 * Sends. STREAM: takes as many bytes as there is room for, at least 1, and returns their number.
 * SEQPACKET: one whole message or nothing; ZV_EOR in @flags marks a record (ZV_EOM is implied).
 * ZV_MORE (STREAM) lets the following bytes join the same packet, which is sent by the first
 * zv_send without ZV_MORE, when it is full, or by the next zv_poll or zv_wait. An empty message on
 * a SEQPACKET connection needs a zvsock peer (-EINVAL otherwise).
 *
 * -EAGAIN: no room now (ZV_EV_OUT will be reported). -EPIPE: shut down. -ECONNRESET. -ENOTCONN:
 * still connecting. -EMSGSIZE: a message larger than the peer can ever take. -EINVAL also: unknown
 * flags; zv_buf_send has begun a message and not ended it.
 */
ZV_API ssize_t zv_send(struct zv_conn *conn, const void *data, size_t len, uint32_t flags);

/*
 * Receives up to @len bytes (STREAM) or one message (SEQPACKET; returns the number of bytes
 * copied). 0: end of stream. *@flags (may be NULL): on input ZV_PEEK (output flags left there by an
 * earlier call are ignored); on output ZV_EOM, ZV_EOR, ZV_TRUNC. With @len 0, STREAM takes nothing
 * and returns 0 whether there are bytes or the stream has ended; SEQPACKET takes a message and
 * discards all of it.
 *
 * -EAGAIN: nothing yet. -ECONNRESET, -ETIMEDOUT, -ECONNREFUSED, -ENOTCONN, -EINVAL (unknown flags).
 */
ZV_API ssize_t zv_recv(struct zv_conn *conn, void *data, size_t len, uint32_t *flags);

/* ---- zero-copy calls -------------------------------------------------------------------- */

/*
 * Reserves up to @n buffers for payload, and the credit for it, about @len bytes in each. May
 * return fewer buffers, or shorter ones (see capacity), also of different capacity. The memory
 * belongs to the transport: it is the guest's, or that of the connection's channel. Returns the
 * number reserved, >= 1, or -EAGAIN, -EPIPE, -ECONNRESET, -ENOTCONN, -EINVAL, or
 *
 * -ENOBUFS: too many buffers are reserved and not sent (on the queue, half of the ring; on a
 * connection, half of what the others leave of that; on a new one, 8 or a sixteenth of the ring,
 * and one more for each that it has sent or cancelled). Send or cancel some; ZV_EV_OUT will not be
 * reported for this.
 *
 * -EMSGSIZE (SEQPACKET): the message begun by zv_buf_send is already as long as the peer can take,
 * and not ended. It can neither continue nor be withdrawn: reset the connection.
 */
ZV_API int zv_buf_alloc(struct zv_conn *conn, struct zv_buf *bufs, unsigned n, size_t len);

/*
 * Sends @n reserved buffers in order, the first len bytes of each (len <= capacity; len 0 returns
 * the buffer unsent on STREAM). SEQPACKET: ZV_EOM (or ZV_EOR) in flags ends a message; len 0 with
 * one of them needs a zvsock peer. The buffers belong to the library again, whatever is returned.
 *
 * @n, or -EINVAL (len above capacity, unknown flags, foreign cookie, an empty message for a stock
 * peer: nothing sent), -EMSGSIZE (a message larger than the peer can ever take: nothing sent),
 * -ECONNRESET, -EPIPE.
 */
ZV_API int zv_buf_send(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/* Returns reserved buffers and their credit unsent. */
ZV_API void zv_buf_cancel(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/*
 * Receives up to @n buffers without copying. They stay valid until zv_buf_release, even if the
 * connection is reset or closed. Releasing them returns credit to the peer. Number of buffers >= 1;
 * 0: end of stream; errors as zv_recv.
 */
ZV_API int zv_buf_recv(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/* Returns received buffers, in any order and grouping. @q: the queue they came from. */
ZV_API void zv_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n);

/* ---- waiting ---------------------------------------------------------------------------- */

/*
 * Does the queue's work (receives, answers, timers) and reports up to @max events, round robin over
 * the connections and over the ports with connections to accept, so that none is hidden by others,
 * whatever @max is. Never blocks. Returns the number of events, possibly 0; -EINVAL.
 *
 * The array @events belongs to the caller; later calls do not change it. If you close connection B
 * while handling the event of A, an event of B in the same batch has a handle that is no longer
 * valid: set conn of B's events to NULL and skip those, or close after the batch. A connection has
 * at most one event in a batch, so closing it while handling its own event is safe.
 */
ZV_API int zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);

/*
 * Asks for a notification: from now on zv_fd becomes readable when there is something for zv_poll,
 * caused either by the peer or by your own calls on the queue since (a zv_connect that times out, a
 * zv_send that finds no room, events that are unmasked). 0: armed, you may sleep. -EAGAIN: there is
 * work already; poll again. zv_poll disarms.
 */
ZV_API int zv_arm(struct zv_queue *q);

/*
 * One descriptor for the queue, for poll, epoll (also EPOLLONESHOT) or io_uring (one-shot
 * POLL_ADD); any number of queues and devices can be in one loop. It is level-triggered: once
 * readable it stays so until the next zv_poll, and a watch that is renewed before that fires again
 * at once; do not use EPOLLET or multishot polls. After zv_poll it reports again only once zv_arm
 * has returned 0, so poll until zv_arm does, then watch. It may become readable for no reason. The
 * descriptor is the same for the queue's whole life; do not read from it and do not close it.
 */
ZV_API int zv_fd(struct zv_queue *q);

/*
 * zv_poll until there is an event: polls for a while, yielding the CPU (not to threads of lower
 * real-time priority, see above), then arms and sleeps for at most @timeout_ns (UINT64_MAX: no
 * limit; with ZV_OPT_BUSY_POLL it always polls). When another program computes on the same CPU, it
 * sleeps sooner, because each yield would give that program a time slice. Returns the number of
 * events, 0 on timeout.
 *
 * -EINTR: a signal handler has run, whether zv_wait slept or polled, and whatever SA_RESTART says.
 * A handler that runs just as the call begins, or as its first sleep begins or ends, may go
 * unreported: a handler that must end the wait calls zv_wake. While waiting, zv_wait blocks signals
 * for short times (except those of faults, SIGPROF and SIGVTALRM); a signal sent to the whole
 * process may then be delivered to another thread that does not block it. The library's own threads
 * block all signals.
 */
ZV_API int zv_wait(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns);

/*
 * zv_wait over @n queues, 1..ZV_WAIT_QUEUES_MAX, of one or several devices, with one sleep for all.
 * The caller owns each of them; *@queues is read during the call only. Reports up to @max events of
 * any of them; the member queue of an event is the index in @queues. The queue that comes first
 * rotates, so none starves, however small @max is. Polls for the largest spin_ns of the devices,
 * and never sleeps if one of them has ZV_OPT_BUSY_POLL. Returns as zv_wait; -EINVAL also: @n, or a
 * queue is NULL. For more queues, or together with other descriptors, use zv_fd.
 */
ZV_API int zv_wait_queues(struct zv_queue *const *queues, unsigned n, struct zv_event *events,
			  unsigned max, uint64_t timeout_ns);

/*
 * Wakes the queue's owner: the next zv_poll, zv_wait or zv_wait_queues reports ZV_EV_WAKE,
 * including one that is waiting now, and zv_fd becomes readable if the queue is armed. No wake is
 * lost, whenever it comes; several before the report count as one. Blocking calls for one
 * connection (zv_conn_wait, zv_connect_wait, zv_send_all) return -EINTR and leave the wake to be
 * reported. What the caller wrote before is visible to whoever gets the event. May be called by any
 * thread and by signal handlers; not after zv_close has begun. NULL is ignored.
 */
ZV_API void zv_wake(struct zv_queue *q);

/* ---- blocking calls --------------------------------------------------------------------- */

/*
 * These calls wait for one connection, as zv_wait does: they poll for a while and then sleep, at
 * most @timeout_ns (UINT64_MAX: no limit; 0: check once). Meanwhile they do the work of the whole
 * queue. Events of other connections neither end the wait nor prevent it from sleeping; they are
 * not lost, but reported by the next zv_poll, and an armed queue stays armed. For programs that do
 * one thing at a time: while such a call waits, nobody serves the queue's other connections.
 */

/*
 * Waits until @conn has one of @events: ZV_EV_IN, ZV_EV_OUT, ZV_EV_CONNECT, ZV_EV_HUP, ZV_EV_EPIPE,
 * with their meaning in zv_poll; ZV_EV_ERR always ends the wait. The mask of zv_set_events does not
 * apply. Returns the events that it has, 0 on timeout. ZV_EV_CONNECT is not reported again. After
 * ZV_EV_ERR the next call on the connection returns the cause. -EINTR: a signal, or zv_wake;
 * -EINVAL.
 */
ZV_API int zv_conn_wait(struct zv_conn *conn, uint32_t events, uint64_t timeout_ns);

/*
 * zv_connect, and waits for the result. If this side has memory for channels, it first waits until
 * the peer knows of it, for at most half of the time, because a connection requested before has no
 * channel. 0: *@conn is connected, and owned by the caller until zv_conn_close. On failure *@conn
 * is NULL and there is nothing to close: errors of zv_connect; -ECONNREFUSED, -ECONNRESET;
 * -ETIMEDOUT after @timeout_ns, or connect_timeout_ns after the request, whichever is earlier;
 * -EINTR: a signal, or zv_wake.
 */
ZV_API int zv_connect_wait(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
			   uint64_t timeout_ns, struct zv_conn **conn);

/*
 * zv_send of all @len bytes, waiting for room as often as necessary. 0: all were taken. Otherwise
 * -errno, and *@sent (may be NULL; set in either case) is the number of bytes taken: STREAM any
 * number, SEQPACKET none. Errors of zv_send except -EAGAIN; -ETIMEDOUT; -EINTR: a signal, or
 * zv_wake.
 */
ZV_API int zv_send_all(struct zv_conn *conn, const void *data, size_t len, uint32_t flags,
		       uint64_t timeout_ns, size_t *sent);

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif

#endif
