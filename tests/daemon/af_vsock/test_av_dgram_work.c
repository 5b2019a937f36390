/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What datagrams to programs, and from them, can make an lcore do in one round, and what one sender
 * or one user can take from others. The lcore and its clock are played here; the sockets are real.
 */
#include "endpoint/af_vsock/av_inbox.h"
#include "endpoint/endpoint.h"
#include "lcore_works.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define US	 1000u
#define S	 1000000000ull
#define PROGRAMS 80u
#define POLLS	 (PROGRAMS + 20u)
#define A	 1000u /* users */
#define B	 1001u
#define X	 av_sender_user(2000) /* senders */
#define Y	 av_sender_user(2001)
#define BIG	 30000u
#define MOVES	 64u			 /* in a round */
#define FREED	 64u			 /* datagrams with one of them */
#define MOST	 (AV_TURN_NS / cost + 1) /* system calls for what is moved in a round */

static struct av_space space;
static uint64_t now = 1000 * S, cost; /* cost: of a datagram that is sent */
static unsigned sends, connects;
static bool nowhere; /* what is sent does not arrive: there is always space */
static struct io_op *polls[POLLS];
static uint32_t max_fds = UINT32_MAX;

/* ---- the lcore ---- */

void __wrap_io_poll(struct io *io, struct io_op *op, int fd, uint32_t events);
void __wrap_io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events);
void __wrap_io_cancel(struct io *io, struct io_op *op);
void __wrap_io_close_fd(struct io *io, int fd);
int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);
int __wrap_clock_gettime(clockid_t id, struct timespec *t);
uint32_t __wrap_fds_max(void);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
ssize_t __wrap_zv_dgram_recv(struct zv_queue *q, uint32_t port, void *data, size_t len,
			     uint32_t *flags, struct zv_dgram_addr *addr);

uint32_t __wrap_fds_max(void)
{
	return max_fds;
}

void __wrap_io_poll(struct io *io, struct io_op *op, int fd, uint32_t events)
{
	unsigned i = 0;

	(void)io;
	(void)fd;
	(void)events;
	while (polls[i])
		assert_in_range(++i, 0, POLLS - 1);
	polls[i] = op;
	op->pending = true;
}

void __wrap_io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events)
{
	__wrap_io_poll(io, op, fd, events);
}

void __wrap_io_cancel(struct io *io, struct io_op *op)
{
	(void)io;
	if (!op->pending)
		return;
	for (unsigned i = 0; i < POLLS; i++)
		if (polls[i] == op)
			polls[i] = NULL;
	op->pending = false; /* who cancels looks at it */
}

void __wrap_io_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg)
{
	fn(lc, arg);
	return 0;
}

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	uint64_t ns = id == CLOCK_THREAD_CPUTIME_ID ? 0 : now;

	t->tv_sec = (time_t)(ns / S);
	t->tv_nsec = (long)(ns % S);
	return 0;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	sends++;
	now += cost;
	return nowhere ? 0 : __real_sendmsg(fd, m, flags);
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	connects++;
	return __real_connect(fd, addr, len);
}

/* The kernel says that there is space, or data. */
static void complete_all(void)
{
	for (unsigned i = 0; i < POLLS; i++) {
		struct io_op *op = polls[i];

		polls[i] = NULL;
		if (op) {
			op->pending = false;
			op->done(op, 0, 0);
		}
	}
}

/* ---- programs, and who sends to them ---- */

static struct program {
	struct av_port *port;
	int fd;
} program[PROGRAMS];

static uint8_t payload[BIG];

static void bound(struct program *p, uid_t uid, uint32_t number)
{
	struct dropin_label l = {.view = 'P',
				 .sock_type = SOCK_DGRAM,
				 .local = {UINT32_MAX, number},
				 .token = {av_random(&space), av_random(&space)}};
	struct sockaddr_un sa;
	char text[DROPIN_LABEL];

	dropin_label_write(&l, text);
	p->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_true(p->fd >= 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&sa, av_address(&sa, text)), 0);
	av_port_restore(&space, &l, uid, getpid(), 1);
	p->port = av_port_named(&space, text, &l);
	assert_non_null(p->port);
}

static bool put(const struct program *p, uint64_t sender, uint32_t from, uint32_t len)
{
	const struct av_from f = {{3, from}, sender, NULL};

	return av_inbox_put(p->port->inbox, ZV_CID_HOST, &f, payload, len);
}

