/* SPDX-License-Identifier: BSD-3-Clause */
#include "apps_int.h"

#include "apps_memory.h"
#include "apps_ports.h"
#include "as_host.h"
#include "base/clock.h"
#include "channel/bells.h"
#include "core/closers.h"
#include "core/cred.h"
#include "core/log.h"
#include "endpoint/af_vsock/endpoint_af_vsock.h"
#include "endpoint/endpoint_app.h"
#include "guests.h"
#include "lifecycle.h"
#include "passed.h"
#include "proto/local/client_msg.h"
#include "sock_claim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	       64
#define ATTACH_MS      10000u /* between connecting and asking to be attached */
#define PAUSE_MS       200u   /* after a failure to accept */
#define EVENTS_AT_ONCE 8
#define FDS_ITSELF     (3u + BELLS_FDS) /* listener, lock file, epoll set */

unsigned apps_fds(const struct cfg *c)
{
	const struct cfg_role_info *r = &cfg_roles[CFG_APP];

	return *c->apps.path
		       ? FDS_ITSELF + APPS_MAX * (2 + r->fds_device +
						  ZV_QUEUES_MAX * (BELLS_FDS_QUEUE + r->fds_pair))
		       : 0;
}

int apps_fd(const struct daemon *d)
{
	return d->apps ? d->apps->ep : -1;
}

static int watch(struct apps *as, int op, int fd, uint32_t events, uint32_t what)
{
	struct epoll_event ev = {.events = events, .data.u32 = what};

	return epoll_ctl(as->ep, op, fd, &ev) < 0 ? -errno : 0;
}

static void accepting(struct apps *as, bool on)
{
	if (on == as->accepting)
		return;
	as->accepting = on;
	(void)watch(as, EPOLL_CTL_MOD, as->listener, on ? EPOLLIN : 0, APPS_MAX);
}

/* ---- an application ---- */

void app_end(struct daemon *d, struct app *a)
{
	if (a->guest) {
		log_line(ZV_LOG_INFO, a->guest->name, "detached");
		bells_gone(a->guest->serial);
		daemon_remove(d, a->guest);
		if (guest_stop(d, a->guest) & ZV_DEV_BLOCKED)
			app_bar_user(d->apps, a);
	}
	if (a->cfg)
		cfg_app_free(a->cfg);
	/* The socket may stay open for a while, and epoll would report it for the next application
	 * in this place. */
	(void)watch(d->apps, EPOLL_CTL_DEL, a->fd, 0, 0);
	apps_let_go(d->apps, a->fd, a->cred.uid);
	memset(a, 0, sizeof(*a));
	a->fd = -1;
	if (now_ms() >= d->apps->again_ms)
		accepting(d->apps, true);
}

/* ---- questions ---- */

/* Creates the device of @a on one end of a socket pair. Returns the other end, or -1 with the
 * answer in *m. */
static int make_device(struct daemon *d, struct app *a, struct client_msg *m)
{
	const struct cfg_space *space = &d->cfg->space;
	unsigned place = (unsigned)(a - d->apps->app);
	char name[CFG_NAME_MAX], device[CFG_PATH_MAX], why[GUEST_WHY_MAX] = "";
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		app_refuse(m, -errno, "no descriptors left: %s", strerror(errno));
		return -1;
	}
	(void)snprintf(name, sizeof(name), "app.%u", place); /* no guest has a dot in its name */
	(void)snprintf(device, sizeof(device), "fd=%d,name=%s,user=%u", pair[0], name,
		       (unsigned)a->cred.uid);
	a->cfg = cfg_app_new(d->cfg, name, device, m->queues);
	if (a->cfg) {
		client_msg_text(m, m->text); /* it goes to terminals */
		(void)snprintf(a->cfg->origin, sizeof(a->cfg->origin), "%.64s, pid %d, uid %u",
			       m->text[0] ? m->text : "without a name", (int)a->cred.pid,
			       (unsigned)a->cred.uid);
		a->cfg->has_user = true;
		a->cfg->app_uid = a->cred.uid;
		if (d->apps->in_space && cred_may_connect(space->sockets[0], a->fd, &a->cred))
			a->cfg->space = *space; /* its user could be one of the programs there */
		a->guest = guest_start(d, a->cfg, why);
	}
	(void)close(pair[0]);
	if (a->guest)
		return pair[1];
	(void)close(pair[1]);
	if (log_once(&d->apps->no_device, NULL))
		log_line(ZV_LOG_WARN, NULL, "%s: pid %d, uid %u gets no device: %s", d->apps->path,
			 (int)a->cred.pid, (unsigned)a->cred.uid, *why ? why : "no memory");
	app_refuse(m, -ENOMEM, "the device cannot be made: %s", *why ? why : "no memory");
	return -1;
}

