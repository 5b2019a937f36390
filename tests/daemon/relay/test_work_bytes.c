/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How much payload one guest and its host programs can make an lcore move in one round, while other
 * guests of the lcore wait: relays with real sockets, and a real io_uring. Everything around them
 * is this file's. A round is what one_round() of lcore.c does.
 */
#include "lcore_toy.h"

#include "relay/relay_int.h"

#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmocka.h>

#define RELAYS 64u
#define BUFFER 65536u
#define MOST   (WORK_ROUND * WORK_BYTES + FLOW_QUOTA) /* in a round */
#define QUEUES 16u

static struct relay relays[RELAYS];
static int peer[RELAYS];
static bool polled[RELAYS], polled_out[RELAYS];
static bool guest_sends;
static struct guest_queue queue;
static struct guest guest;
static struct io io;
static size_t moved, moved_of[RELAYS], wrote_of[RELAYS];
static char buffer[BUFFER];
/* Buffers from the guest: a call's most, all that come before its end, received, released. */
static unsigned recv_most, recv_all, received, released, guest_ends;

static unsigned index_of(const struct relay *r)
{
	return (unsigned)(r - relays);
}

/* ---- the lcore and the library ---- */

struct io *lcore_io(struct lcore *lc)
{
	(void)lc;
	return &io;
}

int zv_buf_alloc(struct zv_conn *conn, struct zv_buf *bufs, unsigned n, size_t len)
{
	(void)conn;
	assert_true(len <= BUFFER);
	for (unsigned i = 0; i < n; i++)
		bufs[i] = (struct zv_buf){.data = buffer, .capacity = BUFFER};
	return (int)n;
}

int zv_buf_send(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		moved += bufs[i].len;
		moved_of[index_of((struct relay *)(void *)conn)] += bufs[i].len;
	}
	return (int)n;
}

void zv_buf_cancel(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	(void)conn;
	(void)bufs;
	(void)n;
}

/* ---- the other files of the relay ---- */

struct relay_batch *relay_batch_get(struct relay *r)
{
	struct relay_batch *b = calloc(1, sizeof(*b));

	b->r = r;
	return b;
}

void relay_batch_put(struct relay *r, struct relay_batch *b)
{
	(void)r;
	free(b);
}

void relay_poll_in(struct relay *r)
{
	r->flags &= (uint16_t)~R_IN_READY;
	polled[index_of(r)] = true;
}

#define NEVER(call)                                                                                \
	void call                                                                                  \
	{                                                                                          \
		(void)r;                                                                           \
		fail();                                                                            \
	}

void sndbuf_full(struct relay *r)
{
	(void)r;
}

bool sndbuf_fits(struct relay *r, uint32_t len)
{
	(void)r;
	(void)len;
	return true;
}

void relay_poll_out(struct relay *r)
{
	r->flags |= R_FULL;
	r->out_ready = false;
	polled_out[index_of(r)] = true;
}

/* There is always more: ZV_EV_IN. */
void relay_want_events(struct relay *r)
{
	r->f.work.queued = true;
}

NEVER(relay_wait_out(struct relay *r))
NEVER(relay_no_memory(struct relay *r))
NEVER(relay_host_eof(struct relay *r))
NEVER(relay_guest_shut_rd(struct relay *r))
NEVER(relay_host_shut_rd(struct relay *r))
NEVER(relay_end_more(struct relay *r))
NEVER(relay_discard(struct relay *r))

void relay_guest_eof(struct relay *r)
{
	r->flags |= R_FROM_GUEST_DONE;
	guest_ends++;
}

void relay_end(struct relay *r, unsigned how)
{
	(void)r;
	fail_msg("ended: %u", how);
}

void relay_host_failed(struct relay *r, int err)
{
	(void)r;
	fail_msg("the socket has failed: %d", err);
}

void relay_passed(struct relay *r, const int *fd, unsigned n)
{
	(void)r;
	(void)fd;
	fail_msg("%u descriptors", n);
}

void relay_to_guest_seq(struct relay *r, uint32_t most)
{
	(void)r;
	fail_msg("%u bytes of messages", most);
}

bool relay_cmsgs_busy(struct relay *r)
{
	(void)r;
	return false;
}

struct passed_cmsg *relay_cmsg_get(struct relay *r, uint32_t most)
{
	(void)r;
	(void)most;
	return NULL;
}

