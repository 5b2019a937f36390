/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A relay: one connection of a guest, coupled with one connected socket of the host.
 *
 * Theory of operation
 * -------------------
 * Payload is copied once, by the kernel, between the socket and the guest's memory.
 *
 * Host to guest: io_uring polls the socket. Only when there is something to read are buffers of the
 * guest reserved (zv_buf_alloc), filled by a read from the socket, and sent (zv_buf_send). The next
 * poll is submitted together with the read, so a turn costs one system call however it ends. As
 * many buffers are reserved as the last reads have filled. What the guest has no room for stays in
 * the socket: credit is the backpressure.
 *
 * Guest to host: received buffers (zv_buf_recv) are sent together, up to BATCH of them or
 * FLOW_QUOTA bytes a round, in one sendmsg, and released when the kernel has copied them. A socket
 * that takes no more is polled for room; meanwhile the rest of that one batch is held, and the
 * connection's ZV_EV_IN is off.
 *
 * Both data requests use MSG_DONTWAIT, so they complete during submission: no pointer into guest
 * memory stays in the kernel, and removing a guest means cancelling polls. An idle relay holds one
 * poll and no buffer. The batch (iovecs and buffer records, some 4 KiB) is taken from the lcore's
 * stock while a request is in progress, or while a socket is full.
 *
 * Ends. Each direction ends by itself: the guest's SHUTDOWN becomes shutdown(2) once everything
 * before it was sent, the host's end of file becomes SHUTDOWN. When the guest receives no more
 * (ZV_EV_EPIPE), that becomes shutdown(SHUT_RD) at once, so that the host program's next write
 * fails; TCP has no such message. What the host program has sent until then, and over TCP later as
 * well, is read and discarded: a program that polls a full socket for room is not woken by SHUT_RD,
 * so room must be made until its next write fails. That the host program receives no more shows
 * only when a write fails. A host program that has closed completely (POLLHUP) ends both
 * directions, also when it has half-closed before. What it had sent until then goes to the guest
 * first: while the guest has no room, the socket is not even looked at. RST becomes an immediate
 * close (with SO_LINGER 0 where it means something), and an error of the socket becomes RST. The
 * relay is freed when no request refers to it.
 *
 * AF_UNIX reports ECONNRESET, after the data, for a program that has closed with unread bytes. This
 * becomes a RST, except for programs that believe they have an AF_VSOCK socket
 * (relay_is_af_vsock()): there the kernel's vsock would send SHUTDOWN, as at every close, and no
 * RST may overtake an answer.
 *
 * A TCP socket whose guest has closed first is handed to linger.h, so that no RST overtakes the end
 * of what the guest had sent.
 *
 * Where local programs can send descriptors (relay_expect_passed()), reads give the kernel room for
 * them, as many at a time as guest_passed_reads() allows; further ones are put off, and when it
 * returns 0, each read looks first. A program that has sent descriptors is reset, and its socket is
 * closed elsewhere once no poll refers to it: whoever closes it last has to wait for them.
 *
 * SEQPACKET: guest to host, a message is sent when its last piece has arrived, in one sendmsg; host
 * to guest, the message is read with MSG_PEEK and copied, because zv_send takes a message whole or
 * not at all. A message of more than BATCH pieces, or larger than either side takes, resets the
 * connection.
 */
#ifndef ZVD_RELAY_H
#define ZVD_RELAY_H

#include "flow.h"

#include <sys/socket.h>

#define RELAY_BATCH   64u
#define RELAY_MSG_MAX 262144u /* longest SEQPACKET message, host to guest */

struct relay_batch;

struct relay {
	struct flow f; /* first */
	int fd;	       /* -1: closed */
	uint16_t flags;
	uint8_t to_guest_bufs; /* buffers that the next read asks for */
	bool passed;	       /* a local program can send descriptors beside its data: passed.h */
	bool out_ready; /* a full socket has room again, and the rest may go when it is its turn */
	bool af_vsock;	/* the program believes that its AF_UNIX socket is one of AF_VSOCK */
	struct io_op to_guest_poll, from_guest_poll; /* of the socket: something to read, room */
	struct relay_batch *to_guest;		     /* a read under way */
	struct relay_batch *from_guest;		     /* a send under way, or a full socket's rest */
	const char *early; /* bytes that were read before the relay began */
	uint32_t early_len;
	int left_fd; /* fd, when descriptors may wait in it; -1: none */
	/* The owner's, or NULL: fd is about to be closed; @whole: not by a reset of either side. */
	void (*ended)(struct relay *r, bool whole);
};

/* relay_init flags */
#define RELAY_SEQPACKET (1u << 0)
#define RELAY_LINGER0	(1u << 1) /* the protocol has RST: TCP, AF_VSOCK */
#define RELAY_TCP	(1u << 2) /* shutdown(SHUT_RD) tells the peer nothing */

/*
 * Prepares @r, zeroed memory, the beginning of what free(3) gets in the end. It owns @conn (may be
 * NULL until relay_start) and @fd, which counts against the guest's descriptors, from now on, and
 * is on the queue's list. Its two polls may be used for the owner's own requests until
 * relay_start; so may f.owner's event and abort be set.
 */
void relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		const struct conn_kind *kind, int fd, unsigned flags);

/*
 * After relay_init, when nothing has been read yet: the program at the other end of fd can send
 * descriptors; guest_expects_passed() has been called.
 */
void relay_expect_passed(struct relay *r);

/* After relay_init: closes are those of AF_VSOCK (above). */
void relay_is_af_vsock(struct relay *r);

/*
 * recv(2) from the program, without waiting. -errno; -EPERM: it has sent descriptors, which has
 * been logged and counted: the relay is to be ended. @len: RELAY_MSG_MAX at most.
 */
ssize_t relay_recv(struct relay *r, void *buf, size_t len);

/*
 * Both sides are connected: carries data from here on. @early: @early_len bytes from the host that
 * go to the guest first; they must stay as long as @r. r->from_guest_poll may still be under way
 * with a request of the owner that is sure to end, and at once.
 */
void relay_start(struct relay *r, const char *early, uint32_t early_len);

/* Ends both sides at once: RST to the guest, an abortive close to the host. Also before
 * relay_start. */
void relay_abort(struct relay *r);

/* Before relay_start: ends both sides in order, after what the owner has sent to the guest. */
void relay_close(struct relay *r);

/* Frees the lcore's stock of batches. */
void relay_lcore_fini(struct lcore *lc);

#endif
