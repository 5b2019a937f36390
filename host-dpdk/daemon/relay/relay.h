/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A relay: one connection of a guest joined with one connected socket of the host.
 *
 * Theory of operation
 * -------------------
 * Payload is copied once, by the kernel, between the socket and the guest's memory.
 *
 * Host to guest: io_uring polls the socket. Only when there is something to read are buffers of the
 * guest reserved (zv_buf_alloc), filled by a read from the socket, and sent (zv_buf_send). The next
 * poll is submitted together with the read, so a turn costs one system call whatever the result. As
 * many buffers are reserved as the last reads have filled. Data for which the guest has no room
 * stays in the socket: credit is the backpressure.
 *
 * Guest to host: received buffers (zv_buf_recv) are sent together in one sendmsg, up to BATCH
 * buffers or FLOW_QUOTA bytes per round, and released when the kernel has copied them. If the
 * socket is full, it is polled for room; until then the rest of that one batch is held and the
 * connection's ZV_EV_IN is off. The rest of a stream's batch is sent together with what has arrived
 * meanwhile.
 *
 * Both kinds of data requests use MSG_DONTWAIT, so they complete during submission: the kernel
 * keeps no pointer into guest memory, and removing a guest only means cancelling polls. An idle
 * relay holds one poll and no buffer. The batch (iovecs and buffer records, some 4 KiB) is taken
 * from the lcore's stock while a request is in progress or a socket is full.
 *
 * End of a connection. Each direction ends independently: the guest's SHUTDOWN becomes shutdown(2)
 * after all earlier data has been sent; end of file from the host becomes SHUTDOWN.
 *
 * When the guest no longer receives (ZV_EV_EPIPE), that becomes shutdown(SHUT_RD) at once, so that
 * the host program's next write fails; TCP has no such message. What the host program had sent by
 * then, and over TCP also what it sends later, is read and discarded: a program that polls a full
 * socket for room is not woken by SHUT_RD, so there must be room until its next write fails. That
 * the host program no longer receives is noticed when a write to it fails, or when somebody says
 * that it may be so (relay_check_shut_rd()): poll(2) does not report it.
 *
 * A host program that has closed its socket completely (POLLHUP) ends both directions, even if it
 * had half-closed it before. What it had sent by then goes to the guest first; while the guest has
 * no room, the socket is not even checked. A RST becomes an immediate close (with SO_LINGER 0 where
 * that has a meaning), and an error of the socket becomes RST. The relay is freed when no request
 * refers to it.
 *
 * AF_UNIX reports ECONNRESET, after the data, for a program that has closed with unread bytes. This
 * becomes a RST, except for programs that believe they have an AF_VSOCK socket
 * (relay_is_af_vsock()): for them the kernel's vsock would send SHUTDOWN, as at every close, and no
 * RST may overtake an answer.
 *
 * A TCP socket whose guest has closed first is handed to linger.h, so that no RST overtakes the end
 * of the guest's data.
 *
 * Where local programs can send descriptors (relay_expect_passed()), reads give the kernel room for
 * them. guest_passed_reads() limits how many such reads may be in progress; further ones are
 * deferred, and when it returns 0, each read looks first (MSG_PEEK). A program that has sent
 * descriptors is reset, and its socket is closed elsewhere once no poll refers to it, because the
 * last close has to wait for those descriptors.
 *
 * SEQPACKET: guest to host, a message is sent in one sendmsg when its last piece has arrived. Host
 * to guest, the message is read with MSG_PEEK and copied, because zv_send takes a message whole or
 * not at all. A message of more than BATCH pieces, or larger than either side accepts, resets the
 * connection.
 */
#ifndef ZVD_RELAY_H
#define ZVD_RELAY_H

#include "flow.h"
#include "sndbuf.h"

#include <sys/socket.h>

#define RELAY_BATCH   64u
#define RELAY_MSG_MAX 262144u /* maximum SEQPACKET message, host to guest */

struct relay_batch;

struct relay {
	struct flow f; /* first */
	int fd;	       /* -1: closed */
	int cred_fd;   /* whose SO_PEERCRED names the program: fd, unless its owner sets another */
	uint16_t flags;
	uint8_t to_guest_bufs; /* buffers that the next read reserves */
	bool passed;	       /* a local program can send descriptors with its data: passed.h */
	bool out_ready;	       /* a full socket has room again; the rest is sent in turn */
	bool af_vsock;	       /* the program takes its AF_UNIX socket for an AF_VSOCK one */
	struct io_op to_guest_poll, from_guest_poll; /* poll the socket: data to read, room */
	struct relay_batch *to_guest;		     /* a read in progress */
	struct relay_batch
		*from_guest; /* a send in progress, or the rest that a full socket left */
	const char *early;   /* bytes that were read before the relay began */
	uint32_t early_len;
	struct sndbuf sndbuf;
	int left_fd; /* fd, if descriptors may be queued in it; -1: no */
	/* Set by the owner, or NULL. fd is about to be closed; @complete: not because either side
	 * reset. */
	void (*ended)(struct relay *r, bool complete);
	void *of_owner; /* whatever its owner keeps for ended() */
};

/* relay_init flags */
#define RELAY_SEQPACKET (1u << 0)
#define RELAY_LINGER0	(1u << 1) /* the protocol has a reset: TCP, AF_VSOCK */
#define RELAY_TCP	(1u << 2) /* shutdown(SHUT_RD) tells the peer nothing */

/*
 * Prepares @r: zeroed memory at the start of an allocation, which is freed by free(3) in the end.
 * From now on @r owns @conn (may be NULL until relay_start) and @fd, which counts against the
 * guest's descriptors, and it is on the queue's list. Until relay_start the owner may use the two
 * polls for its own requests and may set event and abort in f.owner.
 */
void relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		const struct conn_kind *kind, int fd, unsigned flags);

/* After relay_init, before anything has been read: the program at the other end of fd can send
 * descriptors. guest_expects_passed() must have been called. */
void relay_expect_passed(struct relay *r);

/* After relay_init: a close by the program is treated as one of AF_VSOCK (see above). */
void relay_is_af_vsock(struct relay *r);

/*
 * recv(2) from the program, without waiting. Returns bytes or -errno; -EPERM: it has sent
 * descriptors, which has been logged and counted, and the caller must end the relay. @len: at most
 * RELAY_MSG_MAX.
 */
ssize_t relay_recv(struct relay *r, void *buf, size_t len);

/*
 * Both sides are connected: starts to carry data. @early: @early_len bytes from the host that go to
 * the guest first; they must stay valid as long as @r. r->from_guest_poll may still have a request
 * of the owner in progress if that is sure to complete at once.
 */
void relay_start(struct relay *r, const char *early, uint32_t early_len);

/* After relay_start: the host program may have shut down receiving. If it has, the guest is told at
 * once. */
void relay_check_shut_rd(struct relay *r);

/* Ends both sides at once: RST to the guest, an abortive close to the host. Also allowed before
 * relay_start. */
void relay_abort(struct relay *r);

/* Before relay_start: ends both sides in order, after what the owner has sent to the guest. */
void relay_close(struct relay *r);

/* Frees the lcore's stock of batches. */
void relay_lcore_fini(struct lcore *lc);

#endif
