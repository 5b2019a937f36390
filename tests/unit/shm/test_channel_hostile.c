/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel: a peer that writes into the shared part what it likes.
 *
 * First each lie by itself: the channel breaks, says why, and stays broken, while the other one
 * goes on. Then noise: random words over random places between honest traffic, and from another
 * thread during it. The channel's part of the region lies between pages that cannot be touched.
 */
#include "channel_int.h"
#include "channel_pair.h"
#include "shm_ring.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *fault_of(const struct shm_channel *ch)
{
	struct shm_channel_stats st = {.size = sizeof(st)};

	assert_int_equal(shm_channel_get_stats(ch, &st), 0);
	assert_int_equal(st.faults, st.fault != NULL);
	return st.fault;
}

/* @ch is broken because of what has @why in its text; nothing works any more, and nothing crashes.
 */
static void expect_broken(struct shm_channel *ch, const char *why)
{
	struct shm_msg m = {.data = (void *)"x", .len = 1};

	assert_int_equal(shm_channel_error(ch), -EPROTO);
	assert_non_null(fault_of(ch));
	if (!strstr(fault_of(ch), why))
		fail_msg("\"%s\" is not about \"%s\"", fault_of(ch), why);
	assert_int_equal(shm_channel_send(ch, &m, 1), -EPROTO);
	assert_int_equal(shm_channel_alloc(ch, &m, 1, 100), -EPROTO);
	assert_int_equal(shm_channel_reserve(ch, &m, 1, 8), -EPROTO);
	assert_int_equal(shm_channel_control(ch, 1, 0), -EPROTO);
	assert_int_equal(shm_channel_recv(ch, &m, 1), -EPROTO);
	assert_int_equal(shm_channel_pending(ch), -EPROTO);
	assert_int_equal(shm_channel_arm(ch, SHM_WANT_DATA | SHM_WANT_ROOM, 8), -EPROTO);
	assert_int_equal(shm_channel_room(ch), 0);
	(void)shm_channel_notify(ch);
}

/* B receives the word @word as the first message from A. */
static void expect_bad_word(struct pair *p, uint64_t word, const char *why)
{
	struct shm_msg m;

	pair_marks(p, SHM_ROLE_A)[0] = word;
	assert_int_equal(shm_channel_recv(p->b, &m, 1), -EPROTO);
	expect_broken(p->b, why);
}

static uint64_t word_of(unsigned mark, unsigned kind, uint32_t len)
{
	return (uint64_t)mark << MARK_SHIFT | (uint64_t)kind << RING_KIND_SHIFT | len;
}

static void a_forged_mark(void **state)
{
	expect_bad_word(*state, word_of(2, RING_LINE1, 8), "mark");
}

static void a_forged_mark_while_arming(void **state)
{
	struct pair *p = *state;

	pair_marks(p, SHM_ROLE_A)[0] = word_of(0xffff, RING_LINE1, 8);
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), -EPROTO);
	expect_broken(p->b, "mark");
}

static void a_forged_kind(void **state)
{
	expect_bad_word(*state, word_of(1, RING_SKIP, 8), "kind");
}

static void a_line_that_is_too_long(void **state)
{
	expect_bad_word(*state, word_of(1, RING_LINE1, 65), "longer");
}

static void two_lines_that_are_too_long(void **state)
{
	expect_bad_word(*state, word_of(1, RING_LINE2, UINT32_MAX), "longer");
}

static void a_slot_that_there_is_not(void **state)
{
	struct pair *p = *state;

	*pair_ref(p, SHM_ROLE_A, 0) = (struct channel_slot_ref){.id = 7};
	expect_bad_word(p, word_of(1, RING_SLOT, 8), "slot that there is not");
}

static void a_length_beyond_the_slot(void **state)
{
	struct pair *p = *state;

	*pair_ref(p, SHM_ROLE_A, 0) = (struct channel_slot_ref){.id = 2, .offset = 8};
	expect_bad_word(p, word_of(1, RING_SLOT, 249), "beyond its slot");
}

