/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile guest against the real backend, case by case, from the tables in cases_*.c. Every case
 * begins with a fresh session and a connection; afterwards: the verdict of its line, no other
 * counter of faults has moved, the bystander has made progress without an error, and the victim's
 * queue works again after a reconnect.
 */
#include "host_cases.h"

static struct raw R;

static bool broke(void *arg)
{
	return testbed_counter(CNT(ring_broken)) != *(uint64_t *)arg && !testbed_victim_up();
}

static void check_counters(const struct host_case *c, const struct zv_queue_stats *before,
			   bool broken)
{
	struct zv_queue_stats after = testbed_stats();

	if (c->counter && c->count == SOME && !counter_moved(before, &after, c->counter))
		fail_msg("not counted");
	if (c->count == ANY)
		return;
	for (unsigned i = 0; i < n_faults; i++) {
		uint64_t moved = counter_moved(before, &after, faults[i].off);
		uint64_t want = faults[i].off == c->counter ? (uint64_t)c->count : 0;

		if (broken &&
		    (faults[i].off == CNT(rx_bad_chain) || faults[i].off == CNT(ring_broken)))
			want = 1;
		if (moved != want && !(faults[i].off == c->counter && c->count == SOME))
			fail_msg("%s moved by %llu, not %llu", faults[i].name,
				 (unsigned long long)moved, (unsigned long long)want);
	}
	if (c->counter && c->count > 0 &&
	    counter_moved(before, &after, c->counter) != (uint64_t)c->count)
		fail_msg("counted %llu times",
			 (unsigned long long)counter_moved(before, &after, c->counter));
}

static void check_conn(const struct host_case *c)
{
	uint32_t mark = raw_mark(&R);

	if (c->conn == WHATEVER)
		return;
	assert_true(raw_pkt(&R, VSOCK_OP_CREDIT_REQUEST, NULL, 0));
	if (!raw_wait(&R, mark, c->conn == LIVES ? VSOCK_OP_CREDIT_UPDATE : VSOCK_OP_RST, R.sport,
		      R.dport))
		fail_msg("the connection %s", c->conn == LIVES ? "has died" : "is still there");
}

static void check_heard(const struct host_case *c, uint32_t mark)
{
	unsigned rst = raw_count(&R, mark, VSOCK_OP_RST, R.sport, R.dport);
	unsigned rw = raw_count(&R, mark, VSOCK_OP_RW, R.sport, R.dport);

	if (c->rst != ANY && rst != (unsigned)c->rst)
		fail_msg("%u RST heard, not %d", rst, c->rst);
	if (c->rw != ANY && rw != (unsigned)c->rw)
		fail_msg("%u data packets heard, not %d", rw, c->rw);
}

/* Only that session has ended: a new one works, and the bystander has gone on. */
static void recovers(const struct raw_layout *layout)
{
	const char *fault;

	raw_close(&R);
	assert_true(raw_open(&R, testbed_victim, VICTIM_CID, layout->flags));
	assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&R, "as good as new", 14));
	fault = testbed_bystander_fault();
	if (fault)
		fail_msg("%s", fault);
	raw_close(&R);
}

static void run_with(const struct host_case *c, const struct raw_layout *layout)
{
	unsigned port = c->port ? c->port : PORT_ECHO;
	bool seq = port == PORT_SEQ || port == PORT_SEQ_MUTE, broken;
	const char *lacks = testbed_lacks(c->needs | (layout->feature ? NEEDS_PACKED : 0));
	struct zv_queue_stats before;
	uint32_t mark;

	if (lacks) {
		print_message("left out: %s (%s)\n", c->name, lacks);
		skip();
	}
	raw_close(&R);
	assert_true(raw_open(&R, testbed_victim, VICTIM_CID, c->raw_flags | layout->flags));
	assert_true(testbed_wait_up(true));
	R.alive = testbed_victim_up;
	assert_true(raw_connect(&R, 0, port, seq ? VSOCK_TYPE_SEQPACKET : VSOCK_TYPE_STREAM));
	assert_true(raw_sync(&R) && raw_settle(&R));
	before = testbed_stats();
	mark = raw_mark(&R);
	(c->act ? c->act : offer_chain)(&R, c);
	if (c->ring == BROKEN)
		assert_true(testbed_until(broke, &before.ring_broken));
	broken = c->ring == BROKEN || (c->ring == EITHER && !testbed_victim_up());
	if (!broken && !raw_sync(&R)) {
		if (c->ring != EITHER)
			fail_msg("the queue is dead");
		broken = true;
	}
	if (!broken && c->rw > 0) /* the host's answer may still be on its way */
		(void)raw_wait(&R, mark, VSOCK_OP_RW, R.sport, R.dport);
	raw_pump(&R);
	check_counters(c, &before, broken);
	check_heard(c, mark);
	if (!broken)
		check_conn(c);
	assert_int_equal(R.bad_used, 0);
	recovers(layout);
}

static void run_split(void **state)
{
	run_with(*state, &raw_split);
}

static void run_packed(void **state)
{
	run_with(*state, &raw_packed);
}

/* What there is for all layouts. */
static void add(struct suite *s, const struct raw_layout *layout, CMUnitTestFunction run)
{
	SUITE_TABLE(s, run, layout->prefix, ring_cases, n_ring_cases);
	SUITE_TABLE(s, run, layout->prefix, race_cases, n_race_cases);
	SUITE_TABLE(s, run, layout->prefix, hdr_cases, n_hdr_cases);
	SUITE_TABLE(s, run, layout->prefix, conn_cases, n_conn_cases);
	SUITE_TABLE(s, run, layout->prefix, hello_cases, n_hello_cases);
	SUITE_TABLE(s, run, layout->prefix, dgram_cases, n_dgram_cases);
}

int main(int argc, char **argv)
{
	struct suite s = {0};

	raw_init(&R);
	testbed_program = argv[0];
	if (testbed_start(true))
		return 99;
	add(&s, &raw_split, run_split);
	SUITE_TABLE(&s, run_split, raw_split.prefix, split_cases, n_split_cases);
	SUITE_TABLE(&s, run_split, raw_split.prefix, split_race_cases, n_split_race_cases);
	add(&s, &raw_packed, run_packed);
	SUITE_TABLE(&s, run_packed, raw_packed.prefix, packed_cases, n_packed_cases);
	SUITE_TABLE(&s, run_packed, raw_packed.prefix, packed_race_cases, n_packed_race_cases);
	return suite_run(&s, "a hostile guest", argc, argv, NULL, testbed_group_end);
}
