/* SPDX-License-Identifier: BSD-3-Clause */
/* channel: what arrives, in which order; slots and places; sleeping and waking; misuse by the
 * owner. */
#include "channel_int.h"
#include "channel_pair.h"
#include "shm_ring.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void send_text(struct shm_channel *ch, const char *text)
{
	struct shm_msg m = {.data = (void *)(uintptr_t)text, .len = (uint32_t)strlen(text)};

	assert_int_equal(shm_channel_send(ch, &m, 1), 1);
}

static void expect_text(struct shm_channel *ch, const char *text)
{
	struct shm_msg m;

	assert_int_equal(shm_channel_recv(ch, &m, 1), 1);
	assert_int_equal(m.len, strlen(text));
	assert_memory_equal(m.data, text, m.len);
	assert_int_equal(shm_channel_release(ch, &m, 1), 0);
}

static struct shm_channel_stats stats_of(const struct shm_channel *ch)
{
	struct shm_channel_stats st = {.size = sizeof(st)};

	assert_int_equal(shm_channel_get_stats(ch, &st), 0);
	return st;
}

static void messages_go_both_ways(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	assert_int_equal(shm_channel_recv(p->a, &m, 1), 0);
	assert_int_equal(shm_channel_pending(p->b), 0);
	send_text(p->a, "ping");
	assert_int_equal(shm_channel_pending(p->b), 1);
	expect_text(p->b, "ping");
	assert_int_equal(shm_channel_pending(p->b), 0);
	send_text(p->b, "pong");
	send_text(p->b, "");
	expect_text(p->a, "pong");
	expect_text(p->a, "");
	assert_int_equal(shm_channel_recv(p->a, &m, 1), 0);
	assert_int_equal(stats_of(p->a).sent, 1);
	assert_int_equal(stats_of(p->a).received, 2);
}

/* 64 bytes lie in one line and 128 in two, whole, also where the ring ends. */
static void inline_messages_lie_in_one_piece(void **state)
{
	struct pair *p = *state;
	uint8_t data[SHM_INLINE_MAX];
	struct shm_msg in = {.data = data}, out;

	for (unsigned round = 0; round < 200; round++) {
		in.len = round * 7 % (SHM_INLINE_MAX + 1);
		in.flags = round & 0xff;
		memset(data, (int)round, sizeof(data));
		assert_int_equal(shm_channel_send(p->a, &in, 1), 1);
		assert_int_equal(shm_channel_recv(p->b, &out, 1), 1);
		assert_int_equal(out.kind, SHM_MSG_LINE);
		assert_int_equal(out.flags, in.flags);
		assert_int_equal(out.len, in.len);
		assert_int_equal(out.room, in.len > 64 ? 128 : 64);
		assert_int_equal((uintptr_t)out.data % SHM_CACHE_LINE, 0);
		assert_memory_equal(out.data, data, in.len);
		assert_int_equal(shm_channel_release(p->b, &out, 1), 0);
	}
	in.len = SHM_INLINE_MAX + 1;
	assert_int_equal(shm_channel_send(p->a, &in, 1), -EINVAL);
	assert_int_equal(shm_channel_error(p->a), 0);
}

static void a_full_ring_takes_control_messages_only(void **state)
{
	struct pair *p = *state;
	struct shm_msg in = {.data = p, .len = 8}, out[PAIR_ENTRIES + 1];
	unsigned sent = 0, controls = 0;
	int n;

	while (shm_channel_send(p->a, &in, 1) == 1)
		sent++;
	assert_int_equal(shm_channel_send(p->a, &in, 1), 0);
	assert_int_equal(shm_channel_reserve(p->a, out, 1, 8), 0);
	while (shm_channel_control(p->a, 100 + controls, 0) == 1)
		controls++;
	assert_int_equal(sent + controls, PAIR_ENTRIES);
	assert_true(controls >= 2);
	n = shm_channel_recv(p->b, out, PAIR_ENTRIES + 1);
	assert_int_equal(n, PAIR_ENTRIES);
	for (unsigned i = 0; i < PAIR_ENTRIES; i++)
		assert_int_equal(out[i].kind, i < sent ? SHM_MSG_LINE : SHM_MSG_CONTROL);
	assert_int_equal(out[PAIR_ENTRIES - 1].len, 100 + controls - 1);
	assert_int_equal(shm_channel_send(p->a, &in, 1), 0); /* nothing has been released yet */
	assert_int_equal(shm_channel_release(p->b, out, PAIR_ENTRIES), 0);
	assert_int_equal(shm_channel_send(p->a, &in, 1), 1);
	assert_int_equal(shm_channel_error(p->a) | shm_channel_error(p->b), 0);
}

