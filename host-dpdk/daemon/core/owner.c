/* SPDX-License-Identifier: BSD-3-Clause */
#include "owner.h"

#include "log.h"

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

void conn_closed(struct conn_owner *o, const struct zv_event *ev)
{
	(void)o;
	(void)ev;
}

void conn_owner_close(struct conn_owner *o, struct zv_conn *conn, bool reset)
{
	zv_set_user(conn, (void *)(uintptr_t)&o->kind->closed);
	(void)(reset ? zv_conn_reset(conn) : zv_conn_close(conn));
}

void conn_log(const struct conn_owner *o, struct zv_conn *conn, const char *what)
{
	struct zv_conn_info i = {.size = sizeof(i)};
	const struct guest *g = o->gq->guest;
	char where[CFG_PATH_MAX + 300];

	if (!log_wants(ZV_LOG_DEBUG) || !conn || zv_conn_info(conn, &i) < 0)
		return;
	o->kind->describe(g, &i, where, sizeof(where));
	log_line(ZV_LOG_DEBUG, g->name,
		 "peer port %u, local port %u, %s, queue %u: %s%s; %llu bytes from the peer, "
		 "%llu to it",
		 i.peer_port, i.local_port, where, o->gq->index, what,
		 o->channel ? " (channel)" : "", (unsigned long long)i.rx_bytes,
		 (unsigned long long)i.tx_bytes);
}
