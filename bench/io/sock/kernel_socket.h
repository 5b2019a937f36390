/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Workloads over stream sockets of the kernel, of any address family.
 *
 * Plain blocking sockets, with one connection for each queue and one thread for each connection,
 * because that is how sockets are fast; stream_io.h has the calls. Both sides are forked for each
 * cell. The guest side always connects. Throughput is measured guest to host only, since the way
 * back is the same.
 */
#ifndef BENCH_KERNEL_SOCKET_H
#define BENCH_KERNEL_SOCKET_H

#include "core/workload.h"
#include "stream_io.h"

#include <pthread.h>
#include <sys/socket.h>

struct socket_family {
	const char *name; /* in a sentence for the user */
	int family;	  /* AF_* */
	int type;	  /* SOCK_SEQPACKET; 0: SOCK_STREAM */
	/* Where the host side listens; the kernel chooses what is left open. Returns the length. */
	socklen_t (*address)(struct sockaddr_storage *ss);
	/*
	 * For a --client or --server: @port of @cid, of any CID with VMADDR_CID_ANY. NULL: there
	 * are none over this family.
	 */
	socklen_t (*port)(struct sockaddr_storage *ss, uint32_t cid, uint32_t port);
	/* A new socket; NULL: as it is. */
	void (*tune)(int fd, const struct bench_opts *o);
	/* Clients close with a reset, or the ports in TIME_WAIT would run out within seconds. */
	bool reset;
};

struct stream_shm {
	struct side_stats side[2];
	struct rtt_result rtt;
	uint64_t conns_total; /* connrate: how many there were, once the client has finished */
};

struct stream_ctx {
	const struct socket_family *family;
	const struct bench_opts *o;
	const struct bench_cell *c;
	struct proc_err *err;
	struct stream_shm *shm; /* NULL: the far end is not a fork of this process */
	int type;		/* SOCK_STREAM, SOCK_SEQPACKET */
	int listen_fd;
	struct sockaddr_storage addr;
	socklen_t addr_len;
	unsigned nconns;
};

struct stream_thread {
	struct stream_ctx *s;
	enum bench_role role;
	unsigned index;
	struct stream_io io;
	struct rtt_result rtt;
	pthread_t tid;
};

/* Connects to s->addr. A descriptor, or -errno with a sentence for the user. */
int stream_connect(struct stream_ctx *s);
/* A listener on s->addr in s->listen_fd. 0, or -errno with a sentence for the user. */
int stream_listen(struct stream_ctx *s);

/* One cell, see struct target. */
int socket_run(const struct socket_family *family, const struct bench_opts *o,
	       const struct bench_cell *c, struct bench_result *res, struct proc_err *err);

#endif
