/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock: vsock in user space on both sides of a virtual machine's wall.
 *
 * One header for guest and host; constants and structures are in <zvsock_types.h>, which it
 * includes. A *device* (struct zv_dev) is opened by a URI and has N *queues* (struct zv_queue),
 * each of which carries *connections* (struct zv_conn).
 *
 * Return values: every int and ssize_t call returns >= 0 on success and a negative errno value on
 * failure; zv_error_text() gives a sentence for the last failure. The library never prints, never
 * exits and never touches errno on purpose. Lengths are bytes, times are nanoseconds.
 *
 * Threads: calls on a queue, and on its connections, belong to one thread at a time, the queue's
 * owner. One thread may own any number of queues. A queue may be handed to another thread: stop
 * calling in the first, synchronise (a mutex, a join), go on in the second. Different queues of a
 * device may be used in parallel without locks. Payload behind a struct zv_buf may be touched by
 * any thread, and zv_wake called by any. Device calls (zv_close, zv_listen, zv_listen_all,
 * zv_unlisten) on one device are serialised by the caller; those on different devices, zv_open and
 * zv_host_init may be made by several threads at once, also beside the calls on queues. After
 * fork() only the parent may go on using a device; the child must not call anything. Until it exits
 * or executes a program it holds what the parent has open: sockets and memory of the peer outlive
 * zv_close for as long. Across exec nothing is left: all descriptors are close-on-exec.
 *
 * Real-time scheduling: a thread that polls, in zv_wait or in a loop of its own, offers the CPU by
 * sched_yield. Under SCHED_FIFO and SCHED_RR that lets threads of its own priority run, and never
 * lower ones: a peer, or a control thread of the library, that is lower and shares the CPU gets on
 * only while the poller sleeps; beside one that never sleeps (ZV_OPT_BUSY_POLL), not at all. Give
 * pollers CPUs of their own, or all threads of a CPU the same priority. Control threads inherit
 * policy and priority from the thread that calls zv_open: a guest device has one of its own, all
 * host devices share one, which begins with the first of them.
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
 * The sentence behind the last failed call of this thread: what, where, how to mend it; for every
 * call that has returned a negative errno value (-EAGAIN included), and what zv_buf_release and
 * zv_buf_cancel have ignored. "" when nothing has failed. Valid until this thread's next failing
 * call.
 */
ZV_API const char *zv_error_text(void);

/*
 * Where log lines go (none by default). May be called from any thread; @fn too, by several at once.
 * NULL: off. Once it returns, the function that was set before is not running and will not be
 * called again, so its context may go: do not hold what that function waits for. Called by @fn
 * itself, it does not wait.
 *
 * @fn is called where the line comes up: also by the thread that polls a queue, in the middle of a
 * call, and by the host's control thread, which serves all VMMs. So it must not wait for anything:
 * a write(2) to a pipe that nobody reads, or to a disk that hangs, stops the queue, or all of them.
 * Copy the line, which is gone afterwards, and leave it to a thread of your own, with a bound on
 * what waits there; or write without blocking, and count what is lost. It must not call anything on
 * the queue or device that it hears of, nor leave by longjmp(3) or a C++ exception.
 */
ZV_API void zv_set_log(zv_log_fn fn, void *ctx);

/*
 * Installs a SIGBUS handler, for the whole process: when somebody cuts off the file behind memory
 * that he shares with this process (a frontend that of its guest's memory, another one that of a
 * region of channels, unless it is sealed), or takes hugepages out of it when no others are free
 * (also of a sealed one), that guest's queues break (ring_broken), or the connections through that
 * region (chan_broken), instead of the process. Other addresses are passed on to the handler that
 * was there before. Not installed unless you ask: signal handlers are the application's.
 * Idempotent. 0 or -errno.
 */
ZV_API int zv_catch_sigbus(void);

/* ---- device ----------------------------------------------------------------------------- */

