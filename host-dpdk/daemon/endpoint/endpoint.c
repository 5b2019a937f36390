/* SPDX-License-Identifier: BSD-3-Clause */
/* Endpoints: who serves a connection, and what a guest may hold; theory in endpoint.h. */
#include "endpoint.h"

#include "core/fds.h"
#include "core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ACCEPTS_AT_ONCE 32u
#define LOW_PORTS	1024u

/* In the order in which a port is looked up. */
static const struct endpoint_ops *const endpoints[] = {
	&endpoint_sibling, &endpoint_builtin, &endpoint_tcp, &endpoint_vsock, &endpoint_unix,
};
#define N_ENDPOINTS (sizeof(endpoints) / sizeof(endpoints[0]))

/* ---- owners ---- */

void conn_owner_add(struct conn_owner *o, struct guest_queue *gq)
{
	o->gq = gq;
	TAILQ_INSERT_TAIL(&gq->owners, o, link);
	__atomic_store_n(&gq->n_owners, gq->n_owners + 1, __ATOMIC_RELAXED);
}

void conn_owner_remove(struct conn_owner *o)
{
	struct guest_queue *gq = o->gq;

	TAILQ_REMOVE(&gq->owners, o, link);
	__atomic_store_n(&gq->n_owners, gq->n_owners - 1, __ATOMIC_RELEASE);
}

/* ---- limits ---- */

bool endpoint_fd_get(struct guest_queue *gq)
{
	struct endpoints *ep = gq->guest->ep;
	bool guests = __atomic_add_fetch(&ep->fds, 1, __ATOMIC_RELAXED) > ep->max_fds;

	if (!guests && fds_get())
		return true;
	__atomic_sub_fetch(&ep->fds, 1, __ATOMIC_RELAXED);
	ENDPOINT_COUNT(gq, fd_limit);
	if (guests)
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "the guest's connections hold %u descriptors, which is all they may: "
			 "refusing more; raise max_fds",
			 ep->max_fds);
	else
		log_line(
			ZV_LOG_WARN, gq->guest->name,
			"the connections of all guests hold %u descriptors, which is all they may: "
			"refusing more; raise the limit of open files (LimitNOFILE=, ulimit -n), "
			"or set max_fds so that no guest takes all",
			fds_max());
	return false;
}

void endpoint_fd_put(struct guest_queue *gq)
{
	__atomic_sub_fetch(&gq->guest->ep->fds, 1, __ATOMIC_RELAXED);
	fds_put();
}

void endpoint_fd_refused(struct guest_queue *gq, int err)
{
	if (err == -ENOMEM || err == -ENOBUFS) {
		ENDPOINT_COUNT(gq, no_memory);
		log_line(ZV_LOG_WARN, gq->guest->name, "no memory for another socket: refusing");
		return;
	}
	ENDPOINT_COUNT(gq, fd_limit);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "no descriptor for another connection: refusing; raise the %s",
		 err == -ENFILE ? "system's limit (sysctl fs.file-max)"
				: "limit of open files (LimitNOFILE=, ulimit -n)");
}

bool endpoint_may_serve(struct guest_queue *gq, int fd, uint32_t port)
{
	const struct cfg_guest *cfg = guest_cfg(gq->guest);
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (port >= LOW_PORTS)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
	else if (peer.uid == 0 || cfg_low_ports_of(cfg, peer.uid, peer.gid))
		return true;
	ENDPOINT_COUNT(gq, low_port_denied);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "port %u is served by uid %u, gid %u: ports below %u are for root and who is "
		 "named by low_port_users and low_port_groups; connection refused",
		 port, peer.uid, peer.gid, LOW_PORTS);
	return false;
}

/* ---- connections that a guest asks for ---- */

static void refuse(struct zv_conn *conn, int err)
{
	(void)zv_conn_answer(conn, err);
	(void)zv_conn_close(conn);
}

static void serve(struct guest_queue *gq, struct zv_conn *conn)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	int ret = 0;

	ENDPOINT_COUNT(gq, guest_requests);
	(void)zv_conn_info(conn, &info);
	for (unsigned i = 0; i < N_ENDPOINTS && ret == 0; i++)
		ret = endpoints[i]->serve(gq, conn, &info);
	if (ret > 0)
		return;
	if (ret == 0) {
		ENDPOINT_COUNT(gq, no_endpoint);
		log_line(ZV_LOG_DEBUG, gq->guest->name,
			 "nothing is configured for port %u of CID %llu", info.local_port,
			 (unsigned long long)info.local_cid);
	}
	refuse(conn, ret ? ret : -ECONNREFUSED);
}

void endpoint_accept(struct guest_queue *gq)
{
	struct zv_conn *conn;

	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		if (zv_accept(gq->q, ZV_PORT_ANY, &conn) < 0)
			return;
		serve(gq, conn);
	}
}

/* ---- a guest's endpoints as a whole ---- */

int endpoints_start(struct guest *g, uint32_t max_fds)
{
	int ret = 0;

	g->ep = calloc(1, sizeof(*g->ep));
	if (!g->ep)
		return -ENOMEM;
	g->ep->max_fds = max_fds ? max_fds : UINT32_MAX;
	for (unsigned i = 0; i < N_ENDPOINTS && ret == 0; i++)
		if (endpoints[i]->start)
			ret = endpoints[i]->start(g);
	if (ret < 0)
		endpoints_stop(g);
	return ret;
}

void endpoints_stop(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINTS && g->ep; i++)
		if (endpoints[i]->stop)
			endpoints[i]->stop(g);
}

void endpoints_free(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINTS && g->ep; i++)
		if (endpoints[i]->free)
			endpoints[i]->free(g);
	free(g->ep);
	g->ep = NULL;
}

void endpoint_stats(const struct guest *g, struct endpoint_stats *st)
{
	const uint64_t *from = (const uint64_t *)&g->ep->stats;

	for (unsigned i = 0; i < sizeof(*st) / sizeof(uint64_t); i++)
		((uint64_t *)st)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
