/* SPDX-License-Identifier: BSD-3-Clause */
#include "slow_fd.h"

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LINGER_S    3600
#define PATIENCE_NS 200000000 /* a close that takes longer is the last one */

int slow_fd(int *end)
{
	struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
	static const char block[65536];
	socklen_t len = sizeof(sa);
	int l = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), few = 4096;

	setsockopt(l, SOL_SOCKET, SO_RCVBUF, &few, sizeof(few));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &few, sizeof(few));
	assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
	*end = accept(l, NULL, NULL);
	assert_true(*end >= 0);
	close(l);
	while (send(fd, block, sizeof(block), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

struct closing {
	int fd;
	bool left; /* by one of the two threads: the other one frees it */
	sem_t done;
};

static void leave(struct closing *c)
{
	if (!__atomic_exchange_n(&c->left, true, __ATOMIC_ACQ_REL))
		return;
	(void)sem_destroy(&c->done);
	free(c);
}

static void *close_it(void *arg)
{
	struct closing *c = arg;

	(void)close(c->fd);
	(void)sem_post(&c->done);
	leave(c);
	return NULL;
}

void slow_close(int fd)
{
	struct closing *c = calloc(1, sizeof(*c));
	struct timespec until;
	pthread_t t;

	assert_non_null(c);
	c->fd = fd;
	assert_int_equal(sem_init(&c->done, 0, 0), 0);
	assert_int_equal(pthread_create(&t, NULL, close_it, c), 0);
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PATIENCE_NS;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	if (sem_timedwait(&c->done, &until) == 0)
		(void)pthread_join(t, NULL);
	else
		(void)pthread_detach(t);
	leave(c);
}