/*
 * Opens a device.
 *   vhost-user:PATH[,PATH...][,region=SIZE]
 *                          guest side without a VM: this process is the vhost-user frontend.
 *                          Several sockets: one queue each, all of one CID, in the host's order.
 *                          region: makes so much shared memory ("64M") and offers it for channels
 *   vhost-kernel:cid=N     guest side without a VM: the device is the kernel's vhost-vsock, the
 * host side AF_VSOCK sockets of this machine (the guest's CID is N)
 *   vsock:[region=auto|none|NAME]
 *                          the kernel's own AF_VSOCK, in a guest or on a host; any number of
 *                          processes. Payload goes through the VM's shared region where there is
 *                          one, the process has CAP_NET_BIND_SERVICE and zvsockd grants channels.
 *                          Reaches whatever CID the kernel does, ZV_CID_LOCAL and its own too;
 *                          queues are threads' shares of the connections. No zv_listen_all. Linux
 *                          cannot reset a connection: zv_conn_reset is a close to the peer, and a
 *                          peer's reset the end of the stream (docs/guest-driver.md)
 *   daemon:PATH            an application of the host, attached to zvsockd at its client socket
 *                          PATH, with CID 2: it reaches zvsockd's guests by their CIDs, and other
 *                          applications by ZV_CID_LOCAL or ZV_CID_HOST; docs/daemon.md
 *   host:PATH[,PATH...],cid=N[,mode=client|server][,sockmode=0660]
 *                          host side: this process is the vhost-user backend on socket PATH for
 *                          the guest with CID N (libzvsock-host; call zv_host_init first).
 *                          Several sockets: one queue each, queue i is pair 0 of socket i.
 *                          mode=client: the VMM listens, this process connects to it and goes on
 *                          trying when either restarts. sockmode: permission bits of a socket
 *                          that this process makes; until they are set, those that umask leaves.
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
 * inside a call on the device. -EBUSY, and nothing is changed, while buffers are on loan.
 */
ZV_API int zv_close(struct zv_dev *dev);

/* Own CID; 0 when a guest device has none yet. */
ZV_API uint64_t zv_cid(const struct zv_dev *dev);
ZV_API unsigned zv_nqueues(const struct zv_dev *dev);

/* Queue @i, 0..zv_nqueues-1; NULL when out of range. Lives as long as the device. */
ZV_API struct zv_queue *zv_queue(struct zv_dev *dev, unsigned i);

/* Fills in *info, of which the caller has set size. -EINVAL. Any thread. */
ZV_API int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info);

/* Copies the counters; any thread. @size: sizeof(*stats) as the caller knows it. */
ZV_API int zv_queue_stats(const struct zv_queue *q, struct zv_queue_stats *stats, size_t size);

/*
 * Shows every packet of the queue to @fn, in the queue's owner thread: those received, once their
 * header has been found valid (the others are only counted), and those sent, when they are handed
 * to the ring; the library's own (HELLO, RST) too. NULL: off. @fn must not call anything on this
 * queue, and its time is the queue's. -EINVAL.
 */
ZV_API int zv_set_tap(struct zv_queue *q, zv_tap_fn fn, void *ctx);

/* ---- connections ------------------------------------------------------------------------ */

/*
 * Listens on @port, on all queues of the device; each queue has an accept queue of its own of
 * @backlog connections (0: 128). Connections beyond it are refused. One that its peer closes before
 * it is accepted stays, with what was sent on it; one that is reset goes.
 * -EADDRINUSE, -EINVAL (type, port 0 or ZV_PORT_ANY or reserved), -ENOMEM. daemon: asks zvsockd,
 * which takes a few milliseconds, and five seconds if it hangs: also -EACCES (zvsockd gives the
 * port to others, or to root only), -EADDRINUSE of another application or of an AF_VSOCK program.
 * While zvsockd is away the port is kept, and asked for when it is back.
 */
ZV_API int zv_listen(struct zv_dev *dev, uint32_t port, enum zv_type type, unsigned backlog);

/*
 * Listens for all that no listener of zv_listen takes: a REQUEST of either type, to any port,
 * waits unanswered in the accept queue of its queue, at most @backlog of them a queue (0: 128).
 * Requests beyond that are refused. ZV_EV_ACCEPT reports them with port ZV_PORT_ANY, zv_accept
 * with ZV_PORT_ANY takes them, zv_conn_info says who asks for what, and zv_conn_answer answers.
 * A port that is listened on later is served by its own listener from then on.
 * @flags: ZV_LISTEN_ANY_CID (host devices) offers also what is meant for another CID than the
 * host's, as long as that can be a guest's: for a process that connects sibling guests. Without it
 * such requests are refused and counted in rx_bad_cid.
 * -EADDRINUSE (there is one already), -EOPNOTSUPP (ZV_LISTEN_ANY_CID on a guest device; daemon:,
 * whose ports are shared with other applications), -EINVAL, -ENOMEM.
 */
