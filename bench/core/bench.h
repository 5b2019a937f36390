/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock-bench: what its parts share.
 *
 * Theory of operation
 * -------------------
 * The unit of measurement is a *cell*: one workload on one target, with one message size,
 * direction and kind of calls. core/plan.c makes the list of cells from the options. core/run.c
 * runs all of them, then all of them again, --repeat times. So the cells that are compared are
 * interleaved (A B A B), and a drift of the machine affects all of them alike. report/ prints
 * medians and ratios.
 *
 * Each cell runs in two processes, the "guest" side and the "host" side.
 *
 * Workloads and targets can be added. Each is one structure in one file, listed in one table:
 *
 *   struct workload  (core/workload.h)  what is done and reported: options, cells, client and
 *                                       server, rows of the table, keys of the JSON
 *   struct target    (core/target.h)    on what: how its two processes start and run a cell
 *
 * They meet in enum bench_io (code in io/), the seven ways to carry a workload: libzvsock on both
 * sides; two blocking sockets; bare shared memory; bare virtqueues; libzvsock in the guest and a
 * socket on the host, with a foreign backend or the kernel between them (two ways); a socket
 * against a far end (core/far_end.h). A workload has functions for the ways that it supports, a
 * target works in one of them. So the kernel's AF_VSOCK is a target that names an address family,
 * and runs every workload that supports sockets.
 *
 * Includes between folders go one way: measure <- core <- {report, io} <- workload <- target <-
 * main.c, opts.c.
 */
#ifndef BENCH_H
#define BENCH_H

#include "measure/cpu.h"
#include "measure/proc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define BENCH_QUEUES_MAX  16u
#define BENCH_PEERS_MAX	  4u /* --peer */
#define BENCH_PROGRAMS	  2u /* peers that the bench starts itself */
#define BENCH_TARGETS_MAX 16u
#define BENCH_GONE_LEN	  (BENCH_ERR_LEN + 104)
#define BENCH_BATCH_MAX	  256u
#define BENCH_MSG_MAX	  (64u << 20)
#define BENCH_GRACE_NS	  30000000000ull /* a cell may take this much longer than its duration */
#define BENCH_SOCK_RX_LEN 65536u	 /* least size of a receive buffer of the copying calls */
#define BENCH_OWN_FIGURES 2u

/* Values and names: what an option takes is what the reports print. */
#define BENCH_DIRS(X)                                                                              \
	X(DIR_G2H, 1, "g2h")                                                                       \
	X(DIR_H2G, 2, "h2g")                                                                       \
	X(DIR_BOTH, 3, "both")
#define BENCH_TYPES(X)                                                                             \
	X(TYPE_STREAM, 0, "stream")                                                                \
	X(TYPE_SEQPACKET, 1, "seqpacket")
/* --peer with CPUS_2: whose CPU the backend shares. */
#define BENCH_BACKENDS(X)                                                                          \
	X(BACKEND_HOST, 0, "host")                                                                 \
	X(BACKEND_GUEST, 1, "guest")                                                               \
	X(BACKEND_ALONE, 2, "alone")
/* Builtin services of zvsockd, by the names of its configuration. */
#define BENCH_SERVICES(X)                                                                          \
	X(SERVICE_ECHO, 0, "echo")                                                                 \
	X(SERVICE_DISCARD, 1, "discard")                                                           \
	X(SERVICE_SOURCE, 2, "source")

#define BENCH_VALUE(id, value, name) id = (value),
enum bench_dir { BENCH_DIRS(BENCH_VALUE) };
enum bench_type { BENCH_TYPES(BENCH_VALUE) };
enum bench_backend { BENCH_BACKENDS(BENCH_VALUE) };
enum bench_service { BENCH_SERVICES(BENCH_VALUE) SERVICES_MAX };
#undef BENCH_VALUE

/* The names of an enum, by value; NULL where there is no such value. */
struct bench_names {
	const char *const *name;
	unsigned n;
};
extern const struct bench_names dir_names, type_names, backend_names, cpus_names, service_names;

/* What the other end of a client's connection does (core/far_end.h). */
enum far_part {
	FAR_OWN,    /* something of the workload's own, which only a server can be told */
	FAR_SINK,   /* receives to the end, then closes */
	FAR_SOURCE, /* sends */
	FAR_ECHO,   /* sends back */
	FAR_CLOSER, /* closes when the client does */
	FAR_PARTS,
};

struct hist;
struct workload;
struct target;

/* What one side counted in one run of a cell. */
struct side_stats {
	uint64_t msgs[BENCH_QUEUES_MAX]; /* complete messages, or connections, of each queue */
	uint64_t bytes;			 /* payload */
	uint64_t errors;		 /* wrong payload, wrong order, wrong boundary, lost */
	uint64_t first_ns, last_ns;	/* CLOCK_MONOTONIC of this side: begin and end of the run */
	uint64_t cpu_ns;		/* user + system time of the process */
	uint64_t conns_closed;		/* connections that the server has seen to their end */
	uint64_t rss_before, rss_after; /* resident bytes without and with the connections */
};

