/* SPDX-License-Identifier: BSD-3-Clause */
/* Drop-in directories: their sockets, and the guests in them; theory in av.h. */
#include "av_dgram.h"
#include "endpoint_af_vsock.h"

#include "core/closers.h"
#include "core/fds.h"
#include "passed.h"
#include "sock_claim.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	     1024
#define ACCEPT_PAUSE (100u * (uint64_t)1000000)

static const int socket_types[AV_SOCKETS] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_SEQPACKET,
					     SOCK_DGRAM};

static struct av_space *spaces; /* the main thread's */

/* ---- state of a space that home owns ---- */

uint64_t av_random(struct av_space *s)
{
	if (!s->n_random) {
		/* For up to 256 bytes getrandom() neither fails nor is interrupted, once the
		 * kernel's generator is initialized. */
		for (size_t i = 0; i < sizeof(s->random) / 256; i++)
			while (getrandom(s->random + i * 32, 256, 0) != 256)
				;
		s->n_random = sizeof(s->random) / sizeof(s->random[0]);
	}
	return s->random[--s->n_random];
}

static int by_uid(const void *a, const void *b)
{
	uid_t x = ((const struct av_user *)a)->uid, y = ((const struct av_user *)b)->uid;

	return x < y ? -1 : x > y;
}

struct av_user *av_user(struct av_space *s, uid_t uid)
{
	struct av_user *u = calloc(1, sizeof(*u)), *const * found;

	if (!u)
		return NULL;
	u->uid = uid;
	TAILQ_INIT(&u->programs);
	TAILQ_INIT(&u->bound);
	TAILQ_INIT(&u->turn);
	av_mover_init(&u->mover);
	found = tsearch(u, &s->users, by_uid);
	if (!found || *found != u)
		free(u);
	return found ? *found : NULL;
}

void av_user_put(struct av_space *s, struct av_user *u)
{
	if (u->asks || u->calls || u->failed || u->ports || u->refs)
		return;
	(void)tdelete(u, &s->users, by_uid);
	free(u);
}

bool av_user_may(const struct av_user *u, unsigned n, unsigned all, unsigned most)
{
	return all < most && (u->uid == 0 || n < most / 4);
}

/* ---- guests ---- */

static int by_cid(const void *a, const void *b)
{
	uint64_t x = ((const struct av_guest *)a)->cid, y = ((const struct av_guest *)b)->cid;

	return x < y ? -1 : x > y;
}

uint32_t av_local_cid(const struct av_space *s)
{
	uint64_t cid = s->devices && !s->devices->gone ? guest_cid(s->devices->guest) : 0;

	if (cid)
		return (uint32_t)cid;
	/* Without a device there is no CID; the kernel's vsock behaves the same when its only
	 * transport has none. */
	return s->of_device && !s->guests ? UINT32_MAX : (uint32_t)ZV_CID_HOST;
}

struct av_guest *av_guest_find(struct av_space *s, uint32_t cid)
{
	const struct av_guest key = {.cid = cid};
	struct av_guest *const *found = tfind(&key, &s->guests, by_cid);
	struct av_guest *a = found ? *found : s->devices;

	while (!found && a && a->gone)
		a = a->more;
	return a && !a->gone ? a : NULL;
}

static void space_begin(struct lcore *lc, void *arg);

static void begin(struct av_space *s)
{
	if (!s->begun)
		lcore_call(s->home, space_begin, s);
	s->begun = true;
}

static int af_vsock_start(struct guest *g)
{
	const struct cfg_guest *cfg = guest_cfg(g);
	struct av_guest *a;
	bool whole = true;

	if (!*cfg->space.dir)
		return 0;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->space = av_space_get(g, &cfg->space, g->queues[0].lc);
	if (!a->space || (a->space->closers && guest_expects_passed(g) < 0)) {
		free(a);
		return -ENOMEM;
	}
	a->guest = g;
	a->cid = cfg->cid;
	a->device = !cfg->cid;
	a->app = cfg_roles[cfg->role].attached;
	av_mail_from(a);
	pthread_mutex_lock(&a->space->lock);
	if (a->device) {
		a->more = a->space->devices;
		a->space->devices = a;
		a->space->of_device = true;
	} else if (!a->app) {
		whole = tsearch(a, &a->space->guests, by_cid);
	}
	pthread_mutex_unlock(&a->space->lock);
	if (!whole) {
		free(a);
		return -ENOMEM;
	}
	g->part[ENDPOINT_af_vsock] = a;
	begin(a->space); /* not earlier: so the guest is found by the first request as well */
	return 0;
}

int av_space_of_apps(const struct cfg *c, struct lcore *lc, char *why)
{
	struct guest g = {.why = why};
	struct av_space *s;

	if (!c->space.apps)
		return 0;
	s = av_space_get(&g, &c->space, lc);
	if (!s) {
		guest_fails(&g, "af_vsock: %s", zv_strerror(-ENOMEM));
		return -ENOMEM;
	}
	begin(s);
	return 0;
}

static void af_vsock_stop(struct guest *g)
{
	struct av_guest *a = av_guest(g);

	if (!a)
		return;
	pthread_mutex_lock(&a->space->lock);
	a->gone = true;
	pthread_mutex_unlock(&a->space->lock);
}

