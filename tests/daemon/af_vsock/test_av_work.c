/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs at a drop-in directory can make an lcore do in one round, be they many, or have
 * they chosen the numbers of their ports. The lcore is played here.
 */
#include "core/fds.h"
#include "endpoint/af_vsock/av_dgram.h"
#include "lcore_works.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PROGRAMS  100u
#define QUESTIONS 40u
#define NOBODY	  65534
#define PORTS	  500u
#define SWEPT	  4u  /* bound ports that a BIND looks at, beside the one that it asks for */
#define TRIES	  24u /* ports for a program to which any will do */
#define SEEDS	  1000u
/* Of a round: the work of a round, and what the last question takes beyond it. */
#define MOST (AV_TURN_WORK + SWEPT + 1)
#define US   1000u
#define MS   (1000u * US)
#define S    (1000u * MS)

static struct av_space space;
static unsigned binds;
static uint64_t now = 1000 * (uint64_t)S, cpu, cost; /* cost: to find a name with port 5000 */

/* ---- the lcore ---- */

void __wrap_io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events);
void __wrap_io_close_fd(struct io *io, int fd);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __real_bind(int fd, const struct sockaddr *addr, socklen_t len);

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

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	uint64_t ns = id == CLOCK_THREAD_CPUTIME_ID ? cpu : now;

	t->tv_sec = (time_t)(ns / S);
	t->tv_nsec = (long)(ns % S);
	return 0;
}

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	uint64_t ns = memmem(addr, len, ":5000:", 6) ? cost : 0;

	binds++;
	cpu += ns;
	now += ns;
	return __real_bind(fd, addr, len);
}

/* ---- applications ---- */

static unsigned in_between; /* how often one begins to listen on a port that was just found free */

bool __wrap_app_port_listened(uint32_t port, bool dgram, const struct guest *except);

bool __wrap_app_port_listened(uint32_t port, bool dgram, const struct guest *except)
{
	(void)dgram;
	(void)except;
	if (!in_between || !av_port_at(&space, SOCK_STREAM, UINT32_MAX, port))
		return false;
	in_between--;
	return true;
}

/* ---- a space without guests ---- */

