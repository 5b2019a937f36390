/* SPDX-License-Identifier: BSD-3-Clause */
/* Which connections of a stock guest are which program's (channel/claims.h). */
#include "channel/claims.h"

#include <errno.h>
#include <proto/ctrl/ctrl_msg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static struct guest_queue gq;
static struct claimant one, other;
static char lines[2];
static uint64_t now_s = 100;

int __wrap_clock_gettime(clockid_t id, struct timespec *t);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	*t = (struct timespec){.tv_sec = (time_t)now_s};
	return 0;
}

/* Lines are only compared. */
static struct broker *line(unsigned i)
{
	return (struct broker *)(void *)&lines[i];
}

static int says(struct claimant *who, enum ctrl_claim_what what, uint32_t port);

static unsigned heard;
static enum ctrl_claim_what unread; /* of `one`, about port 5; 0: nothing */

static void hear(struct claimant *who)
{
	heard++;
	if (who == &one && unread)
		assert_int_equal(says(&one, unread, 5), 0);
	unread = 0;
}

static int begin(void **state)
{
	(void)state;
	claimant_init(&one, line(0), hear);
	claimant_init(&other, line(1), hear);
	heard = 0;
	return 0;
}

static int finish(void **state)
{
	(void)state;
	claims_end(&gq, &one);
	claims_end(&gq, &other);
	return gq.claims ? -1 : 0; /* nothing is kept */
}

static struct ctrl_claim claim(enum ctrl_claim_what what, uint32_t port)
{
	return (struct ctrl_claim){.port = port,
				   .peer_port = 9,
				   .peer_cid = 2,
				   .type = ZV_STREAM,
				   .what = (uint16_t)what};
}

static int says(struct claimant *who, enum ctrl_claim_what what, uint32_t port)
{
	const struct ctrl_claim c = claim(what, port);

	return claim_on_msg(&gq, who, &c);
}

static struct zv_conn_info request(uint32_t port)
{
	return (struct zv_conn_info){
		.peer_port = port, .local_port = 9, .local_cid = 2, .type = ZV_STREAM};
}

static struct broker *comes(uint32_t port)
{
	const struct zv_conn_info i = request(port);

	return claim_take(&gq, &i);
}

static void a_claim_is_used_up(void **state)
{
	struct zv_conn_info i;

	(void)state;
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 5), 0);
	assert_null(comes(6));
	i = request(5);
	i.local_port = 10;
	assert_null(claim_take(&gq, &i));
	i = request(5);
	i.local_cid = 3;
	assert_null(claim_take(&gq, &i));
	i = request(5);
	i.type = ZV_SEQPACKET;
	assert_null(claim_take(&gq, &i));
	assert_null(claims_listener(&gq, 5, ZV_STREAM));
	assert_ptr_equal(comes(5), line(0));
	assert_null(comes(5));
	assert_null(gq.claims);
}

static void a_claim_is_forgotten(void **state)
{
	(void)state;
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 5), 0);
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), 0);
	now_s += 4;
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 6), 0);
	now_s += 1;
	assert_null(comes(5));
	assert_ptr_equal(comes(6), line(0));
	now_s += 1000;
	assert_ptr_equal(claims_listener(&gq, 5, ZV_STREAM), line(0));
	/* Said again, it begins again. */
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 7), 0);
	now_s += 4;
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 7), 0);
	now_s += 4;
	assert_ptr_equal(comes(7), line(0));
	/* What nobody has asked for can be claimed by another one then. */
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 8), 0);
	assert_int_equal(says(&other, CTRL_CLAIM_CONNECT, 8), -EADDRINUSE);
	now_s += 5;
	assert_int_equal(says(&other, CTRL_CLAIM_CONNECT, 8), 0);
	assert_ptr_equal(comes(8), line(1));
}