int zv_buf_recv(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	(void)conn;
	if (!guest_sends)
		return -EAGAIN;
	n = n < recv_most ? n : recv_most;
	n = n < recv_all - received ? n : recv_all - received;
	for (unsigned i = 0; i < n; i++)
		bufs[i] = (struct zv_buf){.data = buffer, .len = BUFFER};
	received += n;
	return (int)n;
}

void zv_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n)
{
	(void)q;
	(void)bufs;
	released += n;
}

uint32_t guest_passed_reads(const struct guest *g)
{
	(void)g;
	return 0;
}

/* ---- rounds ---- */

static void run(struct lcore_work *w)
{
	struct relay *r = (struct relay *)(void *)flow_of_work(w);

	relay_from_guest_resume(r);
	relay_from_guest(r);
	relay_to_guest(r);
	if (guest_sends && !(r->flags & R_FULL))
		w->queued = true;
}

static void full(unsigned i)
{
	ssize_t n;

	while ((n = send(peer[i], buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
		wrote_of[i] += (size_t)n;
}

static int setup(void **state)
{
	const char *why;
	int s[2];

	(void)state;
	if (io_open(&io, 64, &why) < 0) {
		print_message("%s\n", why);
		return -1;
	}
	memset(relays, 0, sizeof(relays));
	queue = (struct guest_queue){.guest = &guest};
	TAILQ_INIT(&queue.waiting);
	moved = 0;
	guest_sends = false;
	recv_most = recv_all = UINT_MAX;
	received = released = guest_ends = 0;
	memset(polled, 0, sizeof(polled));
	memset(polled_out, 0, sizeof(polled_out));
	for (unsigned i = 0; i < RELAYS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) < 0)
			return -1;
		peer[i] = s[1];
		moved_of[i] = wrote_of[i] = 0;
		full(i);
		relays[i].fd = s[0];
		relays[i].f.conn = (struct zv_conn *)(void *)&relays[i];
		relays[i].flags = R_IN_READY;
		relays[i].to_guest_bufs = 1;
		relays[i].f.owner.gq = &queue;
		relays[i].f.work.run = run;
		relays[i].f.work.queued = true;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELAYS; i++) {
		free(relays[i].from_guest);
		if (close(relays[i].fd) < 0 || close(peer[i]) < 0)
			return -1;
	}
	io_close(&io);
	return 0;
}

/* The poll of a socket that has something, or room, is over at once. */
static void polls_end(void)
{
	for (unsigned i = 0; i < RELAYS; i++) {
		struct pollfd p = {.fd = relays[i].fd, .events = POLLOUT};
		int left = 0;

		if (polled_out[i] && poll(&p, 1, 0) == 1 && p.revents & POLLOUT) {
			polled_out[i] = false;
			relays[i].out_ready = true;
			relay_from_guest_resume(&relays[i]);
		}

		if (!polled[i] || ioctl(relays[i].fd, FIONREAD, &left) < 0 || !left)
			continue;
		polled[i] = false;
		relays[i].flags |= R_IN_READY;
		relay_to_guest(&relays[i]);
	}
}

/* Bytes that were moved. */
static size_t one_round(void)
{
	bool due[RELAYS];
	size_t before = moved;

	if (queue.turns.queued) {
		queue.turns.queued = false;
		queue.turns.run(&queue.turns);
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		due[i] = relays[i].f.work.queued;
		relays[i].f.work.queued = false;
	}
	for (unsigned i = 0; i < RELAYS; i++)
		if (due[i])
			run(&relays[i].f.work);
	io_submit(&io);
	(void)io_reap(&io);
	polls_end();
	lcore_toy_round++;
	return moved - before;
}

/* Sockets that are always full: no round takes more than the share, and all get their turns. */
static void payload_of_a_round_is_bounded(void **state)
{
	size_t least = SIZE_MAX, most = 0, n;

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		n = one_round();
		assert_true(n <= MOST);
		for (unsigned k = 0; k < RELAYS; k++)
			full(k);
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		least = moved_of[i] < least ? moved_of[i] : least;
		most = moved_of[i] > most ? moved_of[i] : most;
	}
	assert_true(least > 0 && most <= least + 2 * FLOW_QUOTA);
}

