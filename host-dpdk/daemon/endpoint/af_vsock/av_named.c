/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections by their label, and SHUTDOWN: a program reports that it receives no more. The kernel
 * shows this to the other end of an AF_UNIX connection only as a failed write, so the program must
 * report when zvsockd should check. The sender needs no permission: SHUTDOWN only makes zvsockd
 * check its own socket, and only the result of that check counts.
 *
 * The table belongs to the process, not to a space, because connections may outlive their space for
 * a moment. The lock of a bucket protects the list; the rest of an entry belongs to [G].
 */
#include "av.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 256u

struct av_named {
	LIST_ENTRY(av_named) link;    /* under the lock */
	uint64_t token[2];	      /* of the label */
	const struct av_space *space; /* only compared */
	struct lcore *lc;
	unsigned refs;	 /* atomic: one of the owner, who removes it; one of each message */
	struct relay *r; /* [G] NULL: not started yet, or ended */
	bool look;	 /* [G] check when it starts: reading may have been shut down already */
};

LIST_HEAD(av_named_list, av_named);

static struct {
	pthread_mutex_t lock;
	struct av_named_list list;
} table[BUCKETS];

static void table_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		pthread_mutex_init(&table[i].lock, NULL);
}

static unsigned bucket(const uint64_t token[2])
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, table_init);
	return token[0] % BUCKETS;
}

struct av_named *av_named_new(const struct av_space *s, const struct dropin_label *l,
			      struct lcore *lc)
{
	struct av_named *n = calloc(1, sizeof(*n));
	unsigned i = bucket(l->token);

	if (!n)
		return NULL;
	memcpy(n->token, l->token, sizeof(n->token));
	n->space = s;
	n->lc = lc;
	n->refs = 1;
	pthread_mutex_lock(&table[i].lock);
	LIST_INSERT_HEAD(&table[i].list, n, link);
	pthread_mutex_unlock(&table[i].lock);
	return n;
}

static void put(struct av_named *n)
{
	if (__atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(n);
}

void av_named_end(struct av_named *n)
{
	unsigned i;

	if (!n)
		return;
	i = bucket(n->token);
	pthread_mutex_lock(&table[i].lock);
	LIST_REMOVE(n, link);
	pthread_mutex_unlock(&table[i].lock);
	put(n);
}

static struct av_named *find(const struct av_space *s, const struct dropin_label *l)
{
	unsigned i = bucket(l->token);
	struct av_named *n;

	pthread_mutex_lock(&table[i].lock);
	for (n = LIST_FIRST(&table[i].list); n; n = LIST_NEXT(n, link)) {
		if (n->space == s && memcmp(n->token, l->token, sizeof(n->token)) == 0) {
			__atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
			break;
		}
	}
	pthread_mutex_unlock(&table[i].lock);
	return n;
}

static void relay_ended(struct relay *r, bool whole)
{
	struct av_named *n = r->of_owner;

	(void)whole;
	n->r = NULL;
	av_named_end(n);
}

void av_named_give(struct av_named *n, struct relay *r)
{
	r->of_owner = n;
	r->ended = relay_ended;
}

void av_named_started(struct relay *r)
{
	struct av_named *n = r->of_owner;

	n->r = r;
	if (n->look)
		relay_check_shut_rd(r);
}

static void look(struct av_named *n)
{
	n->look = true;
	if (n->r)
		relay_check_shut_rd(n->r);
}

/* ---- SHUTDOWN ---- */

/* A SHUTDOWN message on its way to the lcore of the connection, [G], and back. */
struct shutdown_msg {
	unsigned refs;	    /* atomic: one of the message, one of the program that waits */
	struct av_ask *ask; /* [H] NULL: the program no longer waits */
	struct lcore *home;
	struct av_named *named;
};

static void shutdown_msg_put(struct shutdown_msg *s)
{
	if (__atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(s);
}

static void shutdown_msg_back(struct lcore *lc, void *arg)
{
	struct shutdown_msg *s = arg;
	struct av_ask *a = s->ask;
	struct dropin_msg m;

	(void)lc;
	if (a) {
		a->shutdown = NULL;
		(void)__atomic_sub_fetch(&s->refs, 1, __ATOMIC_RELAXED); /* leaves the message's */
		dropin_msg_init(&m, DROPIN_SHUTDOWN);
		av_ask_decided(a, &m);
	}
	shutdown_msg_put(s);
}

static void shutdown_msg_arrived(struct lcore *lc, void *arg)
{
	struct shutdown_msg *s = arg;

	(void)lc;
	look(s->named);
	put(s->named);
	if (lcore_post(s->home, shutdown_msg_back, s) <
	    0) /* no memory: the program has a timeout */
		shutdown_msg_put(s);
}

void av_shutdown_forget(struct av_ask *a)
{
	if (!a->shutdown)
		return;
	a->shutdown->ask = NULL;
	shutdown_msg_put(a->shutdown);
	a->shutdown = NULL;
}

bool av_shutdown(struct av_ask *a, struct dropin_msg *m)
{
	struct lcore *home = a->space->home;
	struct dropin_label l;
	struct av_named *n = NULL;
	struct shutdown_msg *s;

	if (dropin_label_read(&l, m->label, strlen(m->label)))
		n = find(a->space, &l);
	if (!n) {
		av_refuse(m, -ENOENT, "there is no connection of that label");
		return true;
	}
	if (n->lc == home) {
		look(n);
		put(n);
		return true;
	}
	s = calloc(1, sizeof(*s));
	if (s) {
		*s = (struct shutdown_msg){.refs = 2, .ask = a, .home = home, .named = n};
		if (lcore_post(n->lc, shutdown_msg_arrived, s) == 0) {
			a->shutdown = s;
			return false;
		}
	}
	free(s);
	put(n);
	av_refuse(m, -ENOMEM, "zvsockd has no memory left");
	return true;
}