static void a_claim_is_its_makers(void **state)
{
	(void)state;
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), 0);
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), 0);
	assert_int_equal(one.n, 1);
	assert_int_equal(says(&other, CTRL_CLAIM_LISTEN, 5), -EADDRINUSE);
	assert_int_equal(says(&other, CTRL_CLAIM_NO_LISTEN, 5), 0);
	assert_ptr_equal(claims_listener(&gq, 5, ZV_STREAM), line(0));
	assert_null(claims_listener(&gq, 5, ZV_SEQPACKET));
	assert_int_equal(says(&one, CTRL_CLAIM_NO_LISTEN, 5), 0);
	assert_null(claims_listener(&gq, 5, ZV_STREAM));
	assert_int_equal(says(&one, CTRL_CLAIM_NO_CONNECT, 5), 0); /* there is none */
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 5), 0);
	assert_int_equal(says(&one, CTRL_CLAIM_NO_CONNECT, 5), 0);
	assert_null(comes(5));
}

/* It can be read later than what another one says, which has the port by now. */
static void what_was_said_before_counts(void **state)
{
	(void)state;
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), 0);
	unread = CTRL_CLAIM_NO_LISTEN;
	assert_int_equal(says(&other, CTRL_CLAIM_LISTEN, 5), 0);
	assert_ptr_equal(claims_listener(&gq, 5, ZV_STREAM), line(1));
	assert_int_equal(heard, 1);
	unread = CTRL_CLAIM_LISTEN; /* now it is the second one */
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), -EADDRINUSE);
	assert_int_equal(says(&other, CTRL_CLAIM_NO_LISTEN, 5), 0);
	/* Its end is all that it had to say. */
	unread = 0;
	assert_int_equal(says(&one, CTRL_CLAIM_LISTEN, 5), 0);
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 5), 0);
	one.ended = true;
	assert_int_equal(says(&other, CTRL_CLAIM_LISTEN, 5), 0);
	assert_int_equal(says(&other, CTRL_CLAIM_CONNECT, 5), 0);
	assert_int_equal(one.n, 0);
	assert_ptr_equal(claims_listener(&gq, 5, ZV_STREAM), line(1));
	assert_ptr_equal(comes(5), line(1));
}

static void so_many_and_no_more(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < CLAIMS_MAX; i++)
		assert_int_equal(says(&one, i % 2 ? CTRL_CLAIM_LISTEN : CTRL_CLAIM_CONNECT, i), 0);
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, CLAIMS_MAX), -ENOSPC);
	assert_int_equal(says(&other, CTRL_CLAIM_CONNECT, CLAIMS_MAX), 0);
	assert_ptr_equal(comes(0), line(0));
	assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, 0), 0);
	claims_end(&gq, &one);
	assert_int_equal(one.n, 0);
	assert_null(comes(0));
	assert_ptr_equal(comes(CLAIMS_MAX), line(1));
}

/* All at once would be so many for each of a guest's programs. */
static void old_ones_are_forgotten_piece_by_piece(void **state)
{
	unsigned left = CLAIMS_MAX - CLAIMS_FORGET - 1;

	(void)state;
	for (uint32_t i = 0; i < CLAIMS_MAX; i++)
		assert_int_equal(says(&one, CTRL_CLAIM_CONNECT, i), 0);
	now_s += 5;
	assert_null(comes(CLAIMS_MAX - 1)); /* it is one of them, wherever it stands */
	assert_int_equal(one.n, left);
	assert_int_equal(says(&other, CTRL_CLAIM_CONNECT, CLAIMS_MAX - 2), 0);
	assert_int_equal(one.n, left - CLAIMS_FORGET - 1);
	assert_ptr_equal(comes(CLAIMS_MAX - 2), line(1));
	for (unsigned i = 0; i < CLAIMS_MAX / CLAIMS_FORGET; i++)
		assert_null(comes(CLAIMS_MAX));
	assert_int_equal(one.n, 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, begin, finish)
	const struct CMUnitTest tests[] = {
		T(a_claim_is_used_up),	  T(a_claim_is_forgotten),
		T(a_claim_is_its_makers), T(what_was_said_before_counts),
		T(so_many_and_no_more),	  T(old_ones_are_forgotten_piece_by_piece),
	};

	return cmocka_run_group_tests_name("claims", tests, NULL, NULL);
}