static void an_offset_beyond_the_slot(void **state)
{
	struct pair *p = *state;

	*pair_ref(p, SHM_ROLE_A, 0) = (struct channel_slot_ref){.id = 6, .offset = UINT32_MAX};
	expect_bad_word(p, word_of(1, RING_SLOT, 1), "beyond its slot");
}

static void a_slot_that_is_still_held(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	for (uint32_t i = 0; i < 2; i++) {
		*pair_ref(p, SHM_ROLE_A, i) = (struct channel_slot_ref){.id = 6, .offset = i};
		pair_marks(p, SHM_ROLE_A)[i] = word_of(1, RING_SLOT, 1);
	}
	assert_int_equal(shm_channel_recv(p->b, &m, 1), 1);
	assert_int_equal(shm_channel_recv(p->b, &m, 1), -EPROTO);
	expect_broken(p->b, "not been given back");
}

/* A batch ends before what is wrong: what came before is good. */
static void what_came_before_is_received(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[4];

	pair_marks(p, SHM_ROLE_A)[0] = word_of(1, RING_LINE1, 8);
	pair_marks(p, SHM_ROLE_A)[1] = word_of(1, RING_CONTROL, 8);
	pair_marks(p, SHM_ROLE_A)[2] = word_of(1, 0, 8);
	assert_int_equal(shm_channel_recv(p->b, m, 4), 2);
	assert_int_equal(shm_channel_recv(p->b, m, 4), -EPROTO);
	expect_broken(p->b, "kind");
}

static void more_messages_than_there_are_places(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[2 * PAIR_ENTRIES];

	for (unsigned i = 0; i < PAIR_ENTRIES; i++)
		pair_marks(p, SHM_ROLE_A)[i] = word_of(1, RING_LINE1, 8);
	assert_int_equal(shm_channel_recv(p->b, m, PAIR_ENTRIES), PAIR_ENTRIES);
	pair_marks(p, SHM_ROLE_A)[0] = word_of(2, RING_LINE1, 8);
	assert_int_equal(shm_channel_recv(p->b, m, 1), -EPROTO);
	expect_broken(p->b, "not been released");
}

static void a_control_message_in_a_place_that_is_held(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[PAIR_ENTRIES];

	for (unsigned i = 0; i < PAIR_ENTRIES; i++)
		pair_marks(p, SHM_ROLE_A)[i] = word_of(1, RING_LINE1, 8);
	assert_int_equal(shm_channel_recv(p->b, m, PAIR_ENTRIES), PAIR_ENTRIES);
	pair_marks(p, SHM_ROLE_A)[0] = word_of(2, RING_CONTROL, 8);
	assert_int_equal(shm_channel_recv(p->b, m, 1), -EPROTO);
	expect_broken(p->b, "not been released");
}

static void an_index_that_goes_back_or_ahead(void **state)
{
	struct pair *p = *state;
	struct shm_msg m = {.data = p, .len = 8}, out[2];

	assert_int_equal(shm_channel_send(p->a, &m, 1), 1);
	assert_int_equal(shm_channel_send(p->a, &m, 1), 1);
	assert_int_equal(shm_channel_recv(p->b, out, 2), 2);
	assert_int_equal(shm_channel_release(p->b, out, 2), 0);
	assert_int_equal(shm_channel_notify(p->b), 0);
	assert_true(shm_channel_room(p->a) > 0);
	pair_ctl(p, SHM_ROLE_A)->cons = 1;
	assert_int_equal(shm_channel_room(p->a), 0);
	expect_broken(p->a, "gone back");
	pair_ctl(p, SHM_ROLE_B)->cons = 1; /* B has sent nothing */
	assert_int_equal(shm_channel_room(p->b), 0);
	expect_broken(p->b, "beyond");
}

static void send_slot(struct pair *p, struct shm_msg *m)
{
	assert_int_equal(shm_channel_alloc(p->a, m, 1, 1024), 1);
	m->len = 5;
	assert_int_equal(shm_channel_send(p->a, m, 1), 1);
}

