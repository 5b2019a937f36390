/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Non-blocking connections that have failed wait until their programs ask for the error. However
 * many of one user do, that of another is still told. And those whose programs have closed their
 * sockets meanwhile.
 */
#include "endpoint/af_vsock/av.h"
#include "lcore_works.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define FLOOD 5000u

static struct av_space space;
static unsigned timers; /* that run */
static struct av_ask asks[2];
static char label[DROPIN_LABEL]; /* of the call that was answered last */

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns);
void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t);
void __wrap_av_ask_decided(struct av_ask *a, struct dropin_msg *m);
void __wrap_io_close_fd(struct io *io, int fd);

void __wrap_io_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

void __wrap_lcore_timer_start(struct lcore *lc, struct lcore_timer *t, uint64_t ns)
{
	(void)lc;
	(void)ns;
	timers += !t->running;
	t->running = true;
}

void __wrap_lcore_timer_stop(struct lcore *lc, struct lcore_timer *t)
{
	(void)lc;
	timers -= t->running;
	t->running = false;
}

void __wrap_av_ask_decided(struct av_ask *a, struct dropin_msg *m)
{
	(void)a;
	assert_int_equal(m->result, 0);
	memcpy(label, m->label, sizeof(label));
}

/* A connection of @a that is refused. */
static void fails(struct av_ask *a)
{
	struct av_call *c;
	struct dropin_msg m;

	dropin_msg_init(&m, DROPIN_CONNECT);
	m.sock_type = SOCK_STREAM;
	m.flags = DROPIN_NONBLOCK;
	m.remote = (struct dropin_addr){3, 80};
	c = av_call_new(a, &m, NULL);
	assert_non_null(c);
	c->local_cid = ZV_CID_HOST;
	av_call_started(c, 0, 1024);
	av_call_decided(c, -ECONNRESET);
}

/* What ERROR says of it. */
static int error_of(struct av_ask *a, const char text[DROPIN_LABEL])
{
	struct dropin_msg m;

	dropin_msg_init(&m, DROPIN_ERROR);
	memcpy(m.label, text, sizeof(m.label));
	av_error(a, &m);
	assert_int_equal(m.result, 0);
	return (int)m.error;
}

static void one_that_has_failed_is_told_beside_many(void **state)
{
	char own[DROPIN_LABEL], first[DROPIN_LABEL];

	(void)state;
	fails(&asks[0]);
	memcpy(own, label, sizeof(own));
	fails(&asks[1]);
	memcpy(first, label, sizeof(first));
	for (unsigned i = 0; i < FLOOD; i++)
		fails(&asks[1]);
	assert_int_equal(error_of(&asks[0], own), ECONNRESET);
	assert_int_equal(error_of(&asks[1], own), 0); /* not of this user */
	assert_int_equal(error_of(&asks[1], label), ECONNRESET);
	assert_int_equal(error_of(&asks[1], first), 0); /* it made room */
	assert_int_equal(space.n_failed, timers);
	assert_in_range(space.n_failed, 2, FLOOD - 1);
	av_calls_end(&space);
	assert_int_equal(timers, 0);
	assert_int_equal(space.n_failed, 0);
}

/* As many as its user may have are on their way, and the program of one has closed its socket. */
static void one_whose_socket_is_closed_makes_room(void **state)
{
	const unsigned others = AV_CALLS_MAX / 4 - 2; /* of the same user */
	struct av_call *c[2];
	struct dropin_msg m, more;
	int pair[2][2];

	(void)state;
	dropin_msg_init(&m, DROPIN_CONNECT);
	m.sock_type = SOCK_STREAM;
	m.flags = DROPIN_NONBLOCK;
	m.remote = (struct dropin_addr){3, 80};
	m.local.port = ZV_PORT_ANY;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair[i]), 0);
		c[i] = av_call_new(&asks[0], &m, NULL);
		assert_non_null(c[i]);
		av_call_started(c[i], 0, 1024 + i);
		c[i]->fd = pair[i][1];
	}
	asks[0].user->calls += others;
	more = m;
	assert_true(av_connect(&asks[0], &more));
	assert_int_equal(more.result, -ENOBUFS);
	lcore_works_round();
	close(pair[0][0]);
	more = m;
	assert_true(av_connect(&asks[0], &more));
	assert_int_equal(more.result, -ENODEV); /* there is no guest here at all */
	asks[0].user->calls -= others;
	assert_int_equal(asks[0].user->calls, 1);
	assert_int_equal(space.n_calls, 1);
	av_calls_end(&space);
	close(pair[1][0]);
}

int main(void)
{
	static struct av_user users[2] = {{.uid = 1000}, {.uid = 1001}};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_that_has_failed_is_told_beside_many),
		cmocka_unit_test(one_whose_socket_is_closed_makes_room),
	};

	pthread_mutex_init(&space.lock, NULL);
	TAILQ_INIT(&space.failed);
	for (unsigned i = 0; i < 2; i++) {
		users[i].refs = 1; /* so that it stays */
		TAILQ_INIT(&users[i].programs);
		asks[i] = (struct av_ask){
			.space = &space, .user = &users[i], .cred = {.uid = users[i].uid}};
	}
	return cmocka_run_group_tests_name("av_failed", tests, NULL, NULL);
}
