/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that connect to a listening VMM (mode client), and retry while nobody listens there or
 * the backlog is full. Its directory may belong to somebody who can make the kernel wait for it:
 * by a lock, or by a file system of a program of his (FUSE). So each attempt is made by a thread of
 * its own, and nobody waits for it, not even the end of the socket.
 *
 * Who waits for a VMM that never comes has to learn why. So it is logged, once until it changes,
 * that an attempt does not end, or fails for another reason than that nobody listens there, or that
 * whoever accepts does not speak vhost-user.
 */
#include "vu_server_priv.h"

#include "sock_connect.h"
#include "thread_start.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Values of dial_told beside -errno. */
enum { NOTHING, UNENDED, SILENT, HUNG_UP };

struct vu_dial {
	uint64_t begun_ns;
	struct vu_socket *sk; /* NULL: it has ended; under the lock */
	int fd, err;
	STAILQ_ENTRY(vu_dial) next; /* in `over` */
	char path[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static STAILQ_HEAD(, vu_dial) over = STAILQ_HEAD_INITIALIZER(over); /* under the lock */

static void dial_free(struct vu_dial *d)
{
	if (d->fd >= 0)
		(void)close(d->fd);
	free(d);
}

static void *connect_it(void *arg)
{
	struct vu_dial *d = arg;
	bool wanted;

	d->err = sock_connect(d->fd, d->path);
	pthread_mutex_lock(&lock);
	wanted = d->sk;
	if (wanted) {
		STAILQ_INSERT_TAIL(&over, d, next);
		vu_wake(); /* while the socket has not ended, there is a control thread */
	}
	pthread_mutex_unlock(&lock);
	if (!wanted)
		dial_free(d);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const char *text_of(int what)
{
	const char *why = sock_connect_refusal(what);

	switch (what) {
	case UNENDED:
		return "the attempt to connect to the VMM does not end: somebody keeps its "
		       "directory locked, or a file system there does not answer";
	case SILENT:
		return "whoever listens there does not speak vhost-user: is that another program's "
		       "socket, or has the VMM another backend already?";
	case HUNG_UP:
		return "whoever listens there hangs up without a word of vhost-user: is that "
		       "another program's socket?";
	default:
		return why ? why : zv_strerror(what);
	}
}

/* Once, not with each attempt. */
static void tell(struct vu_socket *sk, int what)
{
	if (what != NOTHING && what != sk->dial_told)
		zv_log_limited(sk->c.log, what < 0 ? ZV_LOG_ERR : ZV_LOG_WARN, "%s: %s", sk->c.path,
			       text_of(what));
	sk->dial_told = what;
}

bool vu_dial_silent(struct vu_conn *c)
{
	if (!c->sk->c.client || c->sk->front == c || vu_reader_midway(&c->in))
		return false;
	c->deadline = UINT64_MAX;
	tell(c->sk, SILENT);
	return true;
}

void vu_dial_hung_up(const struct vu_conn *c)
{
	if (c->sk->c.client && c->sk->front != c)
		tell(c->sk, HUNG_UP);
}

void vu_dial_heard(struct vu_socket *sk)
{
	tell(sk, NOTHING);
}

void vu_dial(struct vu_socket *sk)
{
	size_t len = strlen(sk->c.path) + 1;
	struct vu_dial *d;

	sk->retry = vu_in(VU_RETRY_NS);
	if (sk->dial) {
		if (now_ns() - sk->dial->begun_ns > sk->c.stall_ns)
			tell(sk, UNENDED);
		return;
	}
	d = malloc(sizeof(*d) + len);
	if (!d)
		return;
	d->sk = sk;
	d->begun_ns = now_ns();
	memcpy(d->path, sk->c.path, len);
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd >= 0 && thread_start("zvsock-dial", connect_it, d) == 0)
		sk->dial = d;
	else
		dial_free(d);
}

/* There is no VMM yet, or its backlog is full. */
static bool is_usual(int err)
{
	return err == -ENOENT || err == -ECONNREFUSED || err == -EAGAIN;
}

void vu_dial_results(void)
{
	struct vu_socket *sk;
	struct vu_dial *d;

	for (;;) {
		pthread_mutex_lock(&lock);
		d = STAILQ_FIRST(&over);
		if (d)
			STAILQ_REMOVE_HEAD(&over, next);
		pthread_mutex_unlock(&lock);
		if (!d)
			return;
		sk = d->sk;
		sk->dial = NULL;
		if (d->err)
			tell(sk, is_usual(d->err) ? NOTHING : d->err);
		if (d->err == 0) {
			sk->retry = UINT64_MAX;
			vu_conn_new(sk, d->fd);
			d->fd = -1;
			if (!sk->nconns)
				sk->retry = vu_in(VU_RETRY_NS);
		}
		dial_free(d);
	}
}

void vu_dial_stop(struct vu_socket *sk)
{
	struct vu_dial *d = sk->dial, *e;
	bool made = false;

	sk->dial = NULL;
	if (!d)
		return;
	pthread_mutex_lock(&lock);
	STAILQ_FOREACH(e, &over, next)
		made |= e == d;
	if (made)
		STAILQ_REMOVE(&over, d, vu_dial, next);
	d->sk = NULL;
	pthread_mutex_unlock(&lock);
	if (made && d->err == 0) { /* something may have been sent already */
		vu_server_drop(sk, d->fd);
		d->fd = -1;
	}
	if (made)
		dial_free(d);
}