/* Until no more of @sender's from the ports @from to @to find room. How many did. */
static unsigned fill(const struct program *p, uint64_t sender, uint32_t from, uint32_t to,
		     uint32_t len)
{
	unsigned n = 0, lost = 0;

	for (uint32_t port = from; lost <= to - from; port = port < to ? port + 1 : from) {
		bool found = put(p, sender, port, len);

		n += found;
		lost = found ? 0 : lost + 1;
	}
	return n;
}

/* The program reads what its socket has: how many, and how many of those from the port @from; of
 * the last of these *l is where it comes from (NULL is allowed). */
static unsigned reads(const struct program *p, uint32_t from, unsigned *of, struct dropin_label *l)
{
	struct dropin_label who;
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	unsigned n = 0;

	for (memset(&sa, 0, sizeof(sa));
	     recvfrom(p->fd, payload, sizeof(payload), 0, (struct sockaddr *)&sa, &len) > 0; n++) {
		assert_true(dropin_label_read(&who, sa.sun_path + 1, strlen(sa.sun_path + 1)));
		if (who.remote.port == from) {
			(*of)++;
			if (l)
				*l = who;
		}
		memset(&sa, 0, sizeof(sa));
		len = sizeof(sa);
	}
	return n;
}

static int up(void **state)
{
	(void)state;
	memset(&space, 0, sizeof(space));
	memset(polls, 0, sizeof(polls));
	space.ports_fd = -1;
	space.seed = 0x9e3779b97f4a7c15ull; /* those below share nothing */
	nowhere = false;
	pthread_mutex_init(&space.lock, NULL);
	TAILQ_INIT(&space.asks);
	TAILQ_INIT(&space.failed);
	TAILQ_INIT(&space.checked);
	av_turn_init(&space);
	space.listener[AV_DGRAM].fd = -1;
	space.mail = av_mail_new(&space);
	assert_non_null(space.mail);
	cost = 0;
	for (unsigned i = 0; i < PROGRAMS; i++)
		program[i].fd = -1;
	lcore_works_round();
	return 0;
}

static int down(void **state)
{
	(void)state;
	av_ports_end(&space);
	while (!lcore_works_empty())
		lcore_works_round();
	assert_int_equal(space.mail->bytes, 0);
	for (unsigned i = 0; i < AV_SENDERS; i++)
		assert_int_equal(space.mail->of_sender[i], 0);
	assert_int_equal(space.mail->n_inboxes, 0);
	av_mail_free(space.mail);
	for (unsigned i = 0; i < PROGRAMS; i++)
		if (program[i].fd >= 0)
			close(program[i].fd);
	pthread_mutex_destroy(&space.lock);
	return space.users ? -1 : 0;
}

/* ---- a round ---- */

/* Programs that read what has filled their sockets: all of them have space at once. */
static void what_waits_is_sent_in_turns(void **state)
{
	unsigned all = 0, got = 0, of = 0, rounds = 0;
	struct program *other = &program[PROGRAMS - 1];

	(void)state;
	for (unsigned i = 0; i < PROGRAMS - 1; i++) {
		bound(&program[i], A, 5000 + i);
		all += fill(&program[i], X + i, 1, 1, 100);
	}
	bound(other, B, 6000);
	(void)fill(other, Y, 2, 2, 100);
	for (unsigned i = 0; i < PROGRAMS; i++)
		got += reads(&program[i], 2, &of, NULL);
	of = 0;
	cost = 10 * US;
	complete_all();
	assert_int_equal(of, 0);
	/* However many programs A has, B's get as many turns. */
	for (; !of; rounds++) {
		sends = 0;
		lcore_works_round();
		assert_in_range(sends, 1, MOST);
		(void)reads(other, 2, &of, NULL);
	}
	assert_in_range(rounds, 1, 2);
	/* And nothing is lost. */
	for (; got < all; rounds++) {
		sends = 0;
		lcore_works_round();
		assert_in_range(sends, 0, MOST);
		for (unsigned i = 0; i < PROGRAMS; i++)
			got += reads(&program[i], 2, &of, NULL);
		complete_all();
	}
}

/* A program ends while thousands of datagrams wait for it. */
static void what_is_lost_is_freed_in_turns(void **state)
{
	uint32_t before;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		bound(&program[i], A, 5000 + i);
		assert_true(fill(&program[i], X, 1, 1, 1) > 1000);
	}
	av_ports_end(&space);
	assert_true(space.mail->bytes > 4000 * INBOX_COST);
	while (space.mail->bytes) {
		before = space.mail->bytes;
		lcore_works_round();
		assert_in_range(before - space.mail->bytes, 1, MOVES * FREED * (1 + INBOX_COST));
	}
}

