/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The far end of a --client: a vsock-bench --server, or the builtin services of zvsockd.
 *
 * A server is told what to do on each connection, and reports at the end what it has counted. A
 * service is only a port: the client's own counts are all there is. One structure describes both,
 * so that libzvsock and kernel sockets can be the client of either.
 */
#ifndef BENCH_FAR_END_H
#define BENCH_FAR_END_H

#include "bench.h"

#define BENCH_PORT_STREAM 5200u
#define BENCH_PORT_SEQ	  5201u
#define BENCH_PORT_CONN	  5202u /* accepted, and closed when the peer closes: workload/connrate.c */

struct far_end {
	const char *name; /* in the JSON */
	/* Where a connection goes whose other end is to do @part; 0: it does no such thing. */
	uint32_t (*port)(const struct bench_opts *o, enum far_part part);
	/* It is told what a connection is for and counts (io/wire.h); else it just does it. */
	bool controlled;
	/* It sends zeros, without end, and does not look at what it is sent. */
	bool dull;
};

/* Of a --client with these options. */
const struct far_end *far_end_of(const struct bench_opts *o);

/* What the other end does in cells of @c whose client is on side @client. */
enum far_part far_part_of(const struct bench_cell *c, enum bench_role client);

/* "sink": the role of a server that does @part; "" where the port says it. */
const char *far_part_role(enum far_part part);

/* --services: "echo:7,discard:9,source:19", each at most once. 0, or -EINVAL with a sentence. */
int services_parse(struct bench_opts *o, char *arg, char *why, size_t len);
/* Each test that was asked for has a service to run against. 0, or -EINVAL with a sentence. */
int services_check(const struct bench_opts *o, char *why, size_t len);
/* "a vsock-bench server", "the services echo:7,discard:9" */
const char *far_end_text(char *buf, size_t len, const struct bench_opts *o);

#endif
