/* SPDX-License-Identifier: BSD-3-Clause */
/* A port whose program has ended is free for applications, though nobody has read of the end yet:
 * the lcore that would do so is played here, and has no time. */
#include "core/fds.h"
#include "endpoint/af_vsock/av_dgram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "lcore_works.h"

#define PORT 5000u

static struct av_space space;

void __wrap_io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events);
void __wrap_io_close_fd(struct io *io, int fd);

void __wrap_io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events)
{
	(void)io;
	(void)op;
	(void)fd;
	(void)events;
}

void __wrap_io_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

static int up(void **state)
{
	(void)state;
	memset(&space, 0, sizeof(space));
	space.ports_fd = space.listener[AV_DGRAM].fd = -1;
	space.seed = 1;
	space.cfg.apps = true;
	pthread_mutex_init(&space.lock, NULL);
	TAILQ_INIT(&space.asks);
	TAILQ_INIT(&space.failed);
	TAILQ_INIT(&space.checked);
	av_turn_init(&space);
	space.mail = av_mail_new(&space);
	return space.mail ? 0 : -1;
}

static int down(void **state)
{
	struct av_ask *a;

	(void)state;
	TAILQ_FOREACH(a, &space.asks, link)
		av_ask_end(a);
	while (!lcore_works_empty())
		lcore_works_round();
	av_ports_end(&space);
	av_mail_free(space.mail);
	pthread_mutex_destroy(&space.lock);
	return space.n_asks || space.users;
}

/* A program that has asked for PORT; its end of the socket. *m: the answer. */
static int asked(int type, struct dropin_msg *m)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	dropin_msg_init(m, DROPIN_BIND);
	m->sock_type = (uint16_t)type;
	m->local = (struct dropin_addr){UINT32_MAX, PORT};
	assert_int_equal(send(pair[0], m, sizeof(*m), 0), sizeof(*m));
	fds_take(1);
	av_ask_begin(&space, pair[1]);
	assert_int_equal(recv(pair[0], m, sizeof(*m), 0), sizeof(*m));
	assert_int_equal(m->result, 0);
	return pair[0];
}

static void is_free_once_its_program_has_ended(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct dropin_msg m;
		int ask = asked(types[i], &m);

		assert_true(av_port_bound(&space, PORT, types[i] == SOCK_DGRAM, 0));
		close(ask);
		assert_false(av_port_bound(&space, PORT, types[i] == SOCK_DGRAM, 0));
		assert_int_equal(down(NULL), 0);
		assert_int_equal(up(NULL), 0);
	}
}

/* Its socket may be another's by now. */
static void is_bound_as_long_as_a_socket_has_it(void **state)
{
	struct sockaddr_un sa;
	struct dropin_msg m;
	int ask = asked(SOCK_STREAM, &m), fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, av_address(&sa, m.label)), 0);
	close(ask);
	assert_true(av_port_bound(&space, PORT, false, 0));
	close(fd);
	assert_false(av_port_bound(&space, PORT, false, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_free_once_its_program_has_ended, up, down),
		cmocka_unit_test_setup_teardown(is_bound_as_long_as_a_socket_has_it, up, down),
	};

	return cmocka_run_group_tests_name("av_port", tests, NULL, NULL);
}