static int on_attach(struct daemon *d, struct app *a, struct client_msg *m)
{
	int fd;

	if (a->guest) {
		app_refuse(m, -EALREADY, "attached already");
		return -1;
	}
	if (m->queues < 1 || m->queues > ZV_QUEUES_MAX) {
		app_refuse(m, -ERANGE, "%u queues; choose 1 to %u", m->queues, ZV_QUEUES_MAX);
		return -1;
	}
	fd = make_device(d, a, m);
	if (fd < 0) {
		if (a->cfg)
			cfg_app_free(a->cfg);
		a->cfg = NULL;
		return -1;
	}
	daemon_add(d, a->guest);
	m->cid = a->cfg->cid;
	log_line(ZV_LOG_INFO, a->guest->name, "%s: attached, queues: %u", a->cfg->origin,
		 m->queues);
	if (d->apps->in_space && !*a->cfg->space.dir)
		log_line(ZV_LOG_INFO, a->guest->name,
			 "uid %u may not use %s (af_vsock_mode, af_vsock_owner): it does not reach "
			 "AF_VSOCK programs",
			 (unsigned)a->cred.uid, d->cfg->space.dir);
	client_msg_text(m, a->guest->name);
	return fd;
}

/* Answers *m. False: the application must be ended. */
static bool on_question(struct daemon *d, struct app *a, struct client_msg *m)
{
	int fd = -1;
	bool ok;

	m->result = 0;
	switch (m->type) {
	case CLIENT_ATTACH:
		fd = on_attach(d, a, m);
		break;
	case CLIENT_LISTEN:
		app_listen(&d->cfg->apps, a->guest, a->fd, app_is_privileged(a), m);
		break;
	case CLIENT_UNLISTEN:
		app_unlisten(a->guest, m);
		break;
	case CLIENT_REGION:
		fd = app_region(a->guest, m);
		break;
	case CLIENT_BELLS:
	case CLIENT_BELL:
	case CLIENT_RING:
		fd = app_bells(a->guest, a->cred.uid, &a->no_bells, m);
	}
	ok = app_answer(a->fd, m, fd);
	if (!ok && errno == ETOOMANYREFS) { /* our user has too many in transit elsewhere */
		app_refuse(m, -EMFILE,
			   "too many descriptors are on their way to programs that do not read "
			   "them: raise zvsockd's limit (LimitNOFILE= or \"ulimit -Hn\")");
		ok = app_answer(a->fd, m, -1) && m->type != CLIENT_ATTACH;
	}
	if (fd >= 0 && m->type == CLIENT_ATTACH)
		apps_gave(d->apps, fd, a->cred.uid);
	else if (fd >= 0)
		(void)close(fd); /* we have others of the same file */
	return ok;
}