/* A guest with many queues on the lcore moves no more than one with a single queue. */
static void payload_of_many_queues_is_bounded(void **state)
{
	size_t all = 0;

	(void)state;
	queue.work_share = WORK_ROUND / QUEUES;
	for (unsigned i = 0; i < 400; i++) {
		size_t n = one_round();

		assert_true(n <= MOST / QUEUES + FLOW_QUOTA);
		all += n;
		for (unsigned k = 0; k < RELAYS; k++)
			full(k);
	}
	assert_in_range(all, 1, 400 * (MOST / QUEUES) + FLOW_QUOTA);
}

/* Nothing that has come is forgotten in the line. */
static void all_of_it_arrives(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4000; i++)
		(void)one_round();
	for (unsigned i = 0; i < RELAYS; i++)
		assert_int_equal(moved_of[i], wrote_of[i]);
	assert_true(TAILQ_EMPTY(&queue.waiting));
	assert_false(queue.turns.queued);
}

/* What the programs have got since the last call. */
static size_t read_all(size_t got_of[RELAYS])
{
	static char got[4 * BUFFER];
	size_t all = 0;
	ssize_t n;

	for (unsigned i = 0; i < RELAYS; i++)
		while ((n = recv(peer[i], got, sizeof(got), MSG_DONTWAIT)) > 0) {
			all += (size_t)n;
			got_of[i] += (size_t)n;
		}
	return all;
}

/* The guest has sent without end, and all programs read again at the same time, again and again. */
static void payload_from_a_guest_is_bounded(void **state)
{
	size_t got_of[RELAYS] = {0}, least = SIZE_MAX, most = 0;

	(void)state;
	for (unsigned i = 0; i < RELAYS; i++)
		relays[i].flags = 0;
	guest_sends = true;
	for (unsigned i = 0; i < 400; i++) {
		(void)one_round();
		assert_true(read_all(got_of) <= MOST + 16 * BUFFER);
	}
	for (unsigned i = 0; i < 40; i++) { /* full everywhere, and then room everywhere */
		for (unsigned k = 0; k < 200; k++)
			(void)one_round();
		(void)read_all(got_of);
		(void)one_round();
		assert_true(read_all(got_of) <= MOST + 16 * BUFFER);
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		least = got_of[i] < least ? got_of[i] : least;
		most = got_of[i] > most ? got_of[i] : most;
	}
	assert_true(least > most / 2);
}

/* The program of the first relay reads all that is in its socket, and compares it. */
static size_t read_first(size_t at)
{
	static char got[BUFFER];
	size_t all = 0;
	ssize_t n;

	while ((n = recv(peer[0], got, BUFFER - (at + all) % BUFFER, MSG_DONTWAIT)) > 0) {
		assert_memory_equal(got, buffer + (at + all) % BUFFER, (size_t)n);
		all += (size_t)n;
	}
	return all;
}

/* The rest that a full socket left goes out together with what has arrived since, once each, and so
 * does the end of it all. */
static void a_rest_is_sent_with_what_follows(void **state)
{
	const int sndbuf = 106496; /* doubled by the kernel: less than four buffers */
	size_t at, n, most;

	(void)state;
	for (unsigned i = 0; i < BUFFER; i++)
		buffer[i] = (char)(i ^ (i >> 8));
	for (unsigned i = 1; i < RELAYS; i++)
		relays[i].f.work.queued = false;
	assert_int_equal(setsockopt(relays[0].fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf)),
			 0);
	relays[0].flags = 0;
	guest_sends = true;
	recv_most = 4;
	recv_all = 40;
	(void)one_round();
	at = most = read_first(0);
	assert_in_range(most, 4 * BUFFER / 2 + 1, 4 * BUFFER - 1);
	for (unsigned i = 0; i < 100 && !guest_ends; i++) {
		for (unsigned k = 0; k < 2; k++) /* the poll ends, then the rest is sent */
			(void)one_round();
		n = read_first(at);
		/* Not the rest of the first four alone. */
		assert_true(i || n > 4 * BUFFER - most);
		at += n;
	}
	assert_int_equal(guest_ends, 1);
	assert_int_equal(at, 40 * BUFFER);
	assert_int_equal(received, 40);
	assert_int_equal(released, 40);
	assert_null(relays[0].from_guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(payload_of_a_round_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(payload_of_many_queues_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(all_of_it_arrives, setup, teardown),
		cmocka_unit_test_setup_teardown(payload_from_a_guest_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_rest_is_sent_with_what_follows, setup, teardown),
	};

	return cmocka_run_group_tests_name("work_bytes", tests, NULL, NULL);
}