static void af_vsock_free(struct guest *g)
{
	struct av_guest *a = av_guest(g), **at;

	if (!a)
		return;
	dgram_in_transit_end(&a->to.all);
	dgram_in_transit_end(&a->from);
	pthread_mutex_lock(&a->space->lock);
	for (at = &a->space->devices; *at && *at != a; at = &(*at)->more)
		;
	if (*at)
		*at = a->more;
	else if (!a->app)
		(void)tdelete(a, &a->space->guests, by_cid);
	pthread_mutex_unlock(&a->space->lock);
	free(a);
	g->part[ENDPOINT_af_vsock] = NULL;
}

/* ---- the listening sockets ---- */

static const char *path_of(const struct av_listener *l)
{
	return l->space->cfg.sockets[l->what];
}

static void accept_more(struct lcore_timer *t)
{
	struct av_listener *l =
		(struct av_listener *)(void *)((char *)t - offsetof(struct av_listener, pause));

	if (!l->accept.pending && !av_is_flooded(l->space))
		io_accept(lcore_io(l->space->home), &l->accept, l->fd);
	else
		lcore_timer_start(l->space->home, t, ACCEPT_PAUSE);
}

static void accept_pause(struct av_listener *l, const char *why)
{
	uint32_t more;

	if (log_once(&l->space->refused, &more))
		log_line(ZV_LOG_WARN, NULL, "%s: cannot accept: %s; programs have to wait",
			 path_of(l), why);
	io_cancel(lcore_io(l->space->home), &l->accept);
	lcore_timer_start(l->space->home, &l->pause, ACCEPT_PAUSE);
}

static void accepted(struct io_op *op, int res, uint32_t flags)
{
	struct av_listener *l = (struct av_listener *)(void *)op; /* first */
	struct av_space *s = l->space;

	(void)flags;
	if (res >= 0) {
		const uid_t uid =
			s->closers ? av_peer_of(res) : 0; /* before another thread closes it */
		bool room = fds_get(), floods = s->closers && av_is_flooding(s, uid);

		if (!room)
			fds_take(1); /* counted until it is closed */
		if (s->ending)
			av_discard(s, res, l->what == AV_STREAM, uid);
		else if (l->what == AV_ASK)
			av_ask_begin(s, res, room);
		else
			av_socket_arrived(s, res, l->what);
		if (!s->ending && (floods || av_is_flooded(s)))
			accept_pause(l, "too many descriptors wait to be closed that programs "
					"have sent and that take long to close");
	} else if (res != -ECONNABORTED && res != -EINTR && res != -ECANCELED) {
		accept_pause(l, zv_strerror(res));
	}
	if (!op->pending && !s->ending && !l->pause.running)
		io_accept(lcore_io(s->home), op, l->fd);
}

static int failed(struct guest *g, const struct av_listener *l, const char *what, int err,
		  const char *why)
{
	guest_fails(g, "af_vsock: %s: %s: %s", path_of(l), what, why);
	return err;
}

static int open_failed(struct guest *g, const struct av_listener *l, const char *what, int err)
{
	return failed(g, l, what, err, zv_strerror(err));
}

static int set_rights(const struct cfg_space *c, enum av_socket what)
{
	return sock_set_rights(c->sockets[what], c->mode, c->uid, c->gid);
}

