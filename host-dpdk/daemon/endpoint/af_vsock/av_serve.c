/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's connection to a port that a program has bound, or an application's: a socket with a Z
 * label is connected to the label of the program's socket, without waiting. The listener must
 * belong to the user who bound the port: the label is not secret, and anybody can use it once the
 * program has closed its socket.
 *
 * An application is on the same machine as the program, under the same CID. So that it cannot pass
 * for another program there, or for a privileged one, the program sees a port that zvsockd has
 * chosen where the application's own would allow that.
 */
#include "av.h"

#include "base/clock.h"
#include "endpoint/endpoint_app.h"
#include "passed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TRIES 24u /* as in the kernel's vsock */
/* Ports chosen for applications: the first, and how many. */
#define APP_PORTS_FIRST (1u << 30)
#define APP_PORTS	(1u << 30)

/* A copy of what the table says about the port, and the address that the program sees. */
struct found {
	struct dropin_addr from;
	char text[DROPIN_LABEL];
	uint16_t sock_type;
	uid_t uid;
	bool passed;
};

/* Somebody on this machine has the port, at any of its CIDs: under the lock. */
static bool is_of_another(const struct guest *app, uint32_t port)
{
	return port < AV_LOW_PORTS ||
	       av_port_at(av_guest(app)->space, SOCK_STREAM, UINT32_MAX, port) ||
	       app_port_listened(port, false, app);
}

/* Where the connection comes from, as the program sees it. Under the lock. False: no port is free.
 */
static bool find_from(const struct guest *g, const struct zv_conn_info *info,
		      struct dropin_addr *from)
{
	uint32_t random = 0;

	*from = (struct dropin_addr){(uint32_t)info->peer_cid, info->peer_port};
	if (!av_guest(g)->app)
		return true;
	from->cid = (uint32_t)info->local_cid;		   /* as between two programs */
	if (from->cid != av_local_cid(av_guest(g)->space)) /* CID 2 in a guest is its host */
		from->cid = ZV_CID_LOCAL;
	for (unsigned i = 0; i < TRIES; i++) {
		if (!is_of_another(g, from->port))
			return true;
		(void)!getrandom(&random, sizeof(random), 0);
		from->port = APP_PORTS_FIRST + random % APP_PORTS;
	}
	return false;
}

static bool find(const struct guest_queue *gq, const struct zv_conn_info *info, struct found *f)
{
	const struct av_guest *g = av_guest(gq->guest);
	const struct av_port *p;

	if (!g)
		return false;
	pthread_mutex_lock(&g->space->lock);
	p = av_port_at(g->space, SOCK_STREAM, (uint32_t)info->local_cid, info->local_port);
	if (p) {
		memcpy(f->text, p->text, sizeof(f->text));
		f->sock_type = p->label.sock_type;
		f->uid = p->uid;
		if (!find_from(gq->guest, info, &f->from))
			p = NULL;
	}
	pthread_mutex_unlock(&g->space->lock);
	f->passed = g->space->closers;
	return p;
}

/* An application that detaches and comes again is charged as before: with its user. */
static struct av_looker looker(struct av_guest *g, const struct found *f)
{
	return g->app ? av_looker(g->space, AV_LOOK_USER, guest_cfg(g->guest)->app_uid)
		      : av_looker_guest(g, f->uid);
}

/* Binds @fd to a label with the program's view of the connection, *out, and connects it. 0,
 * -errno. */
static int join(struct av_guest *g, int fd, const struct found *f, const struct zv_conn_info *info,
		struct dropin_label *out)
{
	const struct av_looker who = looker(g, f);
	struct dropin_label l = {
		.view = 'Z',
		.connected = true,
		.sock_type = f->sock_type,
		.local = {(uint32_t)info->local_cid, info->local_port},
		.remote = f->from,
	};
	char text[DROPIN_LABEL];
	struct sockaddr_un sa;
	uint64_t start;
	socklen_t len;
	int ret;

