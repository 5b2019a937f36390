/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user sockets of a process, and the control thread that serves them.
 *
 * Theory of operation
 * -------------------
 * One control thread serves all sockets. It never blocks on any of them: it reads what is there,
 * and acts on a message only when it is complete and vu_rules.h accepts it. So a frontend that
 * stops in the middle of a message or never reads its answers delays nobody; after stall_ns it is
 * disconnected. Everything below runs in this thread (vu_server_add() and vu_server_remove() hand
 * their work over and wait), so none of it has a lock.
 *
 * 	frontend ==socket==> vu_read --rules--> +-- device: memory, rings (vu_device.h)
 * 	                                        +-- link: features, ownership (vu_rte.h)
 *
 * A connection is in one of three states: it is being read; the link has one of its messages and an
 * answer is awaited; or an answer waits for room in its socket. Data is read only in the first
 * state, so a frontend has at most one message in here, and at most VU_TURN messages in a row
 * before others get their turn.
 *
 * A socket has one frontend: the connection that has spoken. Others may connect and wait, because a
 * successor often connects before the end of its predecessor has been noticed. The first of them
 * that speaks becomes the frontend if the predecessor has hung up, and is refused otherwise. A
 * connected socket that was handed over has only that one frontend.
 *
 * Fairness. A frontend can make a message expensive (memory tables, stops with much on loan) and
 * repeat it at once. So a socket gets at most a quarter of the thread's time: the time spent on it
 * is measured, and the socket is then ignored for three times as long. Unused descriptors are
 * closed by a thread of the socket's own (fd_closer.h), and the socket waits while these are many.
 * It also waits while ops->busy says that the owner has something to finish.
 *
 * It may also sleep for as long as a frontend likes, because of the memory that it maps and touches
 * (mem_sleep.h). That is charged too, and beyond 1 s the socket is ignored for a hundred times as
 * long, whoever connects meanwhile, and so are those of all applications of that user.
 *
 * Connecting to a VMM (mode client) may take as long as whoever has its directory likes. A thread
 * does it for each attempt (vu_dial.c). Whoever accepts, but says nothing for stall_ns, is kept and
 * logged.
 *
 * Plain C without DPDK: the link is a table of two functions.
 */
#ifndef ZV_VU_SERVER_H
#define ZV_VU_SERVER_H

#include "transport.h"
#include "vu_limits.h"
#include "vu_stream.h"

#define VU_STALL_NS 10000000000ull /* default of stall_ns */
#define VU_RETRY_NS 1000000000ull  /* mode client: interval between attempts to connect */
#define VU_FULL_NS  200000000ull   /* out of descriptors: delay of the next accept */
#define VU_TURN	    8u		   /* messages of one connection in a row */

/* A checked message of a frontend, and its answer. */
struct vu_exchange {
	const struct vu_msg *msg;
	int *fd; /* its descriptors: whoever keeps one stores -1 */
	unsigned nfds;
	struct vu_msg answer; /* from the link, if it was asked; size 0: none */
};

/* Callbacks of the owner of a socket, in the control thread. */
struct vu_server_ops {
	/* A frontend has begun to speak for the socket. */
	void (*attached)(void *ctx);
	/*
	 * Handles a message; the link has accepted it, if it is one for the link. 1: x->answer is
	 * filled in (size and payload); 0: done; -errno: refused, and the reason has been logged.
	 */
	int (*message)(void *ctx, struct vu_exchange *x);
	/* The link has refused @m. Logs why. */
	void (*refused)(void *ctx, const struct vu_msg *m);
	/* The frontend is gone. */
	void (*gone)(void *ctx);
	/* The time set by vu_server_again() has come. NULL: it is never called. */
	void (*again)(void *ctx);
	/* After gone(): its process has ended too, and no other frontend has come. NULL: not
	 * wanted. */
	void (*died)(void *ctx);
	/* True: no further message until it says otherwise; it is asked again and again. NULL: is
	 * never busy. */
	bool (*busy)(void *ctx);
};

/* The link keeps the state of feature negotiation. One link for each frontend. */
struct vu_link_ops {
	/*
	 * Returns a connected, non-blocking stream socket on which messages are sent and answered;
	 * *link is for vu_link_ops.close. @name: the frontend's socket, for the log; it outlives
	 * the link. -errno, with zv_err() text.
	 */
	int (*open)(const char *name, void **link);
	void (*close)(void *link);
};

struct vu_terms;

struct vu_socket_config {
	const char *path; /* with fd: name in messages */
	bool client;	  /* keep connecting to a listening frontend */
	int fd;		  /* connected socket of the one frontend, which is duplicated; -1: path */
	int sockmode;	  /* server: permission bits of the socket; -1: from the umask */
	struct charge *charge; /* for its fd_closer; NULL: no user's */
	uid_t user;	       /* with fd: whose frontend it is; MEM_ACCOUNT_OWN: no user's */
	const struct vu_terms *terms; /* the owner's, changed in ops only */
	uint64_t stall_ns; /* how long a frontend may leave a message half sent, or an answer
			      unread, before it is disconnected; 0: default */
	const struct vu_server_ops *ops;
	const struct vu_link_ops *link;
	void *ctx;		  /* of ops */
	struct zv_log_limit *log; /* for lines that the frontend can cause */
};

struct vu_socket;

/*
 * Listens, starts to connect, or takes over the connected socket. The first call starts the control
 * thread. 0 and *out, which is set before any callback; -errno with zv_err() text: the path is in
 * use or not writable, or there are no descriptors left.
 */
int vu_server_add(struct vu_socket **out, const struct vu_socket_config *c);
/* Hangs up (ops->gone is called if a frontend was attached), and removes the socket file if it was
 * created here. The last call stops the control thread. Not from a callback. */
void vu_server_remove(struct vu_socket *e);
/* Closes @fd, received with a message; in another thread if that can take long: by this closer. */
void vu_server_drop(struct vu_socket *sk, int fd);
struct fd_closer *vu_server_closer(struct vu_socket *sk);
/* Has the control thread call @fn with the ctx of ops, and waits for it. From any other thread. */
void vu_server_do(struct vu_socket *sk, void (*fn)(void *ctx));
/* Calls ops->again once, in @ns; replaces an earlier request. From a callback only. */
void vu_server_again(struct vu_socket *sk, uint64_t ns);

#endif
