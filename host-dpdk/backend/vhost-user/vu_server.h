/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user sockets of a process, and the control thread that serves them.
 *
 * Theory of operation
 * -------------------
 * One control thread serves all sockets. It never blocks on one of them: it reads what is there,
 * and acts upon a message only when it has come whole and vu_rules.h lets it pass. So a frontend
 * that stops in mid-message or never reads its answers delays nobody; after stall_ns it is
 * disconnected. Everything below runs in this thread alone (vu_server_add() and vu_server_remove()
 * hand their work over and wait), so none of it has a lock.
 *
 *	frontend ==socket==> vu_read --rules--> +-- device: memory, rings (vu_device.h)
 *	                                        +-- link: features, ownership (vu_rte.h)
 *
 * A connection is in one of three states: it is read from; a message of it is with the link, whose
 * answer is awaited; or an answer waits for room in its socket. Only in the first state more of it
 * is read, so a frontend has one message at a time in here, and VU_TURN in a row before others
 * have theirs.
 *
 * A socket has one frontend: the connection that speaks. Others may connect and wait, because a
 * successor often comes before the end of its predecessor has been seen; the first of them that
 * speaks follows when the predecessor has hung up, and is refused while it has not. A connected
 * socket that was handed over has that one frontend, and none after it.
 *
 * Fairness. A frontend can make a message dear (memory tables, stops with much on loan), and ask
 * for it again at once. So a socket has a quarter of the thread's time at most: what it costs is
 * measured, and for three times as long nothing of it is looked at. Descriptors that nobody has
 * use for are closed by a thread of the socket's own (fd_bin.h), and the socket waits for that.
 *
 * Plain C without DPDK: the link is a table of two functions.
 */
#ifndef ZV_VU_SERVER_H
#define ZV_VU_SERVER_H

#include "transport.h"
#include "vu_limits.h"
#include "vu_stream.h"

#define VU_STALL_NS 10000000000ull /* default of stall_ns */
#define VU_RETRY_NS 1000000000ull  /* mode client: between two attempts to connect */
#define VU_FULL_NS  200000000ull   /* out of descriptors: until the next accept */
#define VU_TURN	    8u		   /* messages of one connection in a row */

/* A checked message of a frontend, and the answer to it. */
struct vu_exchange {
	const struct vu_msg *msg;
	int *fd; /* its descriptors: who keeps one puts -1 there */
	unsigned nfds;
	struct vu_msg answer; /* of the link, if it was asked; size 0: nothing */
};

/* What the owner of a socket does. All in the control thread. */
struct vu_server_ops {
	/* A frontend has begun to speak for the socket. */
	void (*attached)(void *ctx);
	/*
	 * A message; the link has accepted it, if it is one for the link. 1: x->answer is filled in
	 * (size and payload); 0: done; -errno: refused, and it has logged why.
	 */
	int (*message)(void *ctx, struct vu_exchange *x);
	/* The link has refused @m. Logs why. */
	void (*refused)(void *ctx, const struct vu_msg *m);
	/* The frontend is gone. */
	void (*gone)(void *ctx);
	/* The time of vu_server_again() has come. NULL: it is never called. */
	void (*again)(void *ctx);
	/*
	 * After gone(): its process has ended too, and no other frontend has come. NULL: that is
	 * not of interest.
	 */
	void (*died)(void *ctx);
};

/* Who keeps the state of feature negotiation. One link a frontend. */
struct vu_link_ops {
	/* A connected, non-blocking stream socket that takes and answers messages; *link is the
	 * caller's for vu_link_ops.close. @name: of the frontend's socket, in the log; it outlives
	 * the link. -errno, with zv_err() text. */
	int (*open)(const char *name, void **link);
	void (*close)(void *link);
};

struct vu_terms;

struct vu_socket_config {
	const char *path; /* with fd: its name in messages */
	bool client;	  /* connect to a frontend that listens, again and again */
	int fd; /* the one frontend's, connected; -1: path. Stays the caller's: a duplicate is used
		 */
	int sockmode; /* server: permission bits of the socket; -1: as umask has them */
	const struct vu_terms *terms; /* the owner's, who changes it in ops only */
	uint64_t stall_ns; /* how long a frontend may leave a message half sent, or an answer
			      unread, before it is disconnected; 0: default */
	const struct vu_server_ops *ops;
	const struct vu_link_ops *link;
	void *ctx;		  /* of ops */
	struct zv_log_limit *log; /* for what the frontend can cause */
};

struct vu_socket;

/*
 * Listens, begins to connect, or takes over the connected socket. The first one starts the control
 * thread. 0 and *out, which is set before any op is called; -errno with zv_err() text: the path is
 * in use, may not be written to, or there are no descriptors left.
 */
int vu_server_add(struct vu_socket **out, const struct vu_socket_config *c);
/*
 * Hangs up (ops->gone is called if a frontend was attached), and removes the socket if it was made
 * here. The last one stops the control thread. Not from an op.
 */
void vu_server_remove(struct vu_socket *e);
/* Closes @fd, which a message has brought; not in this thread if that can take long. */
void vu_server_drop(struct vu_socket *sk, int fd);
/* The control thread calls @fn with the ctx of ops, and this waits for that. Any other thread. */
void vu_server_do(struct vu_socket *sk, void (*fn)(void *ctx));
/* ops->again once, in @ns; an earlier call is replaced. From an op only. */
void vu_server_again(struct vu_socket *sk, uint64_t ns);

#endif