ZV_API int zv_listen_all(struct zv_dev *dev, uint32_t flags, unsigned backlog);
#define ZV_LISTEN_ANY_CID (1u << 0)

/*
 * Stops listening on @port, or ends zv_listen_all (ZV_PORT_ANY); connections that were not accepted
 * are reset, each by its queue's next zv_poll. Those taken by zv_accept stay, answered or not.
 * -ENOENT.
 */
ZV_API int zv_unlisten(struct zv_dev *dev, uint32_t port);

/*
 * Takes a connection that arrived on @q for @port. It is connected. ZV_PORT_ANY: from whichever
 * listener, in turn; but once there is zv_listen_all, from that one only, and it waits for
 * zv_conn_answer. -EAGAIN: none waits. -ENOENT: nothing listens on that port.
 */
ZV_API int zv_accept(struct zv_queue *q, uint32_t port, struct zv_conn **conn);

/*
 * Whether zv_poll reports ZV_EV_ACCEPT of @port on @q (ZV_PORT_ANY: of zv_listen_all); it does
 * unless told otherwise. For a server at its limit: without, connections that wait do not keep
 * zv_wait awake. They go on waiting, up to the backlog, and zv_accept takes them as ever. Like the
 * accept queues, this is one setting a queue; it ends with the listener.
 * -ENOENT: nothing listens on that port. -EINVAL.
 */
ZV_API int zv_set_accept(struct zv_queue *q, uint32_t port, bool report);

/*
 * Answers a connection taken from zv_listen_all. @err 0: RESPONSE, it is connected from now on.
 * @err < 0: RST, the peer sees ECONNREFUSED or ECONNRESET; the connection is dead with that error
 * and must be closed (closing it unanswered refuses it too).
 * Until then data calls return -ENOTCONN. A peer that gives up, or the end of the session, is
 * ZV_EV_ERR with -ECONNRESET; no answer within connect_timeout_ns of the request's arrival is RST
 * and ZV_EV_ERR with -ETIMEDOUT.
 * That error, when it came first; -EINVAL: there is nothing to answer, or @err > 0.
 */
ZV_API int zv_conn_answer(struct zv_conn *conn, int err);

/*
 * Starts a connection to @port of @cid (ZV_CID_HOST, or a sibling that the host connects to, from a
 * guest; with vsock:, whatever the kernel can reach; the guest's CID, or 0 for it, from a host; any
 * guest's, or ZV_CID_LOCAL, with daemon:) on the pair of @q. Asynchronous: ZV_EV_CONNECT tells the
 * outcome (-ECONNREFUSED, -ETIMEDOUT, -ECONNRESET). Owned by the caller until zv_conn_close.
 * -ENETDOWN (rings not running, or a session has just ended), -EHOSTUNREACH (no such CID here),
 * -EADDRNOTAVAIL (ports exhausted), -ENOSPC (max_conns), -ENOMEM, -EINVAL.
 */
ZV_API int zv_connect(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
		      struct zv_conn **conn);

/*
 * zv_connect as coming from @src_port (ZV_PORT_ANY: any free one) of @src_cid (0: own; others are
 * for a host that speaks for sibling guests). Connections that differ in the local CID only are
 * different ones. A port that is named need not be of this queue's share: keeping it off other
 * queues is up to you.
 * As zv_connect; -EOPNOTSUPP: a guest device, and @src_cid is not 0; -EADDRINUSE: the queue has a
 * connection of these CIDs and ports; -EINVAL also: @src_cid is reserved or the guest's own.
 */
ZV_API int zv_connect_from(struct zv_queue *q, uint64_t src_cid, uint32_t src_port, uint64_t cid,
			   uint32_t port, enum zv_type type, struct zv_conn **conn);

/*
 * Ends sending (VSOCK SHUT_WR, how = 1), receiving (0) or both (2), as shutdown(2). To be sure that
 * the peer has all that was sent: zv_shutdown(conn, 1), then wait for ZV_EV_HUP, which comes when
 * the peer has read it and closed (what it still sends has to be received meanwhile).
 * -ENOTCONN, -EINVAL.
 */
