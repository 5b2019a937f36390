/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that connect to a listening VMM (mode client), and retry while nobody listens there or
 * the backlog is full. Its directory may belong to somebody who can make the kernel wait for it:
 * by a lock, or by a file system of a program of his (FUSE). So each attempt is made by a thread of
 * its own, and nobody waits for it, not even the end of the socket.
 */
#include "vu_server_priv.h"

#include "sock_connect.h"
#include "thread_start.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct vu_dial {
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

void vu_dial(struct vu_socket *sk)
{
	size_t len = strlen(sk->c.path) + 1;
	struct vu_dial *d;

	sk->retry = vu_in(VU_RETRY_NS);
	if (sk->dial)
		return;
	d = malloc(sizeof(*d) + len);
	if (!d)
		return;
	d->sk = sk;
	memcpy(d->path, sk->c.path, len);
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->fd >= 0 && thread_start("zvsock-dial", connect_it, d) == 0)
		sk->dial = d;
	else
		dial_free(d);
}

/* A VMM that has led us elsewhere; once, not with each attempt. */
static void log_refusal(struct vu_socket *sk, int err)
{
	const char *why = sock_connect_refusal(err);

	if (why && err != sk->dial_error)
		zv_log_limited(sk->c.log, ZV_LOG_ERR, "%s: %s", sk->c.path, why);
	sk->dial_error = err;
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
		log_refusal(sk, d->err);
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
