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
	const struct cfg_builtin *b;
	const struct cfg_tcp *t;

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
	b = cfg_builtin_at(c, port);
	t = cfg_tcp_at(c, port);
	if (b)
		(void)snprintf(buf, len, "%s", services[b->service]);
	else if (t)
		(void)snprintf(buf, len, strchr(t->host, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u",
			       t->host, t->target);
	else if (cfg_vsock_at(c, port))
		(void)snprintf(buf, len, "vsock:%u", port);
	else
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