/* ---- a guest ---- */

static struct cfg_guest cfg = {.cid = 3};
static struct guest guest;
static struct av_guest in_space;
static uint32_t source, sources; /* port that the next datagram comes from, of so many */
static uint64_t left;

ssize_t __wrap_zv_dgram_recv(struct zv_queue *q, uint32_t port, void *data, size_t len,
			     uint32_t *flags, struct zv_dgram_addr *addr)
{
	(void)q;
	(void)port;
	(void)len;
	(void)flags;
	if (!left)
		return -EAGAIN;
	left--;
	memset(data, 1, 100);
	*addr = (struct zv_dgram_addr){.peer_cid = 3,
				       .peer_port = 60000 + source++ % sources,
				       .local_cid = ZV_CID_HOST,
				       .local_port = 5000};
	return 100;
}

/* It sends to port 5000 of programs from @n ports. */
static struct guest_queue *sending(struct lcore *lc, uint32_t n)
{
	static max_align_t no_app[64]; /* struct app_part, of zeroes */
	struct guest_queue *gq = &guest.queues[0];

	memset(&guest, 0, sizeof(guest));
	guest.part[ENDPOINT_app_port] = no_app;
	memset(&in_space, 0, sizeof(in_space));
	guest.cfg = &cfg;
	guest.n_queues = 1;
	guest.serial = 1;
	guest.part[ENDPOINT_af_vsock] = &in_space;
	in_space.guest = &guest;
	in_space.space = &space;
	in_space.cid = 3;
	av_mail_from(&in_space);
	gq->guest = &guest;
	gq->lc = lc;
	source = 0;
	sources = n;
	left = UINT64_MAX;
	return gq;
}

/* A queue that always has more is polled several times in a round. */
static void a_guest_has_its_part_of_a_round(void **state)
{
	struct guest_queue *gq = sending(NULL, 1);

	(void)state;
	bound(&program[0], A, 5000);
	cost = 5 * US;
	nowhere = true;
	for (unsigned i = 0; i < 20; i++) {
		lcore_works_round();
		sends = 0;
		for (unsigned k = 0; k < 4; k++)
			endpoint_datagrams(gq);
		/* The first few, before the time is looked at, and what is between two looks. */
		assert_in_range(sends, 1, LCORE_TURN_NS / cost + 2 * 8 + 4);
		gq->lq.debt = 0; /* of its one peer */
	}
}

/* Each of its ports is another peer, with sockets and names. Of more than there may be at a time
 * it makes few in a round, and pays for them. */
static void a_guest_has_few_new_peers_in_a_round(void **state)
{
	struct guest_queue *gq = sending(NULL, 500);

	(void)state;
	bound(&program[0], A, 5000);
	nowhere = true;
	for (unsigned i = 0; i < 20; i++) {
		unsigned before = connects;

		lcore_works_round();
		gq->lq.debt = 0;
		endpoint_datagrams(gq);
		assert_int_equal(gq->lq.debt, LCORE_PAYS);
		/* One of a peer's own, and one that looks whose the label is. */
		assert_in_range(connects - before, 1, 2 * LCORE_PAYS);
	}
}

/* From another lcore they come in bursts. */
static void what_comes_from_elsewhere_has_turns(void **state)
{
	struct guest_queue *gq = sending((struct lcore *)(uintptr_t)8, 1);
	unsigned all = 0;

	(void)state;
	bound(&program[0], A, 5000);
	cost = 10 * US;
	left = 2 * DGRAM_IN_TRANSIT_MAX;
	nowhere = true;
	sends = 0;
	while (left)
		endpoint_datagrams(gq);
	assert_int_equal(in_space.from.n, DGRAM_IN_TRANSIT_MAX);
	assert_int_equal(sends, 0);
	while (in_space.from.n) {
		sends = 0;
		lcore_works_round();
		assert_in_range(sends, 1, MOST);
		all += sends;
	}
	assert_int_equal(all, DGRAM_IN_TRANSIT_MAX);
}

/* ---- shares ---- */

/* A sender that has filled all sockets for peers, and the room for what waits. */
static void a_sender_has_a_share_of_an_inbox(void **state)
{
	struct program *p = &program[0];
	unsigned of = 0, in_all = 0;

	(void)state;
	bound(p, A, 5000);
	assert_true(fill(p, X, 100, 140, 1000) > 200);
	assert_true(put(p, Y, 99, 1000));
	assert_true(put(p, Y, 99, 1000));
	/* Its turn comes next, whatever waits of X. */
	(void)reads(p, 99, &of, NULL);
	while (of < 2) {
		complete_all();
		lcore_works_round();
		in_all += reads(p, 99, &of, NULL);
		assert_in_range(in_all, 1, 2 * MOVES);
	}
}

