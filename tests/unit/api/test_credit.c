/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit through the public calls: no byte that the peer has room for waits for ever, in either
 * direction, and nobody is told more often than need be.
 */
#include "pair.h"

#include "socket.h"

enum way { COPIED, GATHERED, IN_PLACE };

static ssize_t send_by(enum way way, struct zv_conn *c, const uint8_t *data, size_t len)
{
	struct zv_buf b;
	int n;

	if (way == COPIED)
		return zv_send(c, data, len, 0);
	if (way == GATHERED) {
		ssize_t done = zv_send(c, data, (len + 1) / 2, ZV_MORE);

		if (done > 0) {
			ssize_t more = zv_send(c, data + done, len - (size_t)done, 0);

			done += more > 0 ? more : 0;
		}
		return done;
	}
	n = zv_buf_alloc(c, &b, 1, len);
	if (n < 0)
		return n;
	b.len = b.capacity < len ? b.capacity : (uint32_t)len;
	memcpy(b.data, data, b.len);
	n = zv_buf_send(c, &b, 1);
	return n < 0 ? n : (ssize_t)b.len;
}

/* The time between two questions is over. */
static void ask_again(struct zv_conn *c)
{
	assert_true(c->flags & CF_TIMER);
	assert_true(c->timer >= TIMER_CREDIT);
	conn_timer_stop(c);
	tx_credit_retry(c);
}

/*
 * Writes of @len bytes to a stock peer that reads nothing before its whole buffer is full. A guest
 * joins small packets, so nothing ever waits; a host joins none, so its answers are waited for.
 */
static void fill_late_reader(bool to_guest, enum way way, uint32_t len)
{
	uint8_t data[4096], got[4096];
	struct zv_conn *g, *h, *from, *to;
	unsigned asked = 0;
	uint32_t at = 0;
	ssize_t n;

	connect_pair(ZV_STREAM, 1000, &g, &h);
	from = to_guest ? h : g;
	to = to_guest ? g : h;
	for (uint32_t sent = 0; sent < 65536; sent += (uint32_t)n) {
		for (uint32_t i = 0; i < len; i++)
			data[i] = (uint8_t)((sent + i) * 7 / 3);
		while ((n = send_by(way, from, data, len)) == -EAGAIN) {
			assert_false(to_guest);
			assert_true(asked++ < 65536);
			pump();
			ask_again(from);
			pump();
		}
		assert_true(n > 0);
		pump();
	}
	assert_int_equal(send_by(way, from, data, len), -EAGAIN);
	while (at < 65536) {
		n = zv_recv(to, got, sizeof(got), NULL);
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++, at++)
			assert_int_equal(got[i], (uint8_t)(at * 7 / 3));
	}
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
}

static void test_a_late_reader_gets_all_of_its_buffer(void **state)
{
	static const uint32_t len[] = {1, 20, 200, 1000, 4096};

	(void)state;
	for (unsigned i = 0; i < sizeof(len) / sizeof(len[0]); i++)
		for (unsigned way = COPIED; way <= IN_PLACE; way++) {
			fill_late_reader(true, (enum way)way, len[i]);
			fill_late_reader(false, (enum way)way, len[i]);
		}
}

/* Only an answer lets the sender go on: not the clock alone, nor a peer that has read meanwhile. */
static void test_silence_is_no_answer(void **state)
{
	struct zv_conn *g, *h;
	char got[128];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while (zv_send(g, "x", 1, 0) == 1)
		pump();
	pump();
	ask_again(g); /* it has answered the first */
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	for (int i = 0; i < 20; i++) { /* the host is not there */
		ask_again(g);
		assert_int_equal(zv_send(g, "x", 1, 0), -EAGAIN);
	}
	pump();
	assert_true(zv_recv(h, got, 20, NULL) > 0);
	ask_again(g);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_late_reader_gets_all_of_its_buffer,
						pair_setup_plain, pair_teardown),
		cmocka_unit_test_setup_teardown(test_silence_is_no_answer, pair_setup_plain,
						pair_teardown),
	};

	return cmocka_run_group_tests_name("api: credit", tests, NULL, NULL);
}