ZV_API int zv_shutdown(struct zv_conn *conn, int how);

/*
 * Gives the connection back. Data sent before is delivered; data not yet received is lost. The
 * handle is invalid afterwards; received buffers on loan stay valid until zv_buf_release,
 * transmit buffers on loan must be sent or cancelled before (-EBUSY). Events of it that zv_poll has
 * reported and that are not handled yet have that handle, too; see there.
 */
ZV_API int zv_conn_close(struct zv_conn *conn);

/*
 * Gives the connection back as zv_conn_close does, but sends RST at once (SO_LINGER with time 0):
 * the peer sees ECONNRESET and may lose data that it has not read. -EBUSY as zv_conn_close.
 */
ZV_API int zv_conn_reset(struct zv_conn *conn);

/* Fills in *info, of which the caller has set size. -EINVAL. */
ZV_API int zv_conn_info(struct zv_conn *conn, struct zv_conn_info *info);

/*
 * Calls @fn for every connection of the queue, those included that wait in an accept queue, are
 * finishing after zv_conn_close, or are dead and not closed yet. *info is valid during the call;
 * @fn must not call anything on this queue. A return value other than 0 ends the call and is
 * returned. 0 otherwise; -EINVAL.
 *
 * @cursor: NULL: all of them, however long that takes. Otherwise *cursor is 0 for the first call;
 * each call shows a bounded number (some hundreds) and leaves in *cursor where the next one goes
 * on, behind the last that was shown; 0: that was the end. Connections may come and go in between:
 * one that stays is shown once; one that dies without being closed may be shown again, dead; one
 * that has come or been closed since the first call may be shown or not.
 */
ZV_API int zv_queue_conns(struct zv_queue *q, uint64_t *cursor,
			  int (*fn)(void *ctx, const struct zv_conn_info *info), void *ctx);

/* The queue of the connection, for as long as the handle is valid. */
ZV_API struct zv_queue *zv_conn_queue(struct zv_conn *conn);

/* A pointer of yours, delivered with every event of the connection. */
ZV_API void zv_set_user(struct zv_conn *conn, void *user);
ZV_API void *zv_user(struct zv_conn *conn);

/*
 * Which events zv_poll reports for the connection (ZV_EV_* bits). ZV_EV_ERR cannot be masked. For a
 * reader that pauses: without ZV_EV_IN, unread bytes do not keep zv_wait awake.
 *
 * By default all but ZV_EV_EPIPE, which is for those who pass data on and must tell their own
 * source at once that nobody wants it. It is true from the peer's SHUT_RD (or close) on, until this
 * side has shut down sending: who asks for it and does neither that nor mask it again finds zv_wait
 * awake. Without it the next zv_send says -EPIPE; a sender that waits for ZV_EV_OUT is always
 * woken.
 */
ZV_API void zv_set_events(struct zv_conn *conn, uint32_t events);

/* ---- copying calls ---------------------------------------------------------------------- */

/*
 * Sends. STREAM: takes as many bytes as there is room for, at least 1, and returns their number.
 * SEQPACKET: one whole message or nothing; @flags ZV_EOR marks a record (ZV_EOM is implied).
 * ZV_MORE (STREAM) lets following bytes join the same packet; it leaves at the first zv_send
 * without ZV_MORE, when full, or at the next zv_poll or zv_wait. An empty message of a SEQPACKET
 * connection needs a zvsock peer (-EINVAL otherwise). -EAGAIN: no room now (ZV_EV_OUT will tell).
 * -EPIPE: shut down. -ECONNRESET. -ENOTCONN: still connecting. -EMSGSIZE: a message larger than the
 * peer can ever take. -EINVAL also: unknown flags; zv_buf_send has begun a message and not ended
 * it.
 */
ZV_API ssize_t zv_send(struct zv_conn *conn, const void *data, size_t len, uint32_t flags);

/*
 * Receives up to @len bytes (STREAM) or one message (SEQPACKET, returns the bytes copied). 0: end
 * of stream. *@flags (may be NULL): in ZV_PEEK (what an earlier call left there is ignored); out
 * ZV_EOM, ZV_EOR, ZV_TRUNC. @len 0: STREAM takes nothing, and returns 0 when there are bytes as at
 * the end of stream, so 0 is no end then; SEQPACKET takes a message, and all of it is lost.
 * -EAGAIN: nothing yet. -ECONNRESET, -ETIMEDOUT, -ECONNREFUSED, -ENOTCONN, -EINVAL (unknown flags).
 */