static void reserved_places_are_filled_where_they_are(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[4], other = {.data = p, .len = 1}, out[4];

	assert_int_equal(shm_channel_reserve(p->a, m, 4, SHM_INLINE_MAX + 1), -EINVAL);
	assert_int_equal(shm_channel_reserve(p->a, m, 2, 64), 2);
	assert_int_equal(shm_channel_reserve(p->a, m + 2, 2, 128), 2);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(m[i].room, i < 2 ? 64 : 128);
		memset(m[i].data, 'a' + i, m[i].room);
		m[i].len = m[i].room - (uint32_t)i;
	}
	assert_int_equal(shm_channel_send(p->a, &other, 1), -EBUSY);
	assert_int_equal(shm_channel_control(p->a, 0, 0), -EBUSY);
	assert_int_equal(shm_channel_send(p->a, &m[1], 1), -EBUSY); /* not its turn */
	assert_int_equal(shm_channel_cancel(p->a, &m[2], 1), -EINVAL);
	assert_int_equal(shm_channel_cancel(p->a, &m[3], 1), 0);
	assert_int_equal(shm_channel_send(p->a, m, 4), 3); /* without the cancelled one */
	assert_int_equal(shm_channel_send(p->a, &m[3], 1), -EINVAL);
	assert_int_equal(shm_channel_recv(p->b, out, 4), 3);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(out[i].data, m[i].data);
		assert_int_equal(out[i].len, m[i].len);
	}
	assert_int_equal(shm_channel_release(p->b, out, 3), 0);
	m[0].len = 65;
	m[0].id = m[0].gen = 0;
	assert_int_equal(shm_channel_send(p->a, m, 1), -EINVAL);
}

static void slots_come_from_the_class_that_fits(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[8], big;

	assert_int_equal(shm_channel_alloc(p->a, m, 1, 0), -EINVAL);
	/* Three of 256; then larger ones, but half of those are left for larger messages. */
	assert_int_equal(shm_channel_alloc(p->a, m, 8, 100), 5);
	for (int i = 0; i < 5; i++)
		assert_int_equal(m[i].room, i < 3 ? 256 : 1024);
	assert_int_equal(shm_channel_alloc(p->a, &big, 1, 5000), 1);
	assert_int_equal(big.room, 1024);
	for (int i = 0; i < 5; i++)
		for (int k = 0; k < i; k++)
			assert_true((uint8_t *)m[i].data >= (uint8_t *)m[k].data + m[k].room ||
				    (uint8_t *)m[k].data >= (uint8_t *)m[i].data + m[i].room);
	assert_int_equal(shm_channel_cancel(p->a, m, 5), 0);
	assert_int_equal(shm_channel_cancel(p->a, m, 1), -EINVAL);
	assert_int_equal(shm_channel_cancel(p->a, &big, 1), 0);
	assert_int_equal(shm_channel_alloc(p->a, m, 8, 256), 5);
}

