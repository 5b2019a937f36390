/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A --client or --server that uses plain sockets: a kernel's own vsock driver.
 *
 * Theory of operation
 * -------------------
 * Client and server exchange the same messages as libzvsock's client and server (wire.h), over
 * blocking sockets of an address family that has CIDs and ports (struct socket_family, .port). So
 * this client can measure a kernel's driver against a vsock-bench --server on any device, against
 * the services of zvsockd and against the server here; and the server here serves any of our
 * clients.
 *
 * The client is one thread with one connection for data, because such a device has one queue. On
 * it the client runs the guest's function of the workload (struct workload_socket). The server has
 * a thread for each connection, which does what the first message says.
 *
 * Time-outs of the sockets detect a peer that goes silent.
 */
#ifndef BENCH_SOCK_CLIENT_H
#define BENCH_SOCK_CLIENT_H

#include "kernel_socket.h"

struct sock_far {
	const struct socket_family *family;
	uint32_t cid;
	enum bench_role role; /* which side the client is */
};

/* Is a far end there? 0, or -errno with a sentence in @err. */
int sock_client_meet(const struct sock_far *far, const struct bench_opts *o, struct proc_err *err);
/* One cell, once. 0 and *@res, or -errno with a sentence in @err. */
int sock_client_run(const struct sock_far *far, const struct bench_opts *o,
		    const struct bench_cell *c, struct bench_result *res, struct proc_err *err);

/*
 * Serves connections to any CID of this machine until a signal; where @fd is not -1, also until
 * that ends, and says 'r' on it when it serves. 0 or -errno with a sentence.
 */
int sock_server_run(const struct socket_family *family, const struct bench_opts *o, int fd,
		    struct proc_err *err);

/* No wait of a connected socket is longer than a cell may take. */
void sock_limit(int fd, const struct bench_opts *o);

#endif
