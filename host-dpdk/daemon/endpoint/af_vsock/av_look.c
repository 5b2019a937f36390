/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looks whether a socket has a label, of which only the kernel knows. A local user can make that
 * take long (base/stock.h), for labels of his own ports, and for those of others, which are not
 * secret. So the time that looks take is limited, for each of those who cause them. When it is used
 * up, ports that this one asks for count as bound, and its connections are refused.
 */
#include "av_dgram.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- what looks may cost ---- */

/* Seeded: nobody can choose whose stock he uses up. */
static unsigned hash(const struct av_space *s, uid_t uid)
{
	return (unsigned)(((uid + 1ull) * s->seed) >> 40);
}

struct av_looker av_looker(struct av_space *s, enum av_look_why why, uid_t uid)
{
	return (struct av_looker){why, uid, &s->looks[why][hash(s, uid) % AV_LOOK_STOCKS]};
}

struct av_looker av_looker_guest(struct av_guest *g, uid_t uid)
{
	return (struct av_looker){AV_LOOK_GUEST, (uint32_t)g->cid,
				  &g->looks[hash(g->space, uid) % AV_GUEST_STOCKS]};
}

static const char *const lookers[] = {
	[AV_LOOK_SELF] = "zvsockd itself, at ports of uid",
	[AV_LOOK_LISTEN] = "applications that listen, of uid",
	[AV_LOOK_USER] = "uid",
	[AV_LOOK_INBOX] = "datagrams to uid",
	[AV_LOOK_GUEST] = "connections of CID",
};

bool av_look_may(struct av_space *s, const struct av_looker *l)
{
	char dir[sizeof(s->cfg.dir)];
	uint32_t more;
	bool may;

	pthread_mutex_lock(&s->lock);
	may = cpu_stock_may(l->stock, &socket_names_limit);
	if (!may)
		memcpy(dir, s->cfg.dir, sizeof(dir)); /* a reload writes it */
	pthread_mutex_unlock(&s->lock);
	if (may || !log_once(&s->slow_looks, &more))
		return may;
	log_line(ZV_LOG_WARN, NULL,
		 "%s: the kernel takes too long to find sockets by their names, probably because "
		 "some user has very many whose names have the same hash: looking for fewer (for "
		 "%s %u); connections may be refused, datagrams lost, and ports seem bound",
		 dir, lookers[l->why], l->number);
	return false;
}

void av_look_took(struct av_space *s, const struct av_looker *l, uint64_t ns)
{
	uint64_t beyond = cpu_limit_beyond(&socket_names_limit, ns);

	if (!beyond)
		return;
	pthread_mutex_lock(&s->lock);
	cpu_stock_charge(l->stock, &socket_names_limit, beyond);
	pthread_mutex_unlock(&s->lock);
}

/* ---- labels ---- */

/* True: some socket of that type has this label. */
static bool label_exists(const char *text, int sock_type)
{
	struct sockaddr_un sa;
	socklen_t len = av_address(&sa, text);
	int fd = socket(AF_UNIX, sock_type | SOCK_CLOEXEC, 0);
	bool bound = fd < 0 || bind(fd, (struct sockaddr *)&sa, len) < 0;

	if (fd >= 0)
		(void)close(fd);
	return bound;
}

int av_look(struct av_space *s, const struct av_looker *l, const char *text, int sock_type)
{
	uint64_t start;
	bool exists;

	if (!av_look_may(s, l))
		return -EBUSY;
	start = cpu_ns();
	exists = label_exists(text, sock_type);
	av_look_took(s, l, cpu_ns() - start);
	return exists ? 0 : -ENOENT;
}

int av_has_label(struct av_space *s, const struct av_looker *l, struct av_port *p)
{
	int ret;

	if (p->inbox) {
		ret = av_inbox_hold(p->inbox);
		return ret == -ECONNREFUSED ? -ENOENT : ret == -EBUSY ? ret : 0;
	}
	ret = av_look(s, l, p->text, p->label.sock_type);
	if (ret == 0)
		__atomic_store_n(&p->seen, true, __ATOMIC_RELAXED);
	return ret;
}

/* ---- for applications, on any thread ---- */

/* The port for applications, under the lock: the address at which they listen. */
static struct av_port *apps_port(const struct av_space *s, int sock_type, uint32_t port)
{
	if (s->cfg.apps) /* at whichever CID of this machine */
		return av_port_at(s, sock_type, UINT32_MAX, port);
	return s->guests ? av_port_at(s, sock_type, ZV_CID_HOST, port) : NULL;
}

/* Under the lock: it was assigned to a program that has not bound its socket yet, as far as we have
 * seen. */
static bool is_assigned(const struct av_port *p)
{
	return p->asker && !av_ask_has_gone(p->asker) &&
	       !__atomic_load_n(&p->seen, __ATOMIC_RELAXED) && now_ns() - p->since_ns < AV_NEW_NS;
}

/* A socket has the label @text of the port. */
static void note_seen(struct av_space *s, int sock_type, uint32_t port, const char *text)
{
	struct av_port *p;

	pthread_mutex_lock(&s->lock);
	p = apps_port(s, sock_type, port);
	if (p && strcmp(p->text, text) == 0)
		__atomic_store_n(&p->seen, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&s->lock);
}

bool av_port_bound(struct av_space *s, uint32_t port, bool dgram, uid_t uid)
{
	const int sock_type = dgram ? SOCK_DGRAM : SOCK_STREAM;
	char text[DROPIN_LABEL];
	const struct av_looker l = av_looker(s, AV_LOOK_LISTEN, uid);
	const struct av_port *p;
	bool assigned = false;
	int type = 0, ret;

	pthread_mutex_lock(&s->lock);
	p = apps_port(s, sock_type, port);
	if (p) {
		memcpy(text, p->text, sizeof(text));
		type = p->label.sock_type;
		assigned = is_assigned(p);
	}
	pthread_mutex_unlock(&s->lock);
	if (!p)
		return false;
	ret = av_look(s, &l, text, type);
	if (ret == -ENOENT)
		return assigned;
	if (ret == 0)
		note_seen(s, sock_type, port, text);
	return true;
}