/* Points of a distribution: these shares of all round trips took at most so long. */
#define BENCH_CDF_POINTS 25u
extern const double bench_cdf_shares[BENCH_CDF_POINTS];

struct rtt_result {
	uint64_t p50, p99, p999, max;	/* ns */
	uint64_t cdf[BENCH_CDF_POINTS]; /* ns, at bench_cdf_shares */
};

/* One run of a cell. */
struct bench_result {
	bool valid;
	uint64_t messages, bytes, elapsed_ns, errors;
	uint64_t per_queue[BENCH_QUEUES_MAX];
	uint64_t cpu_ns[2];    /* by role */
	uint64_t cpu_other_ns; /* of a backend between them; 0: none, or unknown */
	struct rtt_result rtt;
	double own[BENCH_OWN_FIGURES]; /* what only the workload knows the meaning of */
};

struct bench_cell {
	const struct workload *workload;
	const struct target *target;
	enum bench_dir dir;
	unsigned peer; /* --peer: which one */
	bool zero_copy;
	bool coalesce;	 /* several messages may share a packet (copying calls, stream) */
	bool registered; /* copying calls, but the guest sends from memory that it has registered */
	uint32_t msg_size;
	uint32_t in_flight;	    /* connects under way, or open connections */
	unsigned variant;	    /* of the workload; its own numbers */
	struct bench_result *res;   /* one for each repetition */
	char failed[BENCH_ERR_LEN]; /* why; it is not run again. "": it has not */
	unsigned failed_run;	    /* in which repetition, from 0 */
};

/* A vhost-user backend with a hybrid Unix socket: one that somebody has started (--peer), or one of
 * which only the program is known (target/peer_program.c), until it runs. */
struct bench_peer {
	char name[24];
	char program[256];					    /* "": it runs already */
	char uri[16 + sizeof(((struct sockaddr_un *)0)->sun_path)]; /* vhost-user:PATH */
	char uds[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

/* The options that concern more than one workload or target. */
struct bench_opts {
	uint32_t queues, threads, repeat, batch;
	uint32_t rx_buf, tx_buf, ring_size, buf_alloc; /* 0: the library's default */
	uint32_t ring_flags; /* ZV_OPT_PACKED, ZV_OPT_SPLIT; 0: the library's default */
	uint32_t sizes[16];
	unsigned nsizes;
	uint64_t workloads; /* bit i: that of index i in the table */
	uint64_t targets;   /* the same of targets, --target; 0: the usual ones */
	uint64_t paths;	    /* of zvsock's, --path; 0: all that there are */
	unsigned dir;	    /* enum bench_dir */
	unsigned cpus;	    /* enum bench_cpus */
	unsigned type;	    /* enum bench_type */
	unsigned backend;   /* enum bench_backend */
	bool zero_copy, copy, registered, busy_poll, sleep, touch, baselines, list_targets;
	uint64_t duration_ns;
	const char *json;	/* NULL: none; "-": standard output instead of the table */
	const char *baseline;	/* the report of an earlier run; NULL: none */
	bool iperf;		/* --iperf-json */
	double intervals;	/* seconds; 0: none */
	double factor;		/* what its figures may fall to */
	const char *server_uri; /* serve tests here, run none */
	const char *client_uri; /* run tests against a server started elsewhere */
	bool services;		/* --client: the far end is zvsockd's services on these ports */
	uint32_t service[SERVICES_MAX]; /* 0: not there */
	/* Those of --peer from the first place on; programs behind BENCH_PEERS_MAX. */
	struct bench_peer peers[BENCH_PEERS_MAX + BENCH_PROGRAMS];
	unsigned npeers; /* --peer */
};

/* Facts about the run that are known only after the device is open. */
struct bench_facts {
	uint64_t page_size; /* behind zvsock's buffers; 0: unknown */
	char peer[16];	    /* "zvsock", "plain", "" */
	char uri[160];
	struct {
		bool zvsock; /* it answered HELLO */
		bool pinned; /* the backend's threads were put where --cpus says */
		int pid;     /* 0: unknown */
	} peers[BENCH_PEERS_MAX + BENCH_PROGRAMS];
	/* What kept a target from starting, or why it was given up; "": nothing. By place in the
	 * table. */
	char gone[BENCH_TARGETS_MAX][BENCH_GONE_LEN];
};

/* Puts the statistics of the two sides together; @rx: the receiver, or who counts. */
void result_from_sides(struct bench_result *res, const struct side_stats *tx,
		       const struct side_stats *rx, unsigned queues);

/*
 * The same by role for a cell whose connections @client has made: who received has the figures of
 * one-way payload, the client those of all else. CPU times are taken too.
 */
void result_of_cell(struct bench_result *res, const struct bench_cell *c,
		    const struct side_stats *guest, const struct side_stats *host,
		    enum bench_role client, unsigned queues);

/* Of times in ticks (measure/cpu.h). */
struct rtt_result rtt_of_ticks(const struct hist *h);

/* Messages or connections per second; payload. */
double result_rate(const struct bench_result *r);
double result_gbit(const struct bench_result *r);

static inline uint32_t bench_min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* How zvsock waits: "adaptive"... */
const char *bench_polling(const struct bench_opts *o);

#endif
