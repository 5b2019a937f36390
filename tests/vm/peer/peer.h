/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conversations that the VM tests hold, the same on both sides of the wall.
 *
 * Theory of operation. A *flow* is one connection and the conversation on it, seen from one end; it
 * is driven by readiness and never blocks. A *job* is one command: one flow, N at once or N in a
 * row. Neither knows what carries the bytes: struct peer_ops does. peer_posix.c has it for sockets
 * of the kernel (AF_VSOCK in the guest, hybrid AF_UNIX beside zvsockd), peer_zvsock.c for the
 * public API (the host application). So all of them are held to the same conversations, each as
 * client and as server.
 *
 * Every payload byte is checked: a payload is a stream of 64-bit words that follow from a seed, and
 * the receiver makes the same stream and compares. What it reports is therefore the first wrong
 * byte.
 *
 *   echo   STREAM, PORT_ECHO. Comes back as it is; the client closes its side, the server its own.
 *   xfer   STREAM, PORT_XFER. The client sends struct xfer_head and a body, and shuts its sending
 * side down. Only then the server answers, on the half-closed connection, with as many bytes as the
 * head asks for, and struct xfer_tail: length and XXH3 of the body as received. seq    SEQPACKET,
 * PORT_SEQ. Each message comes back with the same length and the same MSG_EOR.
 */
#ifndef VM_PEER_H
#define VM_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PORT_ECHO 5007
#define PORT_SEQ  5008
#define PORT_XFER 5009

#define PEER_FOREVER UINT64_MAX
#define PEER_BUF     65536u
#define SEQ_MSG_MAX  50000u
#define SEQ_WINDOW   4u /* messages under way: less than either side's buffer */

enum flow_kind { ECHO_SERVER, SEQ_SERVER, XFER_SERVER, ECHO_CLIENT, SEQ_CLIENT, XFER_CLIENT };

/* What flow_step waits for. */
#define WANT_IN	 1u
#define WANT_OUT 2u

struct flow;
struct job;

/* -errno on failure; recv: 0 at the end of the stream. Nothing blocks, -EAGAIN says so. */
struct peer_ops {
	/* Starts a connection; flow_connected() tells the outcome, now or later. */
	int (*connect)(struct flow *f, const char *where, uint32_t port);
	ssize_t (*recv)(struct flow *f, void *buf, size_t len, bool *eor);
	ssize_t (*send)(struct flow *f, const void *buf, size_t len, bool eor);
	int (*shutdown)(struct flow *f); /* the sending side */
	void (*close)(struct flow *f);
	void (*want)(struct flow *f, unsigned what); /* call flow_run when one of @what holds */
};
extern const struct peer_ops peer_ops;

struct xfer_head {
	uint64_t reply, seed; /* bytes of the answer; seed of the answer, seed + 1 of the body */
};

struct xfer_tail {
	uint64_t len, hash; /* of the body as received */
};

/* Position in the stream of words that follows from a seed. */
struct pattern {
	uint64_t seed, pos;
};

struct flow {
	enum flow_kind kind;
	struct job *job; /* NULL: a server's flow */
	void *conn;	 /* the transport's */
	unsigned want;	 /* the transport's */
	bool fin_sent;
	enum { BODY, ANSWER, TAIL } phase; /* of an xfer server */
	struct pattern tx, rx;
	uint64_t tx_left, rx_left; /* payload bytes, SEQPACKET: messages */
	/* Bytes under way: echoed, or made and not yet taken by the transport. */
	uint32_t have, sent;
	bool eor;
	/* xfer: head or tail as it comes in, and the body's hash */
	union {
		struct xfer_head head;
		struct xfer_tail tail;
		uint8_t bytes[16];
	} x;
	uint32_t x_have;
	uint64_t body;
	XXH3_state_t *hash;
	uint8_t *buf;
	uint8_t *scratch;
};

/* A server's conversation; a client's for @job. NULL: no memory. */
struct flow *flow_new(enum flow_kind kind, struct job *job);

/* The transport says: connected (@err 0), or the connection could not be made. */
void flow_connected(struct flow *f, int err);

/* The transport says: one of the wanted things holds, or the connection is dead. May free @f. */
void flow_run(struct flow *f);

/* One step of the conversation: WANT_* bits, 0 when it is over, -errno; text says why. */
int flow_step(struct flow *f, char *text, size_t size);

void flow_free(struct flow *f);

/* ---- jobs (job.c) ---- */

/*
 * One command, VERB WHERE PORT NUMBER...; WHERE is a CID, or the path of a hybrid socket.
 *
 *	echo WHERE PORT BYTES                   "forever" for BYTES: until something breaks
 *	xfer WHERE PORT BODY REPLY              bytes each way
 *	seq WHERE PORT MESSAGES
 *	msg WHERE PORT MESSAGES                 as seq, but without MSG_EOR (AF_UNIX has none)
 *	row WHERE PORT CONNECTIONS              echo of 16 bytes on one after the other
 *	parallel WHERE PORT CONNECTIONS BYTES   echo; all connected before the first byte is sent
 */
struct job {
	char verb[16];
	enum flow_kind kind;
	char where[108];
	uint32_t port;
	bool eor;			   /* some messages have MSG_EOR */
	uint64_t n, bytes, reply;	   /* connections; of each of them */
	uint64_t started, connected, done; /* connections */
	struct flow **flows;		   /* parallel: all of them */
	unsigned refs;			   /* flows, and whoever still looks */
	bool over;			   /* said so */
	void *user;
};

/* Starts a job. job_said() is called once, perhaps before this returns. -EINVAL: no such command.
 */
int job_start(int argc, char **argv, void *user);

/* For the program to define: the job is over, or has failed and its other flows go on. */
void job_said(void *user, const char *result, bool ok);

/* What flows tell their job. */
void job_connected(struct job *job, struct flow *f);
void job_flow_over(struct job *job, struct flow *f, const char *failure);

/* Servers' conversations: how many are open; for the program to define: one broke. */
extern unsigned server_flows;
void server_broke(const struct flow *f, const char *why);

#endif
