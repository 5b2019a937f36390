/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A workload: what is measured. All that the bench knows about it is in one file of workload/,
 * which defines one struct workload. To add one, write that file and add a line to
 * workload/workloads.h and one to meson.build.
 *
 * A workload has functions for each way in which it can be carried (enum bench_io). Targets that
 * work in another way do not run it: they get no cell and no column.
 */
#ifndef BENCH_WORKLOAD_H
#define BENCH_WORKLOAD_H

#include "option.h"
#include "plan.h"

#include <stdio.h>

struct json_t;
struct peer_shm;
struct raw_ctx;
struct stream_thread;
struct worker;
struct zv_role;
struct zv_run;

/* How a program carries a workload. */
enum bench_io {
	IO_ZV,	    /* libzvsock on both sides (io/zv/zv_side.h) */
	IO_ZV_SOCK, /* libzvsock in the guest, sockets of the host's kernel (io/sock/sock_client.h)
		     */
	IO_SOCKET,  /* blocking stream sockets of the kernel (io/sock/kernel_socket.h) */
	IO_RAW,	    /* bare shared memory (io/raw/raw.h) */
	IO_RING,    /* bare virtqueues (io/raw/raw_ring.h) */
	IO_PEER,    /* libzvsock in the guest, a Unix socket on the host (io/peer/peer.h) */
	IO_CLIENT,  /* a blocking socket of the kernel against a far end (io/sock/sock_client.h) */
};

/*
 * The client's part, in this order: warm, [server starts to count], open, [memory and CPU time from
 * here on], run, [server's counts], close. Each: 0 or -errno with a sentence by side_fail().
 */
struct workload_zv {
	int (*warm)(struct zv_run *r); /* NULL: nothing */
	int (*open)(struct zv_run *r); /* NULL: nothing, and memory is not looked at */
	int (*run)(struct zv_run *r);  /* NULL: not over zvsock */
	void (*close)(struct zv_run *r);
	/* After the counts of both sides were put together; NULL: nothing to add. */
	void (*result)(const struct zv_run *r, struct bench_result *res);
	bool threads;	    /* each thread of the client runs it, on its own queues */
	bool counts_closed; /* the server counts the ends of connections too */
	bool many_conns;    /* opening them may take long; the duration begins behind that */
	unsigned durations; /* a run lasts so many --durations; 0: one */
	/* What the server can be told to do with a connection; ends with NULL. */
	const struct zv_role *const *roles;
};

/*
 * Either side, the guest's also for a --client: with t->io.fd connected, or with s->listen_fd and
 * s->addr only (own_conns).
 */
struct workload_socket {
	void (*guest)(struct stream_thread *t, unsigned char *buf, size_t cap);
	void (*host)(struct stream_thread *t, unsigned char *buf, size_t cap);
	bool per_queue; /* a connection and a thread for each queue; else one */
	bool own_conns; /* it makes its own connections */
	bool local;	/* its two sides agree by more than the connection: no --client */
};

struct workload_raw {
	void (*guest)(struct raw_ctx *r, struct side_stats *st);
	void (*host)(struct raw_ctx *r, struct side_stats *st);
};

/*
 * The guest side, in a process with libzvsock; the host program, which listens where the guest
 * makes the connections, else @listen_fd is -1. 0 or -errno.
 */
struct workload_peer {
	int (*guest)(struct worker *w, struct peer_shm *sh);
	int (*host)(struct peer_shm *sh, int listen_fd);
	uint32_t port; /* of the side that listens: PEER_PORT_* */
};

/* A table of the report: the lines above rows of a kind, and a row. */
struct workload_table {
	void (*head)(FILE *f, const struct bench_opts *o, const struct bench_cell *c);
	void (*row)(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		    const struct bench_cell *c);
};

struct workload {
	const char *name; /* for --test, in the JSON */
	const char *help; /* a line of --help */
	bool by_default;  /* without --test too */
	struct bench_options options;
	/* Do the options fit together? 0, or -EINVAL with a sentence in @why. */
	int (*check)(const struct bench_opts *o, char *why, size_t len);

	/* Adds its cells by plan_cells(), @c but for size, direction, in_flight. 0 or -ENOMEM. */
	int (*plan)(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);
	/* What the far end of a --client does, by direction of the cell, the client being the
	 * guest. */
	enum far_part far[DIR_BOTH + 1];
	bool oneway;	/* payload goes one way: a cell a direction, the receiver's figures count */
	bool registers; /* and its guest may send from registered memory */
	bool datagrams; /* only over targets that carry them */
	bool calls;	/* zero-copy and copying calls are different cells */

	struct workload_zv zv;
	struct workload_socket socket;
	struct workload_raw raw, ring;
	struct workload_peer peer;

	struct workload_table table, peer_table;
	bool one_head; /* one head for all rows; else one for each size and number in flight */
	/* The figure that every run of a cell should repeat (report/busy.h); NULL: none. */
	double (*steady)(const struct bench_result *r);
	bool one_thread; /* while it runs each side has one busy thread, whatever --threads says */

	/* Keys of the JSON: of the set-up (NULL: none), of the figures. */
	void (*json_setup)(struct json_t *j, const struct bench_opts *o,
			   const struct bench_cell *c);
	void (*json)(struct json_t *j, const struct bench_cell *c, const struct bench_result *r);
	bool touches;	   /* payload is written and verified, whatever --no-touch says */
	bool no_per_queue; /* what each queue did is no figure */
};

/* All of them, in the order in which they run (workload/workloads.h). */
extern const struct workload *const workloads[];
extern const unsigned nworkloads;

/* True when it can be carried in this way. */
bool workload_can(const struct workload *wl, enum bench_io io);

/* Nobody's transport: no API on either side, one queue, both sides spin. */
static inline bool io_is_bare(enum bench_io io)
{
	return io == IO_RAW || io == IO_RING;
}

#endif
