/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of translations: against a plain array of pages, its bounds, and what it asks for. */
#include "mem/iotlb.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "watch_fix.h"

#define PAGES 64u

static struct iotlb t;
static int chan[2];

static int setup(void **state)
{
	(void)state;
	iotlb_init(&t);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, chan) < 0)
		return -1;
	iotlb_set_channel(&t, chan[0]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	iotlb_fini(&t);
	close(chan[0]);
	close(chan[1]);
	return 0;
}

static struct iova page(unsigned n)
{
	return (struct iova){(uint64_t)n * IOTLB_PAGE};
}

static int look(uint64_t iova, bool write, uint64_t *len, uint64_t *uva)
{
	struct uva to = {0};
	int ret = t.io.translate(&t.io, (struct iova){iova}, write, len, &to);

	*uva = to.v;
	return ret;
}

/* The next question: its page, or -1. */
static int64_t question(uint8_t *perm)
{
	struct vu_msg m;
	ssize_t n = recv(chan[1], &m, VU_HEAD_LEN + sizeof(m.payload.iotlb), 0);

	if (n != (ssize_t)(VU_HEAD_LEN + sizeof(m.payload.iotlb)))
		return -1;
	assert_int_equal(m.request, VU_BACKEND_IOTLB_MSG);
	assert_int_equal(m.payload.iotlb.type, VU_IOTLB_MISS);
	*perm = m.payload.iotlb.perm;
	return (int64_t)(m.payload.iotlb.iova / IOTLB_PAGE);
}