static void slots_come_back_in_any_order(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[4], out[4], again[4];

	for (unsigned round = 0; round < 100; round++) {
		assert_int_equal(shm_channel_alloc(p->a, m, 4, 1024), 4);
		for (unsigned i = 0; i < 4; i++) {
			memset(m[i].data, (int)(round + i), 1024);
			m[i].len = 1024 - i;
		}
		assert_int_equal(shm_channel_send(p->a, m, 4), 4);
		assert_int_equal(shm_channel_alloc(p->a, again, 1, 1024), 0);
		assert_int_equal(stats_of(p->a).slots_out, 4);
		assert_int_equal(shm_channel_recv(p->b, out, 4), 4);
		for (unsigned i = 0; i < 4; i++) {
			assert_int_equal(out[i].kind, SHM_MSG_SLOT);
			assert_int_equal(out[i].len, 1024 - i);
			assert_int_equal(((uint8_t *)out[i].data)[out[i].len - 1],
					 (uint8_t)(round + i));
		}
		/* The last one first; the oldest stays out until the others are used again. */
		assert_int_equal(shm_channel_release(p->b, &out[3], 1), 0);
		assert_int_equal(shm_channel_release(p->b, &out[1], 2), 0);
		assert_int_equal(shm_channel_release(p->b, &out[1], 1), -EINVAL);
		assert_int_equal(shm_channel_alloc(p->a, again, 4, 1024), 3);
		assert_int_equal(shm_channel_cancel(p->a, again, 3), 0);
		assert_int_equal(shm_channel_release(p->b, &out[0], 1), 0);
		assert_int_equal(shm_channel_notify(p->b), 0);
	}
	assert_int_equal(shm_channel_error(p->a) | shm_channel_error(p->b), 0);
}

static void a_payload_may_begin_inside_its_slot(void **state)
{
	struct pair *p = *state;
	struct shm_msg m, out;

	assert_int_equal(shm_channel_alloc(p->a, &m, 1, 1024), 1);
	memcpy((uint8_t *)m.data + 44, "payload", 7);
	m.data = (uint8_t *)m.data + 44;
	m.len = 1024 - 43;
	assert_int_equal(shm_channel_send(p->a, &m, 1), -EINVAL);
	m.len = 7;
	assert_int_equal(shm_channel_send(p->a, &m, 1), 1);
	assert_int_equal(shm_channel_send(p->a, &m, 1), -EINVAL); /* it is not ours any more */
	assert_int_equal(shm_channel_cancel(p->a, &m, 1), -EINVAL);
	assert_int_equal(shm_channel_recv(p->b, &out, 1), 1);
	assert_int_equal(out.len, 7);
	assert_memory_equal(out.data, "payload", 7);
	m.data = (uint8_t *)m.data - 1000;
	m.id = 1000;
	assert_int_equal(shm_channel_send(p->a, &m, 1), -EINVAL);
}

/* What is held in the ring keeps the places behind it, and all come back once it is released. */
static void lines_are_released_in_any_order(void **state)
{
	struct pair *p = *state;
	struct shm_msg in = {.data = p, .len = 16}, out[PAIR_ENTRIES];
	unsigned n = 0;

	while (shm_channel_send(p->a, &in, 1) == 1)
		n++;
	assert_int_equal(shm_channel_recv(p->b, out, PAIR_ENTRIES), n);
	assert_int_equal(shm_channel_release(p->b, out + 1, n - 1), 0);
	assert_int_equal(shm_channel_notify(p->b), 0);
	assert_int_equal(shm_channel_send(p->a, &in, 1), 0);
	assert_int_equal(shm_channel_release(p->b, out + 1, 1), -EINVAL);
	assert_int_equal(shm_channel_release(p->b, out, 1), 0);
	assert_int_equal(shm_channel_release(p->b, out, 1), -EINVAL);
	assert_int_equal(shm_channel_notify(p->b), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(shm_channel_send(p->a, &in, 1), 1);
	assert_int_equal(shm_channel_recv(p->b, out, PAIR_ENTRIES), n);
}

static void room_says_how_many_bytes_can_be_sent(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[7];
	/* All slots, and the places of the ring that are left, of 64 bytes each. */
	uint64_t all = shm_channel_room(p->a);

	assert_true(all >= 3 * 256 + 4 * 1024 + 64);
	assert_int_equal(shm_channel_alloc(p->a, m, 4, 1024), 4);
	assert_int_equal(shm_channel_room(p->a), all - 4 * 1024 + 4 * 64);
	assert_int_equal(shm_channel_cancel(p->a, m, 4), 0);
	assert_int_equal(shm_channel_room(p->a), all);
}

/* One look at the bells for a burst, and a wake-up only for who sleeps and for what it wants. */
static void the_sleeper_is_woken_for_what_it_wants(void **state)
{
	struct pair *p = *state;
	struct shm_msg m;

	send_text(p->a, "awake");
	assert_int_equal(shm_channel_notify(p->a), 0);
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), 1); /* there is something */
	shm_channel_disarm(p->b);
	expect_text(p->b, "awake");
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), 0);
	assert_int_equal(shm_channel_notify(p->a), 0); /* nothing was done since */
	send_text(p->a, "one");
	assert_int_equal(shm_channel_notify(p->a), 1);
	send_text(p->a, "two");
	assert_int_equal(shm_channel_notify(p->a), 0); /* one wake-up for a sleep */
	assert_int_equal(p->wakes_b, 1);
	shm_channel_disarm(p->b);
	expect_text(p->b, "one");
	expect_text(p->b, "two");
	assert_int_equal(stats_of(p->a).wakes, 1);

	/* B sleeps for data only: what A releases does not wake it. */
	send_text(p->b, "x");
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), 0);
	assert_int_equal(shm_channel_recv(p->a, &m, 1), 1);
	assert_int_equal(shm_channel_release(p->a, &m, 1), 0);
	assert_int_equal(shm_channel_notify(p->a), 0);
	shm_channel_disarm(p->b);
	assert_int_equal(p->wakes_b, 1);
}