static void a_return_of_a_slot_that_there_is_not(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	send_slot(p, &m);
	pair_returns(p, SHM_ROLE_A)[0] = (uint64_t)1 << MARK_SHIFT | 7;
	assert_int_equal(shm_channel_room(p->a), 0);
	expect_broken(p->a, "that there is not");
}

static void a_return_of_a_slot_that_was_not_sent(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	send_slot(p, &m);
	pair_returns(p, SHM_ROLE_A)[0] = (uint64_t)1 << MARK_SHIFT | (m.id == 3 ? 4 : 3);
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 1024), -EPROTO);
	expect_broken(p->a, "not sent");
}

static void a_return_with_another_generation(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	send_slot(p, &m);
	pair_returns(p, SHM_ROLE_A)[0] =
		(uint64_t)1 << MARK_SHIFT | (uint64_t)2 << RING_GEN_SHIFT | m.id;
	assert_int_equal(shm_channel_room(p->a), 0);
	expect_broken(p->a, "twice");
}

/* Also when the slot has been sent again in between. */
static void a_return_that_comes_twice(void **state)
{
	struct pair *p = *state;
	struct shm_msg others[3], m, out;

	assert_int_equal(shm_channel_alloc(p->a, others, 3, 1024), 3);
	send_slot(p, &m);
	assert_int_equal(shm_channel_recv(p->b, &out, 1), 1);
	assert_int_equal(shm_channel_release(p->b, &out, 1), 0);
	assert_true(shm_channel_room(p->a) > 0);
	send_slot(p, &m);
	assert_int_equal(m.id, out.id);
	pair_returns(p, SHM_ROLE_A)[1] =
		(uint64_t)1 << MARK_SHIFT | (uint64_t)out.gen << RING_GEN_SHIFT | out.id;
	assert_int_equal(shm_channel_room(p->a), 0);
	expect_broken(p->a, "twice");
}

static void a_returned_slots_forged_mark(void **state)
{
	pair_returns(*state, SHM_ROLE_A)[0] = (uint64_t)9 << MARK_SHIFT;
	assert_int_equal(shm_channel_room(((struct pair *)*state)->a), 0);
	expect_broken(((struct pair *)*state)->a, "mark");
}

/* A return of channel 2's slot, in channel 1, breaks channel 1. */
static void one_channel_breaks_alone(void **state)
{
	struct pair *p = *state, *q;
	void *other;
	struct shm_msg m, out;

	assert_int_equal(pair_setup(&other), 0);
	q = other;
	send_slot(q, &m);
	pair_returns(p, SHM_ROLE_A)[0] =
		(uint64_t)1 << MARK_SHIFT | (uint64_t)(m.gen + 1u) << RING_GEN_SHIFT | m.id;
	assert_int_equal(shm_channel_room(p->a), 0);
	expect_broken(p->a, "not sent");
	assert_int_equal(shm_channel_recv(q->b, &out, 1), 1);
	assert_int_equal(shm_channel_release(q->b, &out, 1), 0);
	assert_true(shm_channel_room(q->a) > 0);
	assert_int_equal(shm_channel_error(q->a) | shm_channel_error(q->b), 0);
	assert_int_equal(pair_teardown(&other), 0);
}

/* ---- noise --------------------------------------------------------------------------------- */

/* xorshift64*: the same noise each time. */
static uint64_t random64(uint64_t *x)
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return *x * 0x2545f4914f6cdd1dull;
}

struct noise {
	struct pair *p;
	uint64_t seed;
	bool stop;
};