static int up(void **state)
{
	(void)state;
	memset(&space, 0, sizeof(space));
	space.ports_fd = -1;
	space.seed = 0x9e3779b97f4a7c15ull;
	pthread_mutex_init(&space.lock, NULL);
	TAILQ_INIT(&space.asks);
	TAILQ_INIT(&space.failed);
	TAILQ_INIT(&space.checked);
	av_turn_init(&space);
	space.listener[AV_DGRAM].fd = -1;
	space.mail = av_mail_new(&space);
	assert_non_null(space.mail);
	for (unsigned i = 0; i < AV_LOOK_USERS * AV_LOOK_STOCKS; i++)
		space.looks[i / AV_LOOK_STOCKS][i % AV_LOOK_STOCKS].pause = now; /* not again */
	cost = 0;
	lcore_works_round(); /* what an earlier test has used up is of another round */
	return 0;
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

/* A program that has asked @n times, and connected then: its end of the socket. */
static int asks(unsigned n)
{
	struct dropin_msg m;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	dropin_msg_init(&m, DROPIN_HELLO);
	while (n--)
		assert_int_equal(send(pair[0], &m, sizeof(m), 0), sizeof(m));
	av_ask_begin(&space, pair[1], true);
	return pair[0];
}

static unsigned answers(const int *fd, unsigned n)
{
	struct dropin_msg m;
	unsigned got = 0;

	for (unsigned i = 0; i < n; i++)
		while (recv(fd[i], &m, sizeof(m), 0) == sizeof(m))
			got++;
	return got;
}

static void work_of_a_round_is_bounded(void **state)
{
	int fd[PROGRAMS];
	unsigned got, all;

	(void)state;
	for (unsigned i = 0; i < PROGRAMS; i++)
		fd[i] = asks(QUESTIONS);
	for (all = 0; all < PROGRAMS * QUESTIONS; all += got) {
		got = answers(fd, PROGRAMS);
		assert_in_range(got, 1, MOST);
		lcore_works_round();
	}
	for (unsigned i = 0; i < PROGRAMS; i++)
		close(fd[i]);
}

static void each_user_has_turns(void **state)
{
	int fd[PROGRAMS], other;
	unsigned rounds = 0;

	(void)state;
	if (geteuid() != 0) {
		print_message("needs root, to be another user\n");
		skip();
	}
	for (unsigned i = 0; i < PROGRAMS; i++)
		fd[i] = asks(QUESTIONS);
	assert_int_equal(seteuid(NOBODY), 0);
	other = asks(1); /* the socket is this user's */
	assert_int_equal(seteuid(0), 0);
	for (; !answers(&other, 1); rounds++)
		lcore_works_round();
	assert_in_range(rounds, 0, 2);
	assert_in_range(answers(fd, PROGRAMS), 1, 3 * MOST);
	for (unsigned i = 0; i < PROGRAMS; i++)
		close(fd[i]);
	close(other);
}

/* Binds @port, for a socket of type @type that has the label, which is copied to @label unless that
 * is NULL. */
static int bound_as(int ask, uint32_t port, int type, char *label)
{
	struct sockaddr_un sa;
	struct dropin_msg m;
	int fd = socket(AF_UNIX, type, 0);

	assert_true(fd >= 0);
	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = (uint16_t)type;
	m.local = (struct dropin_addr){UINT32_MAX, port};
	assert_int_equal(send(ask, &m, sizeof(m), 0), sizeof(m));
	av_turn(TAILQ_FIRST(&space.asks));
	assert_int_equal(recv(ask, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, 0);
	assert_int_equal(__real_bind(fd, (struct sockaddr *)&sa, av_address(&sa, m.label)), 0);
	if (label)
		memcpy(label, m.label, sizeof(m.label));
	return fd;
}

static int bound(int ask, uint32_t port)
{
	return bound_as(ask, port, SOCK_STREAM, NULL);
}

/* However many ports there are, and whatever their numbers; those whose sockets are closed become
 * free all the same. */
static void a_question_looks_at_few_ports(void **state)
{
	int fd[PORTS], ask = asks(0);
	unsigned left;

	(void)state;
	for (unsigned i = 0; i < PORTS; i++, lcore_works_round()) {
		binds = 0;
		fd[i] = bound(ask, 5000 + i * AV_BUCKETS);
		assert_in_range(binds, 0, MOST);
	}
	left = space.n_ports;
	assert_int_equal(left, PORTS);
	for (unsigned i = 0; i < PORTS; i++)
		close(fd[i]);
	for (unsigned i = 0; i < PORTS; i++, lcore_works_round()) {
		binds = 0;
		close(bound(ask, 6000 + i));
		assert_in_range(binds, 0, MOST);
	}
	assert_in_range(space.n_ports, 1, 4);
	close(ask);
}

/* Who asks for any port gets another one if an application begins to listen on the first. */
static void another_port_is_tried(void **state)
{
	struct dropin_msg m;
	int fd, ask = asks(0);

	(void)state;
	space.cfg.apps = true;
	in_between = 1;
	fd = bound(ask, ZV_PORT_ANY);
	assert_int_equal(in_between, 0);
	assert_int_equal(space.n_ports, 1);
	lcore_works_round();
	/* Not for ever, and what was tried is free again. */
	in_between = 1000;
	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = SOCK_STREAM;
	m.local = (struct dropin_addr){UINT32_MAX, ZV_PORT_ANY};
	assert_int_equal(send(ask, &m, sizeof(m), 0), sizeof(m));
	av_turn(TAILQ_FIRST(&space.asks));
	assert_int_equal(recv(ask, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, -EADDRINUSE);
	assert_int_equal(space.n_ports, 1);
	in_between = 0;
	close(fd);
	close(ask);
}

/* Sends a BIND of @port, which is answered in some round. */
static void ask_for(int ask, uint32_t port)
{
	struct dropin_msg m;

	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = SOCK_STREAM;
	m.local = (struct dropin_addr){UINT32_MAX, port};
	assert_int_equal(send(ask, &m, sizeof(m), 0), sizeof(m));
}

static int answer(int ask)
{
	struct dropin_msg m;

	assert_int_equal(recv(ask, &m, sizeof(m), 0), sizeof(m));
	return m.result;
}

/* A program that has bound @port and lives on; it does not ask any more. */
static int bound_for_good(uint32_t port)
{
	int ask = asks(0), fd;

	fd = bound(ask, port);
	close(ask);
	av_ask_end(TAILQ_FIRST(&space.asks));
	lcore_works_round();
	return fd;
}

/* The kernel needs a while for each name: no round has many. */
static void a_round_is_short(void **state)
{
	int fd = bound_for_good(5000), ask[PROGRAMS];

	(void)state;
	for (unsigned i = 0; i < PROGRAMS; i++) {
		ask[i] = asks(0);
		ask_for(ask[i], 5000);
	}
	cost = 40 * US;
	for (struct av_ask *a = TAILQ_FIRST(&space.asks); a; a = TAILQ_NEXT(a, link))
		av_turn_wait(a);
	for (unsigned left = PROGRAMS; left;) {
		unsigned got;

		binds = 0;
		lcore_works_round();
		/* The last question looks for all bound ports, and then for its own. */
		assert_in_range(binds, 1, AV_TURN_NS / cost + 2);
		got = answers(ask, PROGRAMS);
		assert_in_range(got, 1, left);
		left -= got;
	}
	for (unsigned i = 0; i < PROGRAMS; i++)
		close(ask[i]);
	close(fd);
}

static int asked_for(int ask, uint32_t port)
{
	struct av_ask *a;

	ask_for(ask, port);
	TAILQ_FOREACH(a, &space.asks, link)
		av_turn_wait(a);
	lcore_works_round();
	return answer(ask);
}

/* The kernel needs long for a name: in the end zvsockd seldom looks for it, and takes the port for
 * bound. There is a limit for what it does by itself as well. */
static void slow_looks_are_limited(void **state)
{
	int fd = bound_for_good(5000), ask = asks(0);
	const uint64_t begin = now, before = cpu;

	(void)state;
	cost = 3 * MS;
	for (unsigned i = 0; i < 1000; i++, now += MS)
		assert_int_equal(asked_for(ask, 5000), -EADDRINUSE);
	assert_in_range(cpu - before, 2 * 100 * MS,
			2 * (100 * MS + (now - begin) / 100 + cost) * 103 / 100);
	close(fd);
	assert_int_equal(asked_for(ask, 5000), -EADDRINUSE); /* nobody has looked */
	now += S;
	lcore_works_round();
	close(bound(ask, 5000));
	close(ask);
}

/* ... of whoever makes zvsockd look. Others' ports are looked for as before. */
static void slow_looks_are_of_who_asks(void **state)
{
	int fd = bound_for_good(5000), other = bound_for_good(6000), ask;

	(void)state;
	if (geteuid() != 0) {
		close(fd);
		close(other);
		print_message("needs root, to be another user\n");
		skip();
	}
	close(other);
	ask = asks(0);
	cost = S;
	assert_int_equal(asked_for(ask, 5000), -EADDRINUSE);
	assert_int_equal(asked_for(ask, 6000), -EADDRINUSE);
	close(ask);
	av_ask_end(TAILQ_FIRST(&space.asks));
	lcore_works_round();
	assert_int_equal(seteuid(NOBODY), 0);
	ask = asks(0);
	assert_int_equal(seteuid(0), 0);
	close(bound(ask, 6000));
	/* And theirs are checked now and then, if not those of the first one. */
	lcore_works_round();
	close(bound(ask, 7000));
	assert_null(av_port_at(&space, SOCK_STREAM, UINT32_MAX, 6000));
	assert_non_null(av_port_at(&space, SOCK_STREAM, UINT32_MAX, 5000));
	close(ask);
	close(fd);
}

/* To whom any port will do gets one without a look at those that are bound: others choose these. */
static void any_port_is_none_that_is_bound(void **state)
{
	int fd[TRIES], ask;

	(void)state;
	for (unsigned i = 0; i < TRIES - 1; i++)
		fd[i] = bound_for_good(5000 + i);
	space.last_port = 5000;
	ask = asks(0);
	binds = 0;
	fd[TRIES - 1] = bound(ask, ZV_PORT_ANY);
	assert_in_range(binds, 0, SWEPT);
	assert_non_null(av_port_at(&space, SOCK_STREAM, UINT32_MAX, 5000 + TRIES - 1));
	for (unsigned i = 0; i < TRIES; i++)
		close(fd[i]);
	close(ask);
}

static void use_up(struct av_looker l)
{
	assert_true(av_look_may(&space, &l));
	do /* one may count as a pause of the machine */
		av_look_took(&space, &l, 10 * (uint64_t)S);
	while (av_look_may(&space, &l));
}

static bool may_look(struct av_looker l)
{
	return av_look_may(&space, &l);
}

/* A user who has used up all the time that others spend on him takes none from guests or for other
 * reasons, whatever the seed; and little from others for the same reason. */
static void no_stock_is_anothers(void **state)
{
	static struct av_guest guest[2];
	unsigned users = 0, of_guest = 0;
	int ask = asks(0);

	(void)state;
	for (unsigned i = 0; i < SEEDS; i++) {
		memset(space.looks, 0, sizeof(space.looks));
		memset(guest, 0, sizeof(guest));
		space.seed = ((uint64_t)random() << 33 ^ (uint64_t)random() << 8) | 1;
		for (unsigned k = 0; k < 2; k++) {
			guest[k].space = &space;
			guest[k].cid = 3 + k;
		}
		for (enum av_look_why why = 0; why < AV_LOOK_USERS; why++) {
			for (enum av_look_why other = why; other < AV_LOOK_USERS; other++)
				assert_true(may_look(av_looker(&space, other, 1000)));
			use_up(av_looker(&space, why, 1000));
			users += !may_look(av_looker(&space, why, 1001 + i));
		}
		for (unsigned k = 0; k < 2; k++)
			assert_true(may_look(av_looker_guest(&guest[k], 1000)));
		use_up(av_looker_guest(&guest[0], 1000));
		assert_true(may_look(av_looker_guest(&guest[1], 1000)));
		of_guest += !may_look(av_looker_guest(&guest[0], 1001 + i));
	}
	space.cfg.apps = true;
	close(bound(ask, 5000));
	close(ask);
	av_ask_end(TAILQ_FIRST(&space.asks));
	use_up(av_looker(&space, AV_LOOK_LISTEN, 1002));
	assert_true(av_port_bound(&space, 5000, false, 1002)); /* without a look */
	assert_false(av_port_bound(&space, 5000, false, 1003));
	assert_in_range(users, 0, AV_LOOK_USERS * SEEDS * 4 / AV_LOOK_STOCKS);
	assert_in_range(of_guest, 0, SEEDS * 4 / AV_GUEST_STOCKS);
}

/* A program has bound its datagram socket, and the time to look for it is used up: it may go on,
 * and has its datagrams once there is time. */
static void bound_without_a_look(void **state)
{
	const struct av_looker l = av_looker(&space, AV_LOOK_INBOX, geteuid());
	struct dropin_label label;
	struct av_port *p;
	struct dropin_msg m;
	int fd, ask = asks(0);

	(void)state;
	dropin_msg_init(&m, DROPIN_BOUND);
	fd = bound_as(ask, 5000, SOCK_DGRAM, m.label);
	p = av_port_named(&space, m.label, &label);
	assert_non_null(p);
	use_up(l);
	av_bound(TAILQ_FIRST(&space.asks), &m);
	assert_int_equal(m.result, 0);
	assert_true(av_inbox_is_new(p->inbox));
	now += 3600 * (uint64_t)S;
	assert_int_equal(av_inbox_hold(p->inbox), 0);
	assert_false(av_inbox_is_new(p->inbox));
	close(fd);
	close(ask);
}

/* A machine on which every call takes long: nobody is refused for that. */
static void a_slow_machine_looks_as_often(void **state)
{
	int fd = bound_for_good(5000), ask = asks(0);

	(void)state;
	*socket_names_limit.fastest_ns = 0;
	cost = 400 * US;
	binds = 0;
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(asked_for(ask, 5000), -EADDRINUSE);
	assert_int_equal(binds, 2 * 2000);
	/* Once a call was fast, it is known that the machine is not slow. */
	cost = 0;
	assert_int_equal(asked_for(ask, 5000), -EADDRINUSE);
	cost = 400 * US;
	binds = 0;
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(asked_for(ask, 5000), -EADDRINUSE);
	assert_in_range(binds, 1, 2 * 400);
	close(fd);
	close(ask);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(work_of_a_round_is_bounded, up, down),
		cmocka_unit_test_setup_teardown(each_user_has_turns, up, down),
		cmocka_unit_test_setup_teardown(a_question_looks_at_few_ports, up, down),
		cmocka_unit_test_setup_teardown(another_port_is_tried, up, down),
		cmocka_unit_test_setup_teardown(a_round_is_short, up, down),
		cmocka_unit_test_setup_teardown(slow_looks_are_limited, up, down),
		cmocka_unit_test_setup_teardown(slow_looks_are_of_who_asks, up, down),
		cmocka_unit_test_setup_teardown(any_port_is_none_that_is_bound, up, down),
		cmocka_unit_test_setup_teardown(no_stock_is_anothers, up, down),
		cmocka_unit_test_setup_teardown(bound_without_a_look, up, down),
		cmocka_unit_test_setup_teardown(a_slow_machine_looks_as_often, up, down),
	};

	return cmocka_run_group_tests_name("av_work", tests, NULL, NULL);
}