ZV_API ssize_t zv_recv(struct zv_conn *conn, void *data, size_t len, uint32_t *flags);

/* ---- zero-copy calls -------------------------------------------------------------------- */

/*
 * Reserves up to @n buffers for payload, and the credit for it, about @len bytes in each. May give
 * fewer, or shorter ones (capacity says). Memory belongs to the transport: guest memory on both
 * sides. Returns the number reserved, >= 1, or -EAGAIN, -EPIPE, -ECONNRESET, -ENOTCONN, -EINVAL, or
 * -ENOBUFS: too many are reserved and not sent (half of the ring on the queue; on a connection half
 * of what the others leave of that); sending or cancelling mends it, ZV_EV_OUT will not tell.
 * -EMSGSIZE (SEQPACKET): the message that zv_buf_send has begun is as long as the peer can take and
 * has no end yet. It can neither go on nor be taken back: reset the connection.
 */
ZV_API int zv_buf_alloc(struct zv_conn *conn, struct zv_buf *bufs, unsigned n, size_t len);

/*
 * Sends @n reserved buffers in order, the first len bytes of each (len <= capacity; len 0 gives
 * the buffer back unsent on STREAM). SEQPACKET: ZV_EOM (or ZV_EOR) in flags ends a message; len 0
 * with one of them needs a zvsock peer. The buffers are the library's again, whatever is returned.
 * @n, or -EINVAL (len above capacity, unknown flags, foreign cookie, an empty one for a stock peer:
 * nothing sent), -EMSGSIZE (a message larger than the peer can ever take: nothing sent),
 * -ECONNRESET, -EPIPE.
 */
ZV_API int zv_buf_send(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/* Gives reserved buffers and their credit back unsent. */
ZV_API void zv_buf_cancel(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/*
 * Receives up to @n buffers without copying; they stay valid, also past a reset or a close of the
 * connection, until zv_buf_release. Credit goes back to the peer on release.
 * Number of buffers >= 1; 0: end of stream; errors as zv_recv.
 */
ZV_API int zv_buf_recv(struct zv_conn *conn, struct zv_buf *bufs, unsigned n);

/* Gives received buffers back, in any order, in any grouping. @q: the queue they came from. */
ZV_API void zv_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n);

/* ---- waiting ---------------------------------------------------------------------------- */

/*
 * Does the queue's work (receives, answers, timers) and reports up to @max events, round robin
 * over connections and, beside them, over ports with connections to accept: none is hidden by
 * others, whatever @max is. Never blocks. Returns their number, 0 included; -EINVAL.
 *
 * @events is yours: what you do later does not change it. Closing connection B while you handle the
 * event of A leaves B's event in the batch, if there is one, with a handle that is not valid any
 * more: set conn of B's events to NULL and skip such, or close after the batch. One connection has
 * one event in a batch, so closing it in its own is safe.
 */
ZV_API int zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max);

/*
 * Asks for a notification: afterwards zv_fd becomes readable when there is something for zv_poll,
 * be it the peer's doing or that of your calls on the queue since (a zv_connect that times out, a
 * zv_send that finds no room, events that are unmasked).
 * 0: armed, you may sleep. -EAGAIN: there is work already; poll again. Undone by zv_poll.
 */
ZV_API int zv_arm(struct zv_queue *q);

/*
 * One descriptor for the queue, for poll, epoll (also EPOLLONESHOT) or io_uring (POLL_ADD, one
 * shot): any number of queues and devices can be in one loop. It is level-triggered: once it has
 * become readable it stays so until the next zv_poll, and a watch that is renewed before that fires
 * again at once; EPOLLET and multishot polls are not for it. After zv_poll it speaks again once
 * zv_arm has returned 0, so: poll until zv_arm does, then watch. It may become readable for
 * nothing. The same descriptor for the queue's whole life; read nothing from it and do not close
 * it.
 */
ZV_API int zv_fd(struct zv_queue *q);