/* Writes one random word somewhere that matters, near what is there or not. */
static void scribble(struct pair *p, uint64_t *seed)
{
	uint64_t r = random64(seed), from = p->desc.offset;
	const struct direction_layout *d = &p->l.dir[r & 1];
	uint64_t *word;

	switch (r >> 1 & 7) {
	case 0:
	case 1:
		word = pair_marks(p, r & 1) + (r >> 8) % PAIR_ENTRIES;
		break;
	case 2:
		word = pair_returns(p, r & 1) + ((r >> 8) & ((1u << d->ret_shift) - 1));
		break;
	case 3:
		word = (uint64_t *)pair_ref(p, r & 1, (r >> 8) % PAIR_ENTRIES);
		break;
	case 4:
		word = (uint64_t *)&pair_ctl(p, r & 1)->cons;
		break;
	default:
		word = (uint64_t *)(p->mem + from) + (r >> 8) % (p->desc.length / 8);
		break;
	}
	r = random64(seed);
	/* Small changes lie better than large ones. */
	__atomic_store_n(word,
			 r & 1	 ? *(volatile uint64_t *)word + (r >> 1 & 3) - 1
			 : r & 2 ? *(volatile uint64_t *)word ^ (uint64_t)1 << (r >> 2 & 63)
				 : random64(seed),
			 __ATOMIC_RELAXED);
}

static void *scribbler(void *arg)
{
	struct noise *n = arg;

	while (!__atomic_load_n(&n->stop, __ATOMIC_RELAXED))
		scribble(n->p, &n->seed);
	return NULL;
}

/* Every byte that a message names can be touched, and lies in the channel. */
static void touch(const struct pair *p, const struct shm_msg *m, uint32_t len, uint64_t *sum)
{
	const uint8_t *from = p->mem + p->desc.offset, *data = m->data;

	if (m->kind == SHM_MSG_CONTROL)
		return;
	if (data < from || len > p->desc.length || (uint64_t)(data - from) > p->desc.length - len)
		fail_msg("a message outside the channel");
	for (uint32_t i = 0; i < len; i++)
		*sum += ((const volatile uint8_t *)data)[i];
}

/* Some calls of an honest end. */
static void use(struct pair *p, struct shm_channel *ch, uint64_t *seed, uint64_t *sum)
{
	uint64_t r = random64(seed);
	struct shm_msg m[PAIR_ENTRIES];
	int n;

	switch (r % 6) {
	case 0:
		n = shm_channel_alloc(ch, m, 1 + (r >> 8) % 4, (uint32_t)(1 + (r >> 16) % 2000));
		for (int i = 0; i < n; i++) {
			touch(p, &m[i], m[i].room, sum);
			m[i].len = (uint32_t)(r >> 32) % (m[i].room + 1);
		}
		if (n > 0 && shm_channel_send(ch, m, (unsigned)n) != n)
			(void)shm_channel_cancel(ch, m, (unsigned)n);
		break;
	case 1:
		n = shm_channel_reserve(ch, m, 1 + (r >> 8) % 4, (uint32_t)(r >> 16) % 129);
		for (int i = 0; i < n; i++) {
			touch(p, &m[i], m[i].room, sum);
			m[i].len = m[i].room;
		}
		if (n > 0 && shm_channel_send(ch, m, (unsigned)n) < n)
			(void)shm_channel_cancel(ch, m, (unsigned)n);
		break;
	case 2:
		(void)shm_channel_control(ch, 1, 1);
		(void)shm_channel_notify(ch);
		break;
	case 3:
		if (shm_channel_arm(ch, SHM_WANT_DATA | SHM_WANT_ROOM, 1024) < 0)
			break;
		shm_channel_disarm(ch);
		*sum += shm_channel_room(ch);
		break;
	default:
		n = shm_channel_recv(ch, m, 1 + (r >> 8) % PAIR_ENTRIES);
		for (int i = 0; i < n; i++)
			touch(p, &m[i], m[i].len, sum);
		if (n > 0)
			(void)shm_channel_release(ch, m, (unsigned)n);
		(void)shm_channel_notify(ch);
	}
}

static void fresh(struct pair *p)
{
	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	p->desc.generation++;
	/* Under the scribbler's hands it may take more than one try. */
	for (;;) {
		int a, b;

		assert_int_equal(shm_channel_format(p->mem, p->size, &p->desc), 0);
		a = shm_channel_attach(&p->a, p->mem, p->size, &p->desc, SHM_ROLE_A, NULL);
		b = shm_channel_attach(&p->b, p->mem, p->size, &p->desc, SHM_ROLE_B, NULL);
		if (!a && !b)
			return;
		shm_channel_detach(p->a);
		shm_channel_detach(p->b);
	}
}