/* ... and does not take the socket of another one's peer, from however many ports it sends. */
static void a_sender_takes_no_socket_of_others(void **state)
{
	struct program *p = &program[0];
	struct dropin_label first, again;
	unsigned of = 0, waits, lost;

	(void)state;
	bound(p, A, 5000);
	assert_true(put(p, Y, 99, 1));
	(void)reads(p, 99, &of, &first);
	assert_int_equal(of, 1);
	for (uint32_t port = 100; port < 200; port++) {
		assert_true(put(p, X, port, 1));
		(void)reads(p, 99, &of, NULL);
	}
	assert_true(put(p, Y, 99, 1));
	(void)reads(p, 99, &of, &again);
	assert_memory_equal(first.token, again.token, sizeof(first.token));
	/* What waits and nevertheless makes room is lost, and counted. */
	assert_true(fill(p, X, 200, 215, 1000) > 16);
	assert_true(put(p, Y, 99, 1));
	waits = av_inbox_bytes(p->port->inbox, X);
	lost = lcore_works_lost();
	assert_true(put(p, Y, 98, 1));
	waits -= av_inbox_bytes(p->port->inbox, X);
	assert_true(waits && waits == (lcore_works_lost() - lost) * (1000 + INBOX_COST));
}

/* All inboxes together: neither a user whose programs do not read, nor who sends to many. */
static void nobody_takes_all_the_room(void **state)
{
	unsigned n = 0;

	(void)state;
	/* Another sender for each, so that the user is what is limited. */
	for (unsigned i = 0; i < 40; i++) {
		bound(&program[i], A, 5000 + i);
		(void)fill(&program[i], av_sender_user(3000 + i), 1, 1, BIG);
	}
	assert_in_range(space.mail->bytes, MAIL_BYTES / 5 - INBOX_BYTES, MAIL_BYTES / 5);
	/* Another user for each: the sender is. */
	for (unsigned i = 40; i < 70; i++) {
		bound(&program[i], B + i, 5000 + i);
		(void)fill(&program[i], X, 1, 1, BIG);
	}
	assert_in_range(space.mail->bytes, MAIL_BYTES / 2 - INBOX_BYTES, MAIL_BYTES * 3 / 4);
	bound(&program[PROGRAMS - 1], B, 6000);
	n = fill(&program[PROGRAMS - 1], Y, 1, 1, 1000);
	assert_true(n > INBOX_BYTES / 2 / 1100);
}

/* Few descriptors are left: a sender's ports take half of the sockets that a user may have for
 * peers, and others get theirs. */
static void a_sender_leaves_sockets_to_others(void **state)
{
	unsigned of = 0, taken;

	(void)state;
	max_fds = 64 * AV_FDS_PEERS_SHARE;
	for (unsigned i = 0; i < 16; i++) {
		bound(&program[i], A, 5000 + i);
		for (uint32_t port = 100; port < 110; port++) {
			(void)put(&program[i], X, port, 1);
			(void)reads(&program[i], 0, &of, NULL);
		}
	}
	taken = program[0].port->user->fds;
	assert_in_range(taken, 32, 56);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(put(&program[i], Y, 99, 1));
		assert_true(reads(&program[i], 99, &of, NULL) > 0);
	}
	assert_int_equal(of, 4);
	max_fds = UINT32_MAX;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_waits_is_sent_in_turns, up, down),
		cmocka_unit_test_setup_teardown(what_is_lost_is_freed_in_turns, up, down),
		cmocka_unit_test_setup_teardown(a_guest_has_its_part_of_a_round, up, down),
		cmocka_unit_test_setup_teardown(a_guest_has_few_new_peers_in_a_round, up, down),
		cmocka_unit_test_setup_teardown(what_comes_from_elsewhere_has_turns, up, down),
		cmocka_unit_test_setup_teardown(a_sender_has_a_share_of_an_inbox, up, down),
		cmocka_unit_test_setup_teardown(a_sender_takes_no_socket_of_others, up, down),
		cmocka_unit_test_setup_teardown(nobody_takes_all_the_room, up, down),
		cmocka_unit_test_setup_teardown(a_sender_leaves_sockets_to_others, up, down),
	};

	return cmocka_run_group_tests_name("av_dgram_work", tests, NULL, NULL);
}
