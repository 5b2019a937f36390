/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "connect" of the control socket: the descriptor that comes with the request, one end of a
 * connected pair of Unix sockets, is joined with a port of a guest. The control connection accepts
 * no further request. It stays open, without taking a client place, for the line that reports how
 * the connection has ended (endpoint/handover.h).
 */
#include "control_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zvsock.h>

#define VERSION_TEXT(n)	 VERSION_TEXT_(n)
#define VERSION_TEXT_(n) #n
#define CLOSED(ok)	 "{\"event\":\"closed\",\"ok\":" ok ",\"v\":" VERSION_TEXT(CONTROL_PROTOCOL) "}\n"

/* A socket whose close does not block, and that does not listen. */
static bool fits(int fd)
{
	struct sockaddr_un sa;
	socklen_t sa_len = sizeof(sa), len = sizeof(int);
	int domain = -1, type = -1;

	return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && domain == AF_UNIX &&
	       type == SOCK_STREAM && getpeername(fd, (struct sockaddr *)&sa, &sa_len) == 0;
}

/* The guest with the name or the CID in the request. NULL and *why: there is none. */
static struct guest *find(struct control *ct, const json_t *request, struct refusal *why)
{
	const char *name = NULL;
	struct guest *only;
	char *end;
	uint64_t cid;

	if (control_guest(ct, request, &only, why)) {
		if (!only)
			(void)control_refuse(why, "request", "\"guest\" is missing");
		return only;
	}
	if (control_string(request, "guest", &name, why) && name && *name >= '0' && *name <= '9') {
		cid = strtoull(name, &end, 10);
		for (struct guest *g = ct->d->guests; g && !*end; g = g->next)
			if (cid == guest_cid(g) && cid)
				return g;
	}
	return NULL;
}

json_t *control_connect(struct control *ct, struct client *cl, const json_t *request,
			struct refusal *why)
{
	struct guest *g = find(ct, request, why);
	uint64_t port = ZV_PORT_ANY;
	struct end_report report = {.complete = CLOSED("true"), .aborted = CLOSED("false")};
	int ret;

	if (!g || !control_number(request, "port", ZV_PORT_ANY, &port, why))
		return NULL;
	if (port == 0 || port == ZV_PORT_ANY)
		return control_refuse(why, "request", "\"port\" must be a number from 1 to %u",
				      ZV_PORT_ANY - 1);
	if (!fits(cl->passed))
		return control_refuse(why, "request",
				      "a connection needs one end of a connected pair of Unix "
				      "stream sockets with the request");
	if (!ct->d->join)
		return control_refuse(why, "busy", "the daemon is stopping");
	report.fd = fcntl(cl->fd, F_DUPFD_CLOEXEC, 0);
	ret = report.fd < 0 ? -errno : ct->d->join(g, (uint32_t)port, cl->passed, &report);
	if (report.fd < 0)
		guest_fd_refused(&g->queues[0], ret);
	if (ret < 0) {
		if (report.fd >= 0)
			(void)close(report.fd);
		return control_refuse(why, "busy", "%s: no connection: %s", g->cfg->name,
				      ret == -EMFILE
					      ? "no descriptor left for it; the daemon's log "
						"says which limit that is"
					      : zv_strerror(ret));
	}
	cl->passed = -1;
	cl->closing = true;
	return json_pack("{so}", "guest", control_text(g->cfg->name));
}