/*
 * zv_poll until there is an event: polls for a while, yielding the CPU (not to threads of lower
 * real-time priority, see above), then arms and sleeps at most @timeout_ns (UINT64_MAX: no limit;
 * with ZV_OPT_BUSY_POLL it polls all the time). Beside a program that computes on the same CPU it
 * does not poll for long: such a program would get a time slice with each yield. Returns the number
 * of events, 0 on timeout; -EINTR: a signal handler has run, whether it slept or polled, whatever
 * SA_RESTART says; one that runs as the call begins, or as its first sleep begins or ends, may not
 * be told: a handler that must end the wait calls zv_wake. While it waits, signals are held back
 * for short times (not those of faults, SIGPROF and SIGVTALRM). One that is sent to the whole
 * process may meanwhile go to another thread that does not block it; the threads of this library
 * block all.
 */
ZV_API int zv_wait(struct zv_queue *q, struct zv_event *events, unsigned max, uint64_t timeout_ns);

/*
 * zv_wait over @n queues, 1..ZV_WAIT_QUEUES_MAX, of one device or several, with one sleep for all.
 * The caller owns each of them; *@queues is read during the call only. Reports up to @max events of
 * any of them; queue in an event is the index in @queues. Which queue comes first goes round, so
 * none starves, however small @max is. Polls as long as the largest spin_ns says, and never sleeps
 * when one of the devices has ZV_OPT_BUSY_POLL. Returns as zv_wait; -EINVAL also: @n, or one is
 * NULL. For more queues, or other descriptors beside them, there is zv_fd.
 */
ZV_API int zv_wait_queues(struct zv_queue *const *queues, unsigned n, struct zv_event *events,
			  unsigned max, uint64_t timeout_ns);

/*
 * Wakes the queue's owner: the next zv_poll, zv_wait or zv_wait_queues reports ZV_EV_WAKE, the one
 * that sleeps or spins now included, and zv_fd becomes readable if the queue is armed. No wake is
 * lost, whenever it comes; several before the report are one. Blocking calls for one connection
 * (zv_conn_wait, zv_connect_wait, zv_send_all) end with -EINTR and leave it to be reported. What
 * the caller wrote before is visible to who gets the event. Any thread, and signal handlers; not
 * after zv_close has begun. NULL is ignored.
 */
ZV_API void zv_wake(struct zv_queue *q);

/* ---- blocking calls --------------------------------------------------------------------- */

/*
 * These wait for one connection, as zv_wait does: they poll for a while and then sleep, at most
 * @timeout_ns (UINT64_MAX: no limit; 0: they look once). Meanwhile they do the work of the whole
 * queue. What other connections have to report neither ends the wait nor keeps it from sleeping,
 * and is not lost: the next zv_poll reports it; an armed queue stays armed. For programs that do
 * one thing at a time; while such a call waits, nobody serves the queue's other connections.
 */

/*
 * Waits until @conn has one of @events: ZV_EV_IN, ZV_EV_OUT, ZV_EV_CONNECT, ZV_EV_HUP, ZV_EV_EPIPE,
 * with the meaning that they have in zv_poll; ZV_EV_ERR always. What zv_set_events masks does not
 * matter. Returns those that it has, 0 on timeout. ZV_EV_CONNECT is not reported again. After
 * ZV_EV_ERR the next call on the connection returns the cause. -EINTR: a signal, or zv_wake;
 * -EINVAL.
 */
ZV_API int zv_conn_wait(struct zv_conn *conn, uint32_t events, uint64_t timeout_ns);

/*
 * zv_connect, and waits for the outcome. 0: *@conn is connected, and the caller's until
 * zv_conn_close. On failure *@conn is NULL and nothing is left to close: errors of zv_connect;
 * -ECONNREFUSED, -ECONNRESET; -ETIMEDOUT after @timeout_ns or connect_timeout_ns, whichever is
 * less; -EINTR: a signal, or zv_wake.
 */
ZV_API int zv_connect_wait(struct zv_queue *q, uint64_t cid, uint32_t port, enum zv_type type,
			   uint64_t timeout_ns, struct zv_conn **conn);

/*
 * zv_send of all @len bytes, waiting for room as often as it takes. 0: all were taken. Otherwise
 * -errno, and *@sent (may be NULL; set in either case) says how many bytes were: STREAM any number,
 * SEQPACKET none. Errors of zv_send without -EAGAIN; -ETIMEDOUT; -EINTR: a signal, or zv_wake.
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