static void translates_pieces_of_an_entry(void **state)
{
	uint64_t len = 100, uva;

	(void)state;
	assert_int_equal(iotlb_update(&t, page(2), 2 * IOTLB_PAGE, (struct uva){0x5000000}, 3), 0);
	assert_int_equal(look(page(2).v + 5, false, &len, &uva), 0);
	assert_int_equal(uva, 0x5000005);
	assert_int_equal(len, 100);
	len = IOTLB_PAGE;
	assert_int_equal(look(page(4).v - 10, true, &len, &uva), 0);
	assert_int_equal(len, 10);
	assert_int_equal(look(page(4).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(look(page(2).v - 1, false, &len, &uva), -EAGAIN);
}

static void asks_once_for_a_page_and_access(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(look(page(7).v + i, false, &len, &uva), -EAGAIN);
		assert_int_equal(look(page(7).v + i, true, &len, &uva), -EAGAIN);
	}
	assert_int_equal(question(&perm), 7);
	assert_int_equal(perm, VU_IOTLB_READ);
	assert_int_equal(question(&perm), 7);
	assert_int_equal(perm, VU_IOTLB_WRITE);
	assert_int_equal(question(&perm), -1);
	assert_int_equal(iotlb_update(&t, page(7), IOTLB_PAGE, (struct uva){0x1000}, 1), 0);
	assert_int_equal(t.nasked, 0);
	assert_int_equal(look(page(7).v, true, &len, &uva), -EFAULT); /* it may not be written */
	iotlb_invalidate(&t, page(7), 1);
	assert_int_equal(look(page(7).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 7); /* a new question */
}

static void changes_are_counted(void **state)
{
	uint64_t before = t.io.changes;

	(void)state;
	iotlb_invalidate(&t, page(0), UINT64_MAX);
	assert_int_equal(t.io.changes, before); /* there was nothing */
	assert_int_equal(iotlb_update(&t, page(0), 1, (struct uva){0}, 3), 0);
	assert_true(t.io.changes > before);
	before = t.io.changes;
	iotlb_invalidate(&t, page(0), 1);
	assert_true(t.io.changes > before);
	before = t.io.changes;
	iotlb_flush(&t);
	assert_true(t.io.changes > before);
}

/* The channel takes no more questions. */
static void fill(void)
{
	static const char junk[4096];

	while (send(chan[0], junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	while (send(chan[0], junk, 1, MSG_DONTWAIT) > 0)
		;
}

static void empty(void)
{
	char junk[4096];

	while (recv(chan[1], junk, sizeof(junk), 0) > 0)
		;
}

/* Nobody may be left without an answer because a question was lost. */
static void questions_wait_for_room(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	fill();
	assert_int_equal(look(page(9).v, false, &len, &uva), -EAGAIN);
	empty();
	iotlb_ask_again(&t);
	assert_int_equal(question(&perm), 9);
	iotlb_ask_again(&t);
	assert_int_equal(question(&perm), -1);
}

/* A frontend says nothing of an address that it does not know. */
static void dead_questions_block_no_others(void **state)
{
	uint64_t len = 1, uva, before;
	uint8_t perm;

	(void)state;
	for (unsigned i = 0; i < 2 * IOTLB_ASKED; i++) {
		assert_int_equal(look(page(100 + i).v, false, &len, &uva), -EAGAIN);
		assert_int_equal(question(&perm), 100 + i);
	}
	assert_int_equal(t.nasked, IOTLB_ASKED);
	before = t.io.changes;
	iotlb_invalidate(&t, page(100 + 2 * IOTLB_ASKED - 1), 1);
	assert_int_equal(t.nasked, IOTLB_ASKED - 1);
	assert_true(t.io.changes > before); /* or the ring that waits would not ask again */
	assert_int_equal(look(page(100 + 2 * IOTLB_ASKED - 1).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 100 + 2 * IOTLB_ASKED - 1);
	assert_int_equal(iotlb_update(&t, page(100), IOTLB_PAGE, (struct uva){0}, 3), 0);
	assert_int_equal(look(page(100).v, false, &len, &uva), 0);
}

/* Who has very many wait for questions is asked few, and what is not asked is not waited for:
 * nothing would end that. */
static void slow_questions_end(void **state)
{
	uint64_t len = 1, uva;
	unsigned asked = 0;
	uint8_t perm;
	int ret;

	(void)state;
	watch_often(chan[1]);
	while ((ret = look(page(100 + asked).v, false, &len, &uva)) == -EAGAIN) {
		assert_int_equal(question(&perm), 100 + asked);
		assert_true(++asked < 10000);
	}
	assert_int_equal(ret, -EFAULT);
	assert_int_equal(question(&perm), -1);
	watch_no_more();
	t.wakes = (struct wake_limit){0}; /* as it is some time later */
	assert_int_equal(look(page(100 + asked).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 100 + asked);
}

/* What found no room first, and then may not be sent, has its end too. */
static void unsent_questions_are_not_waited_for(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	fill();
	assert_int_equal(look(page(9).v, false, &len, &uva), -EAGAIN);
	empty();
	t.wakes.refilled = UINT64_MAX / 2; /* in some hundred years */
	iotlb_ask_again(&t);
	assert_int_equal(question(&perm), -1);
	assert_int_equal(look(page(9).v, false, &len, &uva), -EFAULT);
	t.wakes = (struct wake_limit){0};
	assert_int_equal(look(page(9).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 9);
}

/* One ring waits; another that asks for the same page when nothing may be sent is broken. The first
 * one's question is sent with the next that may be. */
static void a_question_of_another_ring_stays(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	fill();
	assert_int_equal(look(page(9).v, false, &len, &uva), -EAGAIN);
	empty();
	t.wakes.refilled = UINT64_MAX / 2;
	assert_int_equal(look(page(9).v, false, &len, &uva), -EFAULT);
	assert_int_equal(look(page(10).v, false, &len, &uva), -EFAULT);
	t.wakes = (struct wake_limit){0};
	assert_int_equal(look(page(11).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 9);
	assert_int_equal(question(&perm), 11);
	assert_int_equal(question(&perm), -1);
}

/* What was never sent makes no room: nobody else would ask for it. */
static void unsent_questions_stay(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	iotlb_set_channel(&t, -1);
	for (unsigned i = 0; i < 2 * IOTLB_ASKED; i++)
		assert_int_equal(look(page(100 + i).v, false, &len, &uva), -EAGAIN);
	iotlb_set_channel(&t, chan[0]);
	for (unsigned i = 0; i < IOTLB_ASKED; i++)
		assert_int_equal(question(&perm), 100 + i);
	assert_int_equal(question(&perm), -1);
	assert_int_equal(look(page(100 + IOTLB_ASKED).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), 100 + IOTLB_ASKED);
	assert_false(iotlb_is_empty(&t));
	iotlb_flush(&t);
	assert_true(iotlb_is_empty(&t));
}

/* A channel that comes later, or another one, is asked what was asked before. */
static void another_channel_is_asked_anew(void **state)
{
	uint64_t len = 1, uva;
	uint8_t perm;

	(void)state;
	iotlb_set_channel(&t, -1);
	assert_int_equal(look(page(3).v, false, &len, &uva), -EAGAIN);
	assert_int_equal(question(&perm), -1);
	iotlb_set_channel(&t, chan[0]);
	assert_int_equal(question(&perm), 3);
}

static void table_is_bounded(void **state)
{
	uint64_t len = 1, uva;

	(void)state;
	for (unsigned i = 0; i <= IOTLB_MAX; i++)
		assert_int_equal(
			iotlb_update(&t, page(2 * i), IOTLB_PAGE, (struct uva){i * 4096ull}, 3), 0);
	assert_int_equal(t.n, 1);
	assert_int_equal(look(page(2 * IOTLB_MAX).v, false, &len, &uva), 0);
	assert_int_equal(look(page(0).v, false, &len, &uva), -EAGAIN);
}

static void ends_of_the_address_space(void **state)
{
	const uint64_t top = UINT64_MAX - IOTLB_PAGE + 1;
	uint64_t len = UINT64_MAX, uva;

	(void)state;
	assert_int_equal(iotlb_update(&t, (struct iova){top}, IOTLB_PAGE, (struct uva){0x9000}, 3),
			 0);
	assert_int_equal(iotlb_update(&t, (struct iova){0}, top, (struct uva){0x10000}, 3), 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(look(UINT64_MAX, false, &len, &uva), 0);
	assert_int_equal(len, 1);
	assert_int_equal(uva, 0x9000 + IOTLB_PAGE - 1);
	iotlb_invalidate(&t, (struct iova){UINT64_MAX}, UINT64_MAX);
	assert_int_equal(t.n, 1);
	iotlb_invalidate(&t, (struct iova){0}, UINT64_MAX);
	assert_int_equal(t.n, 0);
}

/* Random updates and invalidations, and after each the whole table against an array of pages. */
static void table_is_an_array_of_pages(void **state)
{
	static struct {
		uint64_t uva;
		uint8_t perm; /* 0: none */
		unsigned entry;
	} model[PAGES];
	unsigned entry = 0;

	(void)state;
	srand(19);
	for (unsigned round = 0; round < 3000; round++) {
		unsigned at = (unsigned)rand() % PAGES, n = 1 + (unsigned)rand() % 6;
		unsigned gone[PAGES] = {0};

		n = at + n > PAGES ? PAGES - at : n;
		/* Whatever overlaps goes whole. */
		for (unsigned i = at; i < at + n; i++)
			if (model[i].perm)
				gone[model[i].entry % PAGES] = model[i].entry + 1;
		for (unsigned i = 0; i < PAGES; i++)
			if (model[i].perm && gone[model[i].entry % PAGES] == model[i].entry + 1)
				model[i].perm = 0;
		if (rand() % 3) {
			uint8_t perm = (uint8_t)(1 + rand() % 3);

			entry++;
			for (unsigned i = at; i < at + n; i++) {
				model[i].uva =
					0x7000000000 + round * 0x100000ull + (i - at) * IOTLB_PAGE;
				model[i].perm = perm;
				model[i].entry = entry;
			}
			assert_int_equal(iotlb_update(&t, page(at), n * IOTLB_PAGE,
						      (struct uva){model[at].uva}, perm),
					 0);
		} else {
			iotlb_invalidate(&t, page(at), n * IOTLB_PAGE);
		}
		for (unsigned i = 0; i < PAGES; i++) {
			bool write = rand() % 2;
			uint64_t len = IOTLB_PAGE, uva;
			int ret = look(page(i).v, write, &len, &uva);

			if (!model[i].perm) {
				assert_int_equal(ret, -EAGAIN);
			} else if (!(model[i].perm & (write ? VU_IOTLB_WRITE : VU_IOTLB_READ))) {
				assert_int_equal(ret, -EFAULT);
			} else {
				assert_int_equal(ret, 0);
				assert_int_equal(uva, model[i].uva);
				assert_int_equal(len, IOTLB_PAGE);
			}
		}
	}
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(translates_pieces_of_an_entry),
		T(asks_once_for_a_page_and_access),
		T(changes_are_counted),
		T(questions_wait_for_room),
		T(dead_questions_block_no_others),
		T(unsent_questions_stay),
		T(slow_questions_end),
		T(unsent_questions_are_not_waited_for),
		T(a_question_of_another_ring_stays),
		T(another_channel_is_asked_anew),
		T(table_is_bounded),
		T(ends_of_the_address_space),
		T(table_is_an_array_of_pages),
	};

	return cmocka_run_group_tests_name("iotlb", tests, NULL, NULL);
}