static void a_full_channel_is_armed_for_room(void **state)
{
	struct pair *p = *state;
	struct shm_msg m[4], in = {.data = p, .len = 8}, out[PAIR_ENTRIES];
	unsigned n = 0;
	int got;

	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 1024), 1);
	shm_channel_disarm(p->a);
	assert_int_equal(shm_channel_alloc(p->a, m, 4, 1024), 4);
	assert_int_equal(shm_channel_send(p->a, m, 4), 4);
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 8), 1);
	shm_channel_disarm(p->a);
	while (shm_channel_send(p->a, &in, 1) == 1)
		n++;
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 8), 0);
	got = shm_channel_recv(p->b, out, PAIR_ENTRIES);
	assert_int_equal(got, n + 4);
	assert_int_equal(shm_channel_notify(p->b), 1); /* the places of four slots are free */
	assert_int_equal(p->wakes_a, 1);
	shm_channel_disarm(p->a);
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 8), 1);
	shm_channel_disarm(p->a);
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 1024), 0);
	assert_int_equal(shm_channel_release(p->b, &out[2], 1), 0);
	assert_int_equal(shm_channel_notify(p->b), 1);
	shm_channel_disarm(p->a);
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 1024), 1);
	shm_channel_disarm(p->a);
}

/* Who goes to sleep after a release, without shm_channel_notify(), has said what was released. */
static void arming_ends_a_burst(void **state)
{
	struct pair *p = *state;
	struct shm_msg in = {.data = p, .len = 8}, out[PAIR_ENTRIES];

	while (shm_channel_send(p->a, &in, 1) == 1)
		;
	assert_int_equal(shm_channel_arm(p->a, SHM_WANT_ROOM, 8), 0);
	assert_true(shm_channel_recv(p->b, out, 3) == 3);
	assert_int_equal(shm_channel_release(p->b, out, 3), 0);
	assert_true(shm_channel_recv(p->b, out, PAIR_ENTRIES) > 0);
	assert_int_equal(p->wakes_a, 0);
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), 0);
	assert_int_equal(p->wakes_a, 1);
	shm_channel_disarm(p->b);
	shm_channel_disarm(p->a);
	assert_int_equal(shm_channel_send(p->a, &in, 1), 1);
}

static void an_eventfd_wakes_too(void **state)
{
	struct pair *p = *state;
	struct shm_channel_opts o = {.size = sizeof(o), .wake_fd = eventfd(0, EFD_NONBLOCK)};
	int pipes[2];
	uint64_t n;

	shm_channel_detach(p->a);
	assert_int_equal(pipe(pipes), 0);
	o.size = 4;
	assert_int_equal(shm_channel_attach(&p->a, p->mem, p->size, &p->desc, SHM_ROLE_A, &o),
			 -EINVAL);
	o.size = sizeof(o);
	assert_int_equal(shm_channel_attach(&p->a, p->mem, p->size, &p->desc, SHM_ROLE_A, &o), 0);
	assert_int_equal(shm_channel_arm(p->b, SHM_WANT_DATA, 0), 0);
	send_text(p->a, "x");
	assert_int_equal(shm_channel_notify(p->a), 1);
	assert_int_equal(read(o.wake_fd, &n, sizeof(n)), sizeof(n));
	close(o.wake_fd);
	shm_channel_detach(p->a);
	o.wake_fd = pipes[0];
	assert_int_equal(shm_channel_attach(&p->a, p->mem, p->size, &p->desc, SHM_ROLE_A, &o),
			 -EINVAL);
	assert_null(p->a);
	close(pipes[0]);
	close(pipes[1]);
}

