/* SPDX-License-Identifier: BSD-3-Clause */
/* A port whose program has ended is free for applications, though nobody has read of the end yet:
 * the lcore that would do so is played here, and has no time. And those of a user who has reached a
 * limit make room. */
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

#define PORT   5000u
#define OTHERS 12u /* a BIND looks at four ports */
#define NOBODY 65534

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

static struct dropin_msg bind_msg(int type, uint32_t port)
{
	struct dropin_msg m;

	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = (uint16_t)type;
	m.local = (struct dropin_addr){UINT32_MAX, port};
	return m;
}

/* A program that has asked for PORT; its end of the socket. *m: the answer. */
static int asked(int type, struct dropin_msg *m)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	*m = bind_msg(type, PORT);
	assert_int_equal(send(pair[0], m, sizeof(*m), 0), sizeof(*m));
	fds_take(1);
	lcore_works_round(); /* whose time is not used up */
	av_ask_begin(&space, pair[1], true);
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

/* ---- a user who has reached a limit ---- */

static struct av_ask *last(void)
{
	return TAILQ_LAST(&space.asks, av_asks);
}

/* A port for the program that has connected last, and a socket that has it. */
static int bound(int type, uint32_t port)
{
	struct dropin_msg m = bind_msg(type, port);
	int fd = socket(AF_UNIX, type, 0);
	struct sockaddr_un sa;

	av_bind(last(), &m);
	assert_int_equal(m.result, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, av_address(&sa, m.label)), 0);
	if (type == SOCK_DGRAM) {
		av_bound(last(), &m);
		assert_int_equal(m.result, 0);
	}
	return fd;
}

/* Another user has so many ports that a BIND looks at none of NOBODY's by itself. */
static int others_are_first(int fd[static OTHERS])
{
	struct dropin_msg m;
	int ask = asked(SOCK_STREAM, &m);
	struct av_port *p, *next;

	for (unsigned i = 0; i < OTHERS; i++)
		fd[i] = bound(SOCK_STREAM, PORT + 1 + i);
	p = TAILQ_FIRST(&space.checked);
	for (unsigned i = space.n_ports; i; i--, p = next) {
		next = TAILQ_NEXT(p, checked);
		if (p->uid != NOBODY)
			continue;
		TAILQ_REMOVE(&space.checked, p, checked);
		TAILQ_INSERT_TAIL(&space.checked, p, checked);
	}
	return ask;
}

/* A program of NOBODY binds a port, closes its socket, and binds another port when it has as many
 * ports, or descriptors, as it may. */
static void what_is_closed_makes_room(int type)
{
	int fd[OTHERS], ask, others, again;
	struct dropin_msg m;
	struct av_user *u;
	unsigned ports, fds;

	if (geteuid() != 0) {
		print_message("needs root, to be another user\n");
		skip();
	}
	assert_int_equal(seteuid(NOBODY), 0);
	ask = asked(type, &m);
	assert_int_equal(seteuid(0), 0);
	u = last()->user;
	close(bound(type, PORT + 100));
	others = others_are_first(fd);
	TAILQ_REMOVE(&space.asks, TAILQ_FIRST(&u->programs), link); /* the last again */
	TAILQ_INSERT_TAIL(&space.asks, TAILQ_FIRST(&u->programs), link);
	ports = type == SOCK_DGRAM ? 0 : AV_PORTS_MAX / 4 - u->ports;
	fds = type == SOCK_DGRAM ? fds_max() / AV_FDS_SHARE - u->fds : 0;
	u->ports += ports;
	u->fds += fds;
	again = bound(type, PORT + 200);
	u->ports -= ports;
	u->fds -= fds;
	for (unsigned i = 0; i < OTHERS; i++)
		close(fd[i]);
	close(again);
	close(others);
	close(ask);
}

static void ports_that_are_closed_make_room(void **state)
{
	(void)state;
	what_is_closed_makes_room(SOCK_STREAM);
}

/* zvsockd has a descriptor for each. */
static void datagram_sockets_that_are_closed_make_room(void **state)
{
	(void)state;
	what_is_closed_makes_room(SOCK_DGRAM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_free_once_its_program_has_ended, up, down),
		cmocka_unit_test_setup_teardown(is_bound_as_long_as_a_socket_has_it, up, down),
		cmocka_unit_test_setup_teardown(ports_that_are_closed_make_room, up, down),
		cmocka_unit_test_setup_teardown(datagram_sockets_that_are_closed_make_room, up,
						down),
	};

	return cmocka_run_group_tests_name("av_port", tests, NULL, NULL);
}