/* The channel between two pages that cannot be touched. */
static int fenced_setup(void **state)
{
	struct pair *p;
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len;
	uint8_t *map;

	assert_int_equal(pair_setup(state), 0);
	p = *state;
	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	free(p->mem);
	p->desc.offset = 0;
	p->size = (size_t)p->desc.length;
	len = (p->size + page - 1) & ~(page - 1);
	map = mmap(NULL, len + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	assert_int_equal(mprotect(map + page, len, PROT_READ | PROT_WRITE), 0);
	p->mem = map + page;
	pair_attach(p);
	return 0;
}

static int fenced_teardown(void **state)
{
	struct pair *p = *state;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	munmap(p->mem - page, ((p->size + page - 1) & ~(page - 1)) + 2 * page);
	free(p);
	return 0;
}

static void noise_between_calls(void **state)
{
	struct pair *p = *state;
	uint64_t seed = 1, sum = 0, broken = 0;

	for (unsigned k = 0; k < 400000; k++) {
		use(p, k & 1 ? p->a : p->b, &seed, &sum);
		if (k % 16 == 0)
			scribble(p, &seed);
		if (shm_channel_error(p->a) && shm_channel_error(p->b)) {
			broken++;
			fresh(p);
		}
	}
	print_message("%lu channels were broken\n", (unsigned long)broken);
	assert_true(broken > 100);
}

static void noise_during_calls(void **state)
{
	struct pair *p = *state;
	struct noise n = {.p = p, .seed = 2};
	uint64_t seed = 3, sum = 0, broken = 0, calls = 0;
	struct timespec begin, now;
	pthread_t t;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	assert_int_equal(pthread_create(&t, NULL, scribbler, &n), 0);
	do {
		for (unsigned k = 0; k < 256; k++, calls++)
			use(p, k & 1 ? p->a : p->b, &seed, &sum);
		if (shm_channel_error(p->a) && shm_channel_error(p->b)) {
			broken++;
			fresh(p);
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - begin.tv_sec < 2 ||
		 !broken); /* the scribbler may get no CPU for long */
	__atomic_store_n(&n.stop, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_join(t, NULL), 0);
	print_message("%lu calls, %lu channels were broken\n", (unsigned long)calls,
		      (unsigned long)broken);
	assert_true(broken > 0);
}

#define PAIR_TEST(f)   cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
#define FENCED_TEST(f) cmocka_unit_test_setup_teardown(f, fenced_setup, fenced_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(a_forged_mark),
		PAIR_TEST(a_forged_mark_while_arming),
		PAIR_TEST(a_forged_kind),
		PAIR_TEST(a_line_that_is_too_long),
		PAIR_TEST(two_lines_that_are_too_long),
		PAIR_TEST(a_slot_that_there_is_not),
		PAIR_TEST(a_length_beyond_the_slot),
		PAIR_TEST(an_offset_beyond_the_slot),
		PAIR_TEST(a_slot_that_is_still_held),
		PAIR_TEST(what_came_before_is_received),
		PAIR_TEST(more_messages_than_there_are_places),
		PAIR_TEST(a_control_message_in_a_place_that_is_held),
		PAIR_TEST(an_index_that_goes_back_or_ahead),
		PAIR_TEST(a_return_of_a_slot_that_there_is_not),
		PAIR_TEST(a_return_of_a_slot_that_was_not_sent),
		PAIR_TEST(a_return_with_another_generation),
		PAIR_TEST(a_return_that_comes_twice),
		PAIR_TEST(a_returned_slots_forged_mark),
		PAIR_TEST(one_channel_breaks_alone),
		FENCED_TEST(noise_between_calls),
		FENCED_TEST(noise_during_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
