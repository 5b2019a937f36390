/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix endpoint: hybrid vsock as in Firecracker and vhost-device-vsock.
 *
 * Host to guest: programs connect to PATH and write "CONNECT <port>" (unix_client.c). Guest to
 * host: the guest's connection goes to PATH_<port> (unix_target.c). If the backlog there is full,
 * the connection waits in a queue with others of its queue, and some of them are tried at a time: a
 * guest may have thousands of them, and each try costs several system calls.
 */
#ifndef ZVD_ENDPOINT_UNIX_H
#define ZVD_ENDPOINT_UNIX_H

#include "core/log.h"
#include "endpoint/acceptor.h"
#include "endpoint/endpoint.h"

struct unix_values {
	char path[CFG_PATH_MAX];	     /* "": none */
	struct cfg_array low_uids, low_gids; /* of uid_t, gid_t: who may serve ports below 1024 */
};

struct unix_target;

/* Per queue, on its lcore: connections that found a full backlog, and what all may cost. */
struct unix_waitq {
	TAILQ_HEAD(unix_targets, unix_target) waiting;
	struct lcore_timer retry;
	struct cpu_stock connects; /* for slow connect(2) calls: base/stock.h */
};

/* State of a guest that has a path. */
struct unix_guest {
	struct unix_waitq waitq[ZV_QUEUES_MAX];
	struct acceptor *listener; /* NULL: stopped */
	struct log_once refused;   /* refusals of host programs */
	bool passed;		   /* programs can send descriptors: passed.h */
	int dir;		   /* the directory of the path; -1: none */
	unsigned name_at;	   /* where its name there begins in the path */
};

static inline struct unix_guest *unix_guest(const struct guest *g)
{
	return g->part[ENDPOINT_unix];
}

static inline const struct unix_values *unix_values(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_unix];
}

static inline const char *unix_path(const struct guest *g)
{
	return unix_values(guest_cfg(g))->path;
}

/* True if low_port_users or low_port_groups names one of the two. */
bool unix_low_ports_of(const struct cfg_guest *g, uid_t uid, gid_t gid);

/* Takes a program that has connected to the socket. */
accepted_fn unix_client_begin;

/* endpoint_ops.serve */
int unix_target_serve(struct guest_queue *gq, struct zv_conn *conn,
		      const struct zv_conn_info *info);

#endif
