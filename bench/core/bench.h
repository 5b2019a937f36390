/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock-bench: what its parts share.
 *
 * Theory of operation
 * -------------------
 * The unit of measurement is a *cell*: one workload on one target with one message size, direction
 * and way of calling. plan.c makes the list of cells from the options; main.c runs all of them,
 * then all of them again, --repeat times, so that what is compared is interleaved (A B A B) and a
 * drift of the machine hits every cell alike. report/ prints medians and ratios.
 *
 * Each cell runs in two processes, the "guest" side and the "host" side. For sockets and raw limits
 * both are forked for the cell (target/socket.c, raw.c). For zvsock they are forked once, own one
 * device each and are told which cell to run next (target/zvsock.c). A foreign backend is a third
 * process between the two, which runs already (peer.h).
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#define BENCH_QUEUES_MAX  16u
#define BENCH_PEERS_MAX	  4u
#define BENCH_ERR_LEN	  320
#define BENCH_GRACE_NS	  30000000000ull /* a cell may take this much longer than its duration */
#define BENCH_SOCK_RX_LEN 65536u	 /* least size of a receive buffer of the copying calls */

enum bench_target { TGT_ZVSOCK, TGT_AF_UNIX, TGT_TCP, TGT_RAW, TGT_PEER };
enum bench_test { TEST_THROUGHPUT = 1, TEST_RTT, TEST_CONNRATE, TEST_IDLE, TEST_FAIRNESS };
/* TEST_FAIRNESS: see workload/fairness.c. */
enum bench_scene {
	SCENE_ALONE = 1,
	SCENE_HOLDS,
	SCENE_RESERVES,
	SCENE_ACTIVE,
	SCENE_PING,
	SCENE_PING_BULK
};
enum bench_dir { DIR_G2H = 1, DIR_H2G = 2, DIR_BOTH = 3 };
enum bench_cpus { CPUS_1 = 1, CPUS_2, CPUS_FREE };
enum bench_role { ROLE_GUEST = 0, ROLE_HOST = 1 };
/* --peer with CPUS_2: whose CPU the backend shares. */
enum bench_backend { BACKEND_HOST, BACKEND_GUEST, BACKEND_ALONE };

/* What one side counted in one run of a cell. */
struct side_stats {
	uint64_t msgs[BENCH_QUEUES_MAX]; /* complete messages, or connections, of each queue */
	uint64_t bytes;			 /* payload */
	uint64_t errors;		 /* wrong payload, wrong order, wrong boundary, lost */
	uint64_t first_ns, last_ns;	/* CLOCK_MONOTONIC of this side: begin and end of the run */
	uint64_t cpu_ns;		/* user + system time of the process */
	uint64_t conns_closed;		/* connrate: connections seen to their end */
	uint64_t rss_before, rss_after; /* idle: resident bytes without and with the connections */
};

struct rtt_result {
	uint64_t p50, p99, p999, max; /* ns */
};

struct fair_result {
	double slowest, mean; /* of the connections, Gbit/s */
};

/* One run of a cell. */
struct bench_result {
	bool valid;
	uint64_t messages, bytes, elapsed_ns, errors;
	uint64_t per_queue[BENCH_QUEUES_MAX];
	uint64_t cpu_ns[2];	  /* by role */
	uint64_t cpu_daemon_ns;	  /* of the backend between them; 0: none, or unknown */
	uint64_t rss_per_conn[2]; /* idle, by role */
	struct rtt_result rtt;
	struct fair_result fair;
};

struct bench_cell {
	enum bench_target target;
	enum bench_test test;
	enum bench_dir dir;
	unsigned peer; /* TGT_PEER: which one */
	bool zero_copy;
	bool coalesce; /* several messages may share a packet (copying calls, stream) */
	uint32_t msg_size;
	uint32_t in_flight;	/* connrate: connects under way; idle, fairness: open connections */
	enum bench_scene scene; /* fairness */
	struct bench_result *res; /* one for each repetition */
};

/* A vhost-user backend that somebody has started, with a hybrid Unix socket: --peer. */
struct bench_peer {
	char name[24];
	char uri[16 + sizeof(((struct sockaddr_un *)0)->sun_path)]; /* vhost-user:PATH */
	char uds[sizeof(((struct sockaddr_un *)0)->sun_path)];
};

struct bench_opts {
	unsigned queues, threads, repeat, batch, conns;
	uint32_t rx_buf, ring_size, buf_alloc; /* 0: the library's default */
	uint32_t sizes[16];
	unsigned nsizes;
	bool tests[TEST_FAIRNESS + 1];
	enum bench_dir dir;
	enum bench_cpus cpus;
	bool seqpacket, zero_copy, copy, busy_poll, touch, baselines;
	uint64_t duration_ns;
	const char *json;	/* NULL: none; "-": standard output instead of the table */
	const char *server_uri; /* serve tests here, run none */
	const char *client_uri; /* run tests against a server started elsewhere */
	struct bench_peer peers[BENCH_PEERS_MAX];
	unsigned npeers;
	enum bench_backend backend;
};

/* Facts about the run that are known only after the device is open. */
struct bench_facts {
	uint64_t page_size; /* behind zvsock's buffers; 0: unknown */
	char peer[16];	    /* "zvsock", "plain", "" */
	char zv_version[32];
	char uri[160];
	struct {
		bool zvsock; /* it answered HELLO */
		bool pinned; /* the backend's threads were put where --cpus says */
		int pid;     /* 0: unknown */
	} peers[BENCH_PEERS_MAX];
};

static inline uint32_t bench_min32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

#endif
