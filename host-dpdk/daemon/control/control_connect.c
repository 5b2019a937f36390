/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "connect" of the control socket: one end of a pair of Unix sockets is joined with a port of a
 * guest, and the other goes to the client with the answer. The control connection accepts no
 * further request. It stays open, without taking a client place, for the line that reports how the
 * connection has ended (endpoint/handover.h).
 *
 * The pair is made here. Whoever has a descriptor of a socket can hold its lock for as long as he
 * likes, in a recv(2) to memory that does not come, and a call with MSG_DONTWAIT waits for that. So
 * nobody else ever has our end. The lock of the other end is for those who receive there: neither
 * send(2), shutdown(2) nor close(2) at our end takes it. (Before Linux 6.5 splice(2) at the other
 * end takes the lock of ours, to add pages to what is queued; it does not wait with it.)
 */
#include "control_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zvsock.h>

#define VERSION_TEXT(n)	 VERSION_TEXT_(n)
#define VERSION_TEXT_(n) #n
#define CLOSED(ok)	 "{\"event\":\"closed\",\"ok\":" ok ",\"v\":" VERSION_TEXT(CONTROL_PROTOCOL) "}\n"

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

/* Joins one end of a pair with @port of @g, and gives the other to @cl. 0, -EMFILE or -ENOMEM. */
static int join(struct control *ct, struct client *cl, struct guest *g, uint32_t port)
{
	struct end_report report = {
		.fd = -1, .complete = CLOSED("true"), .aborted = CLOSED("false")};
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		ret = -errno;
		guest_fd_refused(&g->queues[0], ret);
		return ret;
	}
	report.fd = fcntl(cl->fd, F_DUPFD_CLOEXEC, 0);
	ret = report.fd < 0 ? -errno : ct->d->join(g, port, pair[0], &report);
	if (ret == 0) {
		cl->give = pair[1];
		return 0;
	}
	if (report.fd < 0)
		guest_fd_refused(&g->queues[0], ret);
	else
		(void)close(report.fd);
	(void)close(pair[0]);
	(void)close(pair[1]);
	return ret;
}

json_t *control_connect(struct control *ct, struct client *cl, const json_t *request,
			struct refusal *why)
{
	struct guest *g = find(ct, request, why);
	uint64_t port = ZV_PORT_ANY;
	int ret;

	if (!g || !control_number(request, "port", ZV_PORT_ANY, &port, why))
		return NULL;
	if (port == 0 || port == ZV_PORT_ANY)
		return control_refuse(why, "request", "\"port\" must be a number from 1 to %u",
				      ZV_PORT_ANY - 1);
	if (cl->passed >= 0)
		return control_refuse(why, "request",
				      "\"connect\" takes no descriptor: its socket comes "
				      "with the answer; use the zvsockctl that came with this "
				      "daemon");
	if (!control_user_may_be_given(cl->user))
		return control_refuse(why, "share",
				      "sockets that this user was given before are not closed "
				      "yet: try again");
	if (!ct->d->join)
		return control_refuse(why, "busy", "the daemon is stopping");
	ret = join(ct, cl, g, (uint32_t)port);
	if (ret < 0)
		return control_refuse(why, "busy", "%s: no connection: %s", g->cfg->name,
				      ret == -EMFILE
					      ? "no descriptor left for it; the daemon's log "
						"says which limit that is"
					      : zv_strerror(ret));
	cl->closing = true;
	return json_pack("{so}", "guest", control_text(g->cfg->name));
}