static void app_serve(struct daemon *d, struct app *a)
{
	struct client_msg m;
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n = apps_receive(d->apps, a->fd, &mh);
	const char *why = NULL;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		why = client_msg_refused(&m, mh.msg_flags & MSG_TRUNC ? 0 : (size_t)n);
	else if (n < 0 && errno == EPERM)
		why = "it comes with descriptors";
	if (n > 0 && !why && app_reads_nothing(a->fd))
		why = "the answers to those before were not read";
	if (why && (a->guest || log_once(&d->apps->malformed, NULL)))
		log_line(ZV_LOG_WARN, a->guest ? a->guest->name : NULL,
			 "%s: a message of pid %d, uid %u was refused: %s", d->apps->path,
			 (int)a->cred.pid, (unsigned)a->cred.uid, why);
	if (n <= 0 || why || !on_question(d, a, &m))
		app_end(d, a);
}

/* ---- the listening socket ---- */

static void pause_accepting(struct apps *as)
{
	accepting(as, false);
	as->again_ms = now_ms() + PAUSE_MS;
}

static void on_accept(struct daemon *d)
{
	struct apps *as = d->apps;
	struct app *a = NULL;
	uid_t uid;

	for (unsigned i = 0; i < APPS_MAX && !a; i++)
		if (as->app[i].fd < 0)
			a = &as->app[i];
	if (!a) {
		accepting(as, false); /* until somebody leaves */
		if (log_once(&as->full, NULL))
			log_line(ZV_LOG_WARN, NULL,
				 "%s: %u applications are attached: further ones have to wait",
				 as->path, APPS_MAX);
		return;
	}
	if (as->closers && closers_all(as->closers) >= APPS_CLOSING_MOST) {
		pause_accepting(as);
		return;
	}
	a->fd = accept4(as->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (a->fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_line(ZV_LOG_WARN, NULL, "%s: cannot take an application: %s", as->path,
				 strerror(errno));
			pause_accepting(as);
		}
		a->fd = -1;
		return;
	}
	a->since_ms = now_ms();
	if (!app_admitted(d, a) ||
	    watch(as, EPOLL_CTL_ADD, a->fd, EPOLLIN, (uint32_t)(a - as->app)) < 0) {
		uid = a->cred.uid;
		app_end(d, a);
		if (apps_closing(as, uid) >= APPS_CLOSING_FLOOD)
			pause_accepting(as);
	}
}

void apps_serve(struct daemon *d)
{
	struct epoll_event ev[EVENTS_AT_ONCE];
	int n = epoll_wait(d->apps->ep, ev, EVENTS_AT_ONCE, 0);

	for (int i = 0; i < n; i++) {
		uint32_t what = ev[i].data.u32;

		if (what == APPS_MAX)
			on_accept(d);
		else if (d->apps->app[what].fd >= 0)
			app_serve(d, &d->apps->app[what]);
	}
}

void apps_check(struct daemon *d)
{
	uint64_t now = now_ms();
	bool room = false;

	if (!d->apps)
		return;
	for (unsigned i = 0; i < APPS_MAX; i++) {
		struct app *a = &d->apps->app[i];

		if (a->fd >= 0 && !a->guest && now - a->since_ms > ATTACH_MS)
			app_end(d, a);
		room |= a->fd < 0;
	}
	if (room && now >= d->apps->again_ms)
		accepting(d->apps, true);
}

/* ---- start and end ---- */

static int open_space(const struct daemon *d, struct apps *as)
{
	struct cfg_apps c = d->cfg->apps;
	char why[GUEST_WHY_MAX] = "";
	int ret = av_space_of_apps(d->cfg, d->lcores[0], why);

	memcpy(c.path, as->path, sizeof(c.path)); /* a reload does not change it */
	app_ports_admit(&c);
	as->in_space = d->cfg->space.apps && ret == 0;
	if (ret < 0)
		log_line(ZV_LOG_ERR, NULL, "applications = %s: %s", as->path, why);
	return ret;
}

void apps_trim(struct daemon *d)
{
	const struct cfg_space *s = &d->cfg->space;

	for (unsigned i = 0; d->apps && i < APPS_MAX; i++) {
		struct app *a = &d->apps->app[i];

		if (a->cfg && *a->cfg->space.dir &&
		    (!s->apps || strcmp(a->cfg->space.dir, s->dir) != 0))
			app_end(d, a);
	}
}

