/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What host programs can make an lcore do in one round: relays with real sockets that are full of
 * empty messages, and everything around them is this file's. A round is one call of each relay that
 * has been put off.
 */
#include "lcore_toy.h"

#include "relay/relay_int.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RELAYS	 40u
#define MESSAGES 50u  /* of each */
#define MOST	 256u /* WORK_ROUND / WORK_UNIT: what all of them may do */

static struct relay relays[RELAYS];
static int peer[RELAYS];
static struct guest_queue queue;
static struct guest guest;
static unsigned sent, sent_of[RELAYS], polled;
static void (*what)(struct relay *r); /* that is the work of each of them */
static char scratch[RELAY_MSG_MAX];

/* ---- what the rest of the daemon would do ---- */

ssize_t zv_send(struct zv_conn *conn, const void *data, size_t len, uint32_t flags)
{
	(void)data;
	(void)flags;
	sent++;
	sent_of[(struct relay *)(void *)conn - relays]++;
	return (ssize_t)len;
}

char *relay_scratch(struct relay *r)
{
	(void)r;
	return scratch;
}

void relay_poll_in(struct relay *r)
{
	r->flags &= (uint16_t)~R_IN_READY;
	polled++;
}

void relay_poll_hup(struct relay *r)
{
	(void)r;
	fail_msg("the end, and messages are left");
}

void relay_host_eof(struct relay *r)
{
	(void)r;
	fail_msg("the end, and messages are left");
}

void relay_host_failed(struct relay *r, int err)
{
	(void)r;
	fail_msg("the socket has failed: %d", err);
}

void relay_end(struct relay *r, unsigned how)
{
	(void)r;
	fail_msg("ended: %u", how);
}

struct relay_stock *relay_stock(struct relay *r)
{
	(void)r;
	return NULL;
}

void relay_passed(struct relay *r, const int *fd, unsigned n)
{
	(void)r;
	(void)fd;
	(void)n;
	fail();
}

void relay_no_memory(struct relay *r)
{
	(void)r;
	fail();
}

void relay_wait_out(struct relay *r)
{
	(void)r;
	fail();
}

void relay_guest_shut_rd(struct relay *r)
{
	(void)r;
	fail();
}

/* ---- rounds ---- */

static void run(struct lcore_work *w)
{
	what((struct relay *)(void *)flow_of_work(w));
}

static int setup(void **state)
{
	(void)state;
	memset(relays, 0, sizeof(relays));
	memset(sent_of, 0, sizeof(sent_of));
	sent = polled = 0;
	queue = (struct guest_queue){.guest = &guest};
	TAILQ_INIT(&queue.waiting);
	for (unsigned i = 0; i < RELAYS; i++) {
		int s[2], room = 1 << 20;

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) < 0 ||
		    setsockopt(s[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0)
			return -1;
		for (unsigned k = 0; k < MESSAGES; k++)
			if (send(s[1], "", 0, MSG_DONTWAIT) < 0)
				return -1;
		peer[i] = s[1];
		relays[i].fd = s[0];
		relays[i].f.conn = (struct zv_conn *)(void *)&relays[i];
		relays[i].flags = RELAY_SEQPACKET | R_IN_READY;
		relays[i].f.owner.gq = &queue;
		relays[i].f.work.run = run;
		relays[i].f.work.queued = true;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELAYS; i++)
		if (close(relays[i].fd) < 0 || close(peer[i]) < 0)
			return -1;
	return 0;
}

/* True: some are put off, or in the queue. */
static bool one_round(unsigned first)
{
	bool any = false;

	lcore_toy_round++;
	if (queue.turns.queued) {
		queue.turns.queued = false;
		queue.turns.run(&queue.turns);
	}
	for (unsigned i = 0; i < RELAYS; i++) {
		struct relay *r = &relays[(first + i) % RELAYS];

		if (!r->f.work.queued)
			continue;
		r->f.work.queued = false;
		run(&r->f.work);
		any |= r->f.work.queued;
	}
	return any || queue.turns.queued;
}

static void to_guest(struct relay *r)
{
	uint32_t most = flow_may(&r->f);

	if (most)
		relay_to_guest_seq(r, most);
}

static void empty_messages_to_a_guest(void **state)
{
	unsigned rounds = 0, before = 0;
	bool more = true;

	(void)state;
	what = to_guest;
	for (; more && rounds < 1000; rounds++) {
		more = one_round(rounds * 7);
		assert_true(sent - before <= MOST);
		before = sent;
	}
	assert_false(more);
	assert_int_equal(sent, RELAYS * MESSAGES); /* nothing is lost */
	for (unsigned i = 0; i < RELAYS; i++)
		assert_int_equal(sent_of[i], MESSAGES);
	assert_int_equal(polled, RELAYS);
	assert_true(rounds >= RELAYS * MESSAGES / MOST);
}

/* Messages that nobody has taken from the sockets yet. */
static unsigned waiting(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RELAYS; i++)
		while (recv(relays[i].fd, scratch, 1, MSG_DONTWAIT) >= 0)
			n++;
	return n;
}

static void empty_messages_for_nobody(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELAYS; i++)
		relays[i].flags |= R_GUEST_SHUT_RD | R_TO_GUEST_DONE;
	what = relay_discard;
	assert_true(one_round(0));
	assert_int_equal(waiting(), RELAYS * MESSAGES - MOST);
}

/* Its guest's memory has made an lcore sleep: nothing moves, and the lcore has nothing to do. */
static void a_queue_that_rests_moves_nothing(void **state)
{
	(void)state;
	what = to_guest;
	queue.lq.resting = true;
	assert_false(one_round(0));
	assert_int_equal(sent, 0);
	assert_false(queue.turns.queued);
	queue.lq.resting = false;
	flow_rested(&queue);
	assert_true(one_round(0));
	assert_int_not_equal(sent, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_messages_to_a_guest, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_messages_for_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(a_queue_that_rests_moves_nothing, setup, teardown),
	};

	return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