	if (getrandom(l.token, sizeof(l.token), 0) != sizeof(l.token))
		return -EAGAIN;
	*out = l;
	dropin_label_write(&l, text);
	len = av_address(&sa, text);
	if (bind(fd, (struct sockaddr *)&sa, len) < 0)
		return -errno;
	len = av_address(&sa, f->text);
	start = cpu_ns();
	ret = connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	av_look_took(g->space, &who, cpu_ns() - start);
	return ret;
}

/* False: the program that bound the port is gone, and a socket of another user has its label. */
static bool is_of(struct guest_queue *gq, int fd, const struct found *f, uint32_t port)
{
	struct ucred cred = {.pid = -1, .uid = (uid_t)-1};
	socklen_t len = sizeof(cred);

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	if (cred.uid == f->uid)
		return true;
	GUEST_COUNT(gq, af_vsock_denied);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "port %u was bound by uid %u, and pid %d, uid %u listens with its label: "
		 "connection refused",
		 port, (unsigned)f->uid, (int)cred.pid, (unsigned)cred.uid);
	return false;
}

static int refused(struct guest_queue *gq, int err, uint32_t port)
{
	/* Not listening, or its backlog is full: RST at once, as the kernel's vsock does. */
	if (err == -ECONNREFUSED || err == -EAGAIN)
		GUEST_COUNT(gq, connect_refused);
	else
		GUEST_COUNT(gq, connect_failed);
	log_line(ZV_LOG_DEBUG, gq->guest->name, "port %u of a program: %s", port,
		 err == -EAGAIN	 ? "its backlog is full"
		 : err == -EBUSY ? "the time to look for its socket is used up"
				 : zv_strerror(err));
	return -ECONNREFUSED;
}

static int serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	struct av_guest *g = av_guest(gq->guest);
	bool seq = info->type == ZV_SEQPACKET;
	struct av_looker who;
	struct relay *r;
	struct dropin_label label;
	struct av_named *n = NULL;
	struct found f;
	int fd, ret;

	if (!find(gq, info, &f) || (f.sock_type == SOCK_SEQPACKET) != seq)
		return 0;
	who = looker(g, &f);
	if (!av_look_may(g->space, &who))
		return refused(gq, -EBUSY, info->local_port);
	if (!guest_fd_get(gq))
		return -ECONNREFUSED;
	r = calloc(1, sizeof(*r));
	fd = r ? socket(AF_UNIX, f.sock_type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	if (fd < 0) {
		guest_fd_refused(gq, r ? -errno : -ENOMEM);
		guest_fd_put(gq);
		free(r);
		return -ECONNREFUSED;
	}
	ret = join(g, fd, &f, info, &label);
	if (ret == 0 && !is_of(gq, fd, &f, info->local_port))
		ret = -EPERM;
	else if (ret == 0 && !(n = av_named_new(g->space, &label, gq->lc)))
		ret = refused(gq, -ENOMEM, info->local_port);
	else if (ret < 0)
		ret = refused(gq, ret, info->local_port);
	if (ret < 0) {
		if (f.passed && passed_waits(fd, !seq)) { /* a stranger may have sent some */
			guest_fd_discard(gq->guest, fd);
		} else {
			io_close_fd(lcore_io(gq->lc), fd);
			guest_fd_put(gq);
		}
		free(r);
		return -ECONNREFUSED;
	}
	relay_init(r, gq, conn, &endpoint_af_vsock.kind, fd, seq ? RELAY_SEQPACKET : 0);
	relay_is_af_vsock(r);
	av_named_give(n, r);
	if (f.passed)
		relay_expect_passed(r);
	else
		(void)passed_refuse(fd);
	if (zv_conn_answer(conn, 0) < 0) { /* the guest has closed the connection */
		relay_abort(r);
		return 1;
	}
	GUEST_COUNT(gq, guest_joined);
	relay_start(r, NULL, 0);
	av_named_started(r);
	return 1;
}

int av_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	int ret = serve(gq, conn, info);

	if (ret < 0) /* others are charged by relay_init() */
		lcore_charge(&gq->lq);
	return ret;
}
