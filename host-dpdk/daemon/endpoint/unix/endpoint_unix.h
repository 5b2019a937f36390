/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix endpoint: hybrid vsock as in Firecracker and vhost-device-vsock.
 *
 * Host to guest: programs connect to PATH and write "CONNECT <port>" (unix_client.c). Guest to
 * host: the guest's connection goes to PATH_<port> (unix_target.c). If the backlog there is full,
 * the connection waits in a queue with others of its queue, and some of them are tried at a time: a
 * guest may have thousands of them, and each try costs several system calls. An lcore connects only
 * where the kernel finds the name in its cache. Otherwise a thread of the guest does (unix_look.c),
 * because local users can make it wait for the directory.
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

struct unix_look;
struct unix_looker;
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
	int dir;		   /* the directory of the path; -1: none. The looker's */
	struct unix_looker *looker;
	uint64_t
		look_ns; /* until then it looks for all names: one has made an lcore wait; atomic */
	unsigned name_at; /* where its name there begins in the path */
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

/* ---- unix_look.c ---- */

/* Takes over the directory @dir. NULL: no memory. */
struct unix_looker *unix_looker_new(int dir);
/* After unix_look_cancel() of all that is left. NULL is allowed. Waits for nothing. */
void unix_looker_free(struct unix_looker *l);

/* What unix_look() is asked for: to connect @fd to @name, and to call done(@arg) on @lc. */
struct unix_look_for {
	struct lcore *lc;
	int fd;
	const char *name;
	void (*done)(void *arg, int err); /* as unix_connect_error(sock_connect_in()) */
	void *arg;
};
/* Begins, in the order of the calls. Until done() the look belongs to the caller. NULL: no memory,
 * or no thread. */
struct unix_look *unix_look(struct unix_looker *l, const struct unix_look_for *what);
/* Before done(), on its lcore: from now on nothing uses the socket, and done() is not called. */
void unix_look_cancel(struct unix_look *k);

/* @err, or -ESTALE: it is -ENOENT because the directory @dir has been removed. */
int unix_connect_error(int dir, int err);

/* endpoint_ops.serve */
int unix_target_serve(struct guest_queue *gq, struct zv_conn *conn,
		      const struct zv_conn_info *info);

#endif
