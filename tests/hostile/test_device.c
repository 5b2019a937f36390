/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile device against our driver and socket layer, case by case, from the tables in
 * cases_dev*.c. Afterwards: the verdict of its line, no other counter of faults has moved, the
 * other pair of the same device goes on with checked data, and pair 0 works again after the
 * backend has been away.
 */
#include "dev_cases.h"

#include <errno.h>

static void check_counters(const struct dev_case *c, const struct zv_queue_stats *before)
{
	struct zv_queue_stats after = guest_stats(0);

	if (c->count == ANY)
		return;
	for (unsigned i = 0; i < n_faults; i++) {
		uint64_t moved = counter_moved(before, &after, faults[i].off);
		uint64_t want = faults[i].off == c->counter ? (uint64_t)c->count : 0;

		if (c->ring == BROKEN && faults[i].off == CNT(ring_broken))
			want = 1;
		if (moved != want)
			fail_msg("%s moved by %llu, not %llu", faults[i].name,
				 (unsigned long long)moved, (unsigned long long)want);
	}
}

/* Data still arrives on the connection, or it is dead. */
static void check_conn(const struct dev_case *c)
{
	char b[16];
	ssize_t n;

	if (c->conn == LIVES) {
		struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);

		while (zv_recv(G.c[0], b, sizeof(b), NULL) > 0) /* what the case has sent */
			;
		h.flags = VSOCK_SEQ_EOM;
		dev_send(&h, "good", 4, 0);
		gdev_pump();
		n = zv_recv(G.c[0], b, sizeof(b), NULL);
		if (n != 4 || memcmp(b, "good", 4) != 0)
			fail_msg("the connection has died");
	} else if (c->conn == DIES) {
		do
			n = zv_recv(G.c[0], b, sizeof(b), NULL);
		while (n > 0);
		if (n == -EAGAIN || n == -ENOTCONN)
			fail_msg("the connection still lives");
	}
}

static void neighbour_goes_on(void)
{
	static const char *const msg = "the other pair of the same device";
	char b[64];

	for (int i = 0; i < 20; i++) {
		assert_int_equal(zv_send(G.c[1], msg, 33, 0), 33);
		gdev_pump();
		assert_int_equal(zv_recv(G.c[1], b, sizeof(b), NULL), 33);
		assert_memory_equal(b, msg, 33);
	}
	assert_int_equal(guest_stats(1).ring_broken, 0);
}

static void recovers(void)
{
	struct dev_case good = {.conn = LIVES};

	G.silent = G.hello = false;
	gdev_hang_up();
	check_conn(&good);
	neighbour_goes_on();
}

static void run_with(const struct dev_case *c, const struct gdev_layout *layout)
{
	struct zv_queue_stats before;
	uint32_t mark;
	unsigned rst;
	char b[64];
	ssize_t n;

	G.layout = layout;
	G.silent = c->silent;
	G.hello = c->hello;
	gdev_session(c->seq ? ZV_SEQPACKET : ZV_STREAM);
	before = guest_stats(0);
	mark = G.nlog;
	c->act(c);
	gdev_pump();
	check_counters(c, &before);
	if (c->ring == BROKEN) {
		while ((n = zv_recv(G.c[0], b, sizeof(b), NULL)) > 0) /* came before */
			;
		assert_int_equal(n, -ECONNRESET);
	} else if (c->ring == ALIVE) {
		rst = dev_heard(mark, VSOCK_OP_RST, c->rst_port ? c->rst_port : G_PORT);
		if (c->rst != ANY && rst != (unsigned)c->rst)
			fail_msg("%u RST heard, not %d", rst, c->rst);
		check_conn(c);
	}
	if (c->conn != NEIGHBOUR_TOO)
		neighbour_goes_on();
	recovers();
}

static void run_split(void **state)
{
	run_with(*state, &gdev_split);
}

static void run_packed(void **state)
{
	run_with(*state, &gdev_packed);
}

static int group_start(void **state)
{
	(void)state;
	gdev_start();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	gdev_stop();
	return 0;
}

/* What there is for all layouts. */
static void add(struct suite *s, const struct gdev_layout *layout, CMUnitTestFunction run)
{
	SUITE_TABLE(s, run, layout->prefix, dev_ring_cases, n_dev_ring_cases);
	SUITE_TABLE(s, run, layout->prefix, dev_pkt_cases, n_dev_pkt_cases);
	SUITE_TABLE(s, run, layout->prefix, dev_mem_cases, n_dev_mem_cases);
}

int main(int argc, char **argv)
{
	struct suite s = {0};

	add(&s, &gdev_split, run_split);
	SUITE_TABLE(&s, run_split, gdev_split.prefix, dev_split_cases, n_dev_split_cases);
	add(&s, &gdev_packed, run_packed);
	SUITE_TABLE(&s, run_packed, gdev_packed.prefix, dev_packed_cases, n_dev_packed_cases);
	return suite_run(&s, "a hostile device", argc, argv, group_start, group_end);
}