static int listener_open(struct guest *g, struct av_space *s, enum av_socket what)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct av_listener *l = &s->listener[what];
	const int on = 1;
	int ret;

	memcpy(sa.sun_path, path_of(l), sizeof(sa.sun_path));
	l->claim = sock_claim(path_of(l));
	if (l->claim < 0) {
		guest_fails(g, "af_vsock: %s", zv_error_text());
		return l->claim;
	}
	l->fd = socket(AF_UNIX, socket_types[what] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return open_failed(g, l, "cannot make a socket", -errno);
	if (!passed_refuse(l->fd) && !av_expect_passed(s))
		return open_failed(g, l, "cannot make a socket", -ENOMEM);
	if (what == AV_DGRAM && setsockopt(l->fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return open_failed(g, l, "cannot learn who sends", -errno);
	if (bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return open_failed(g, l, "cannot bind the socket", -errno);
	/* Before listen(), so that nobody connects while the permissions are wider than
	 * configured. */
	ret = set_rights(&s->cfg, what);
	if (ret < 0)
		return failed(g, l, "cannot set the socket's mode or owner", ret,
			      sock_rights_error(ret));
	if (what == AV_DGRAM)
		return 0;
	return listen(l->fd, BACKLOG) < 0 ? open_failed(g, l, "cannot listen", -errno) : 0;
}

static void listener_close(struct av_space *s, struct av_listener *l)
{
	if (l->fd >= 0) {
		(void)unlink(path_of(l));
		if (s->closers) { /* connections that wait in it may contain descriptors */
			fds_take(1);
			closers_put(s->closers, CLOSERS_NOBODY, &l->fd, 1);
		} else {
			(void)close(l->fd);
		}
	}
	if (l->claim >= 0)
		sock_unclaim(path_of(l), l->claim);
}

/* ---- the beginning and the end ---- */

static void space_begin(struct lcore *lc, void *arg)
{
	struct av_space *s = arg;

	for (unsigned i = 0; i < AV_LISTENING; i++) {
		s->listener[i].accept.done = accepted;
		s->listener[i].pause.expired = accept_more;
		io_accept(lcore_io(lc), &s->listener[i].accept, s->listener[i].fd);
	}
	av_mail_begin(s);
}

static void space_end(struct lcore *lc, void *arg)
{
	struct av_space *s = arg;
	struct av_ask *a;

	s->ending = true;
	for (unsigned i = 0; i < AV_LISTENING; i++) {
		lcore_timer_stop(lc, &s->listener[i].pause);
		lcore_cancel(lc, &s->listener[i].accept);
	}
	TAILQ_FOREACH(a, &s->asks, link)
		av_ask_end(a);
	lcore_drain(lc, &s->n_ended);
	lcore_defer_cancel(lc, &s->serve);
	av_calls_end(s);
	av_ports_end(s);
	av_mail_end(s);
}

static void space_free(struct av_space *s)
{
	for (unsigned i = 0; i < AV_SOCKETS; i++)
		listener_close(s, &s->listener[i]);
	av_ports_close(s);
	av_mail_free(s->mail);
	closers_free(s->closers);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct av_space *av_space_get(struct guest *g, const struct cfg_space *c, struct lcore *lc)
{
	struct av_space *s = spaces;
	int ret = 0;

	while (s && strcmp(s->cfg.dir, c->dir) != 0)
		s = s->next;
	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->cfg = *c;
	s->home = lc;
	s->ports_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	TAILQ_INIT(&s->asks);
	TAILQ_INIT(&s->failed);
	TAILQ_INIT(&s->checked);
	s->seed = av_random(s) | 1;
	av_turn_init(s);
	for (unsigned i = 0; i < AV_SOCKETS; i++)
		s->listener[i] = (struct av_listener){.space = s, .what = i, .fd = -1, .claim = -1};
	s->mail = av_mail_new(s);
	if (!s->mail)
		ret = -ENOMEM;
	for (unsigned i = 0; i < AV_SOCKETS && ret == 0; i++)
		ret = listener_open(g, s, i);
	if (ret < 0) {
		space_free(s);
		return NULL;
	}
	av_ports_load(s);
	s->next = spaces;
	spaces = s;
	return s;
}

struct change {
	struct av_space *space;
	const struct cfg_space *to;
};

static void space_change(struct lcore *lc, void *arg)
{
	const struct change *c = arg;

	(void)lc;
	pthread_mutex_lock(&c->space->lock);
	c->space->cfg = *c->to;
	pthread_mutex_unlock(&c->space->lock);
}

/* The configuration of the directory in @c; NULL: it is no longer configured. */
static const struct cfg_space *configured(const struct cfg *c, const struct av_space *s)
{
	if (c->space.apps && strcmp(c->space.dir, s->cfg.dir) == 0)
		return &c->space;
	for (unsigned i = 0; i < c->n_guests; i++)
		if (strcmp(c->guests[i].space.dir, s->cfg.dir) == 0)
			return &c->guests[i].space;
	return NULL;
}

void av_spaces_reload(const struct cfg *c)
{
	struct av_space **at = &spaces, *s;

	while ((s = *at)) {
		struct change change = {s, configured(c, s)};

		if (!change.to) {
			*at = s->next;
			lcore_call(s->home, space_end, s);
			space_free(s);
			continue;
		}
		at = &s->next;
		for (unsigned i = 0; i < AV_SOCKETS; i++) {
			int ret = set_rights(change.to, i);

			if (ret < 0)
				log_line(ZV_LOG_WARN, NULL,
					 "%s: cannot set the socket's mode or owner: %s",
					 change.to->sockets[i], sock_rights_error(ret));
		}
		lcore_call(s->home, space_change, &change);
	}
}

const char *av_spaces_port(uint32_t port, bool dgram, uid_t uid)
{
	for (struct av_space *s = spaces; s; s = s->next)
		if (av_port_bound(s, port, dgram, uid))
			return s->cfg.dir;
	return NULL;
}

void av_spaces_end(void)
{
	struct av_space *s;

	while ((s = spaces)) {
		spaces = s->next;
		lcore_call(s->home, space_end, s);
		space_free(s);
	}
}

/* ---- the endpoint ---- */

static void af_vsock_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			      size_t len)
{
	(void)info;
	(void)snprintf(buf, len, "af_vsock:%s", guest_cfg(g)->space.dir);
}

static bool af_vsock_has_datagrams(const struct cfg_guest *c)
{
	return *c->space.dir;
}

const struct endpoint_ops endpoint_af_vsock = {
	.name = "af_vsock",
	.kind = CONN_KIND(endpoint_af_vsock.kind, af_vsock_describe),
	.start = af_vsock_start,
	.stop = af_vsock_stop,
	.free = af_vsock_free,
	.serve = av_serve,
	.has_datagrams = af_vsock_has_datagrams,
	.datagram = av_datagram,
};
