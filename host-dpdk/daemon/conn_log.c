/* SPDX-License-Identifier: BSD-3-Clause */
#include "conn_log.h"

#include "log.h"

#include <stdio.h>
#include <string.h>

void conn_endpoint_text(const struct cfg_guest *c, const struct zv_conn_info *info,
			const char *sibling, char *buf, size_t len)
{
	static const char *const services[] = {"echo", "discard", "source"};
	uint32_t port = info->local_port;

	if (info->local_cid != ZV_CID_HOST) {
		if (sibling)
			(void)snprintf(buf, len, "guest:%s", sibling);
		else
			(void)snprintf(buf, len, "guest:CID %llu",
				       (unsigned long long)info->local_cid);
		return;
	}
	if (!(info->flags & ZV_CONN_INCOMING)) {
		(void)snprintf(buf, len, "unix:%s", c->unix_path);
		return;
	}
	for (unsigned k = 0; k < c->n_builtin; k++)
		if (c->builtin[k].port == port) {
			(void)snprintf(buf, len, "%s", services[c->builtin[k].service]);
			return;
		}
	for (unsigned k = 0; k < c->n_tcp; k++)
		if (c->tcp[k].port == port) {
			(void)snprintf(buf, len,
				       strchr(c->tcp[k].host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
				       c->tcp[k].host, c->tcp[k].target);
			return;
		}
	for (unsigned k = 0; k < c->n_vsock; k++)
		if (port >= c->vsock[k].first && port <= c->vsock[k].last) {
			(void)snprintf(buf, len, "vsock:%u", port);
			return;
		}
	(void)snprintf(buf, len, "unix:%s_%u", c->unix_path, port);
}

void conn_log(const struct guest_queue *gq, struct zv_conn *conn, const char *what)
{
	struct zv_conn_info i = {.size = sizeof(i)};
	char endpoint[CFG_PATH_MAX + 300];

	if (!log_wants(ZV_LOG_DEBUG) || !conn || zv_conn_info(conn, &i) < 0)
		return;
	conn_endpoint_text(guest_cfg(gq->guest), &i, NULL, endpoint, sizeof(endpoint));
	log_line(ZV_LOG_DEBUG, gq->guest->name,
		 "guest port %u, host port %u, %s, queue %u: %s; %llu bytes from the guest, %llu "
		 "to it",
		 i.peer_port, i.local_port, endpoint, gq->index, what,
		 (unsigned long long)i.rx_bytes, (unsigned long long)i.tx_bytes);
}