/* More than 2^16 laps, some of which skip places that others use. */
static void marks_wrap(void **state)
{
	struct pair *p = *state;
	uint64_t data = 0;
	struct shm_msg in = {.data = &data}, out[3];

	for (uint32_t k = 0; k < 65536u * PAIR_ENTRIES / 3 + 100; k++) {
		data = k;
		in.data = k % 3 ? (uint8_t *)&data : p->mem;
		in.len = k % 3 ? 8 : SHM_INLINE_MAX;
		for (unsigned i = 0; i < 3; i++)
			if (shm_channel_send(p->a, &in, 1) != 1)
				fail();
		if (shm_channel_recv(p->b, out, 3) != 3 || shm_channel_recv(p->b, out, 1) ||
		    shm_channel_release(p->b, out, 3) || (k % 3 && memcmp(out[2].data, &data, 8)))
			fail();
		shm_channel_notify(p->b);
	}
	assert_int_equal(shm_channel_error(p->a) | shm_channel_error(p->b), 0);
}

/* As if 2^32 places, and slots, had almost been used. */
static void positions_wrap(void **state)
{
	struct pair *p = *state;
	const uint32_t start = UINT32_MAX - 2 * PAIR_ENTRIES + 1;
	struct channel_tx *tx = &p->a->tx;
	struct channel_rx *rx = &p->b->rx;
	struct shm_msg m[3], text = {.data = (void *)"12345678", .len = 8}, out[4];

	tx->pos = tx->cons = rx->pos = rx->head = rx->published = start;
	pair_ctl(p, SHM_ROLE_A)->cons = start;
	tx->ret_pos = rx->ret_pos = start;
	for (uint32_t i = 0; i < PAIR_ENTRIES; i++)
		pair_marks(p, SHM_ROLE_A)[i] =
			(uint64_t)mark_of(start - PAIR_ENTRIES + i, tx->shift) << MARK_SHIFT;
	for (uint32_t i = 0; i < 1u << tx->ret_shift; i++)
		pair_returns(p, SHM_ROLE_A)[i] =
			(uint64_t)mark_of(start - (1u << tx->ret_shift) + i, tx->ret_shift)
			<< MARK_SHIFT;
	for (unsigned k = 0; k < 5 * PAIR_ENTRIES; k++) {
		assert_int_equal(shm_channel_alloc(p->a, m, 3, 200), 3);
		assert_int_equal(shm_channel_send(p->a, m, 3), 3);
		assert_int_equal(shm_channel_send(p->a, &text, 1), 1);
		assert_int_equal(shm_channel_recv(p->b, out, 4), 4);
		assert_memory_equal(out[3].data, "12345678", 8);
		assert_int_equal(shm_channel_release(p->b, out, 4), 0);
		shm_channel_notify(p->b);
	}
	assert_true(tx->pos < start && rx->ret_pos < start);
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PAIR_TEST(messages_go_both_ways),
		PAIR_TEST(inline_messages_lie_in_one_piece),
		PAIR_TEST(a_full_ring_takes_control_messages_only),
		PAIR_TEST(reserved_places_are_filled_where_they_are),
		PAIR_TEST(slots_come_from_the_class_that_fits),
		PAIR_TEST(slots_come_back_in_any_order),
		PAIR_TEST(a_payload_may_begin_inside_its_slot),
		PAIR_TEST(lines_are_released_in_any_order),
		PAIR_TEST(room_says_how_many_bytes_can_be_sent),
		PAIR_TEST(the_sleeper_is_woken_for_what_it_wants),
		PAIR_TEST(a_full_channel_is_armed_for_room),
		PAIR_TEST(arming_ends_a_burst),
		PAIR_TEST(an_eventfd_wakes_too),
		PAIR_TEST(marks_wrap),
		PAIR_TEST(positions_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