void apps_extend(struct daemon *d)
{
	if (d->apps)
		(void)open_space(d, d->apps);
}

static int fail(const struct apps *as, const char *what, int err)
{
	log_line(ZV_LOG_ERR, NULL, "applications = %s: %s: %s", as->path, what, zv_strerror(err));
	return err;
}

static int listen_on(struct apps *as, const struct cfg_apps *c)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int ret;

	memcpy(sa.sun_path, as->path, sizeof(as->path));
	as->ep = epoll_create1(EPOLL_CLOEXEC);
	as->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (as->ep < 0 || as->listener < 0)
		return fail(as, "cannot make the socket", -errno);
	if (!passed_refuse(as->listener) && !(as->closers = closers_new(NULL)))
		return fail(as, "cannot make the socket", -ENOMEM);
	as->given = closers_new(NULL);
	if (!as->given)
		return fail(as, "cannot make the socket", -ENOMEM);
	if (bind(as->listener, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return fail(as, "cannot bind the socket", -errno);
	/* Before listen(), so that nobody connects while the permissions are wider than
	 * configured. */
	ret = sock_set_rights(as->path, c->mode, c->uid, c->gid);
	if (ret < 0) {
		log_line(ZV_LOG_ERR, NULL,
			 "applications = %s: cannot set the socket's mode or owner: %s", as->path,
			 sock_rights_error(ret));
		return ret;
	}
	if (listen(as->listener, BACKLOG) < 0)
		return fail(as, "cannot listen", -errno);
	as->accepting = true;
	ret = watch(as, EPOLL_CTL_ADD, as->listener, EPOLLIN, APPS_MAX);
	return ret < 0 ? fail(as, "cannot wait for applications", ret) : 0;
}

static void apps_free(struct apps *as)
{
	if (as->listener >= 0) {
		(void)unlink(as->path);
		apps_let_go(as, as->listener, CLOSERS_NOBODY); /* some may not have been accepted */
	}
	if (as->ep >= 0)
		(void)close(as->ep);
	if (as->claim >= 0)
		sock_unclaim(as->path, as->claim);
	closers_free(as->closers);
	closers_free(as->given);
	free(as);
}

/* What a device of an application takes of the process, before anybody waits for it. */
static int prepare(const struct cfg_apps *c)
{
	char why[GUEST_WHY_MAX] = "";
	struct guest g = {.why = why};
	int ret = as_host_prepare(&g);

	if (ret < 0)
		log_line(ZV_LOG_ERR, NULL, "applications = %s: %s", c->path, why);
	return ret;
}

int apps_start(struct daemon *d)
{
	struct apps *as;
	int ret;

	if (!*d->cfg->apps.path)
		return 0;
	ret = prepare(&d->cfg->apps);
	if (ret < 0)
		return ret;
	as = calloc(1, sizeof(*as));
	if (!as)
		return -ENOMEM;
	as->listener = as->ep = -1;
	for (unsigned i = 0; i < APPS_MAX; i++)
		as->app[i].fd = -1;
	memcpy(as->path, d->cfg->apps.path, sizeof(as->path));
	as->claim = sock_claim(as->path);
	if (as->claim < 0) {
		ret = as->claim;
		log_line(ZV_LOG_ERR, NULL, "applications = %s: %s", as->path, zv_error_text());
	} else {
		ret = listen_on(as, &d->cfg->apps);
	}
	if (ret < 0) {
		apps_free(as);
		return ret;
	}
	ret = open_space(d, as);
	if (ret < 0) {
		apps_free(as);
		return ret;
	}
	d->apps = as;
	return 0;
}

void apps_stop(struct daemon *d)
{
	if (!d->apps)
		return;
	for (unsigned i = 0; i < APPS_MAX; i++)
		if (d->apps->app[i].fd >= 0)
			app_end(d, &d->apps->app[i]);
	apps_free(d->apps);
	d->apps = NULL;
}
