/* SPDX-License-Identifier: BSD-3-Clause */
#include "session.h"

#include "frontend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define RECONNECTS 200u
#define KILLS	   5u
#else
#define RECONNECTS 500u
#define KILLS	   20u
#endif

static struct raw A, B;

void session_quiet(struct raw *r)
{
	raw_close(r);
	raw_close(&A);
	raw_close(&B);
	assert_true(testbed_wait_up(false));
}

void session_recovers(struct raw *r)
{
	const char *fault;

	raw_close(r);
	assert_true(raw_open(r, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(r, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(r, "as good as new", 14));
	fault = testbed_bystander_fault();
	if (fault)
		fail_msg("%s", fault);
	session_quiet(r);
}

static void serve_a(void)
{
	assert_true(raw_open(&A, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&A, "first", 5));
}

/* The second is hung up on when it speaks, 100 times, and the first does not notice. */
static void two_frontends_on_one_socket(void **state)
{
	unsigned fds;

	(void)state;
	session_quiet(&B);
	serve_a();
	fds = testbed_fds();
	for (int i = 0; i < 100; i++) {
		assert_true(raw_dial(&B, testbed_victim, VICTIM_CID, 0));
		assert_true(raw_send(&B, REQ_GET_FEATURES, NULL, 0, -1));
		assert_true(raw_hung_up(&B));
		raw_close(&B);
		assert_true(raw_echo(&A, "first", 5));
	}
	assert_true(testbed_fds_back(fds + 2));
	session_recovers(&A);
}

static void a_frontend_reconnects_many_times(void **state)
{
	struct testbed_counts before;
	uint64_t heap = 0;

	(void)state;
	session_recovers(&A);
	before = testbed_count();
	printf("%u reconnects\n", RECONNECTS);
	for (unsigned i = 0; i < RECONNECTS; i++) {
		serve_a();
		raw_close(&A);
		if (i == 20)
			heap = testbed_heap();
	}
	session_quiet(&A);
	assert_null(testbed_left_over(&before));
	assert_in_range(testbed_heap(), 0, heap + (1u << 20));
	session_recovers(&A);
}

/* Neither its own data path nor its neighbour's. Set-up of others:
 * tests/unit/host/test_vu_server.c. */
static void a_stalled_message_does_not_stall_the_data_path(void **state)
{
	static const uint32_t half[3] = {REQ_SET_FEATURES, 1, 8};
	const char *fault;

	(void)state;
	serve_a();
	assert_int_equal(send(A.sock, half, sizeof(half), MSG_NOSIGNAL), sizeof(half));
	for (int i = 0; i < 200; i++)
		assert_true(raw_echo(&A, "on its way", 10));
	fault = testbed_bystander_fault();
	if (fault)
		fail_msg("%s", fault);
	session_recovers(&A);
}

/* ---- loans when the frontend goes ---- */

static bool has_loans(void *arg)
{
	raw_pump(arg);
	return testbed_loans() > 0;
}

static void lend(struct raw *r)
{
	uint8_t b[500];

	memset(b, 0x33, sizeof(b));
	assert_true(raw_open(r, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(r, 0, PORT_HOLD, VSOCK_TYPE_STREAM));
	for (int i = 0; i < 8; i++)
		assert_true(raw_pkt(r, VSOCK_OP_RW, b, sizeof(b)));
	assert_true(raw_sync(r));
	assert_true(testbed_until(has_loans, r));
	assert_in_range(testbed_reserve(), 1, 64);
}

static void compare_late(uint8_t *mem, size_t size)
{
	uint8_t *copy = malloc(size);

	assert_non_null(copy);
	memcpy(copy, mem, size);
	(void)testbed_touch_loans();
	(void)testbed_touch_loans(); /* what was written is there: the memory is still ours */
	assert_true(memcmp(copy, mem, size) == 0);
	free(copy);
}

static void loans_outlive_a_disconnect(void **state)
{
	uint8_t *mem;
	int fd;

	(void)state;
	session_quiet(&A);
	lend(&A);
	fd = dup(A.memfd);
	mem = mmap(NULL, RAW_D_OFF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mem != MAP_FAILED);
	raw_close(&A);
	assert_true(testbed_wait_up(false));
	compare_late(mem, RAW_D_OFF);
	munmap(mem, RAW_D_OFF);
	close(fd);
	session_recovers(&A);
	testbed_release();
}

static void loans_outlive_get_vring_base(void **state)
{
	(void)state;
	session_quiet(&A);
	lend(&A);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t s[2] = {i, 0};

		assert_int_equal(raw_query(&A, REQ_GET_VRING_BASE, s, 8, -1, s, 8, NULL), 8);
	}
	compare_late(A.mem, RAW_D_OFF);
	testbed_release();
	compare_late(A.mem, RAW_D_OFF);
	assert_true(raw_start(&A));
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&A, "again", 5));
	session_recovers(&A);
}

static void loans_outlive_a_new_memory_table(void **state)
{
	static const struct raw_region reg[] = {{RAW_A, RAW_A_SIZE, RAW_UVA, 0}};

	(void)state;
	session_quiet(&A);
	lend(&A);
	assert_int_equal(raw_mem_table(&A, reg, 1), 0);
	(void)testbed_touch_loans();
	testbed_release();
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&A, "in the new map", 14));
	session_recovers(&A);
}

/* ---- kill -9 ---- */

static bool lent(void *arg)
{
	(void)arg;
	return testbed_loans() >= 8;
}

static void kill_one(void)
{
	size_t size = 0;
	uint8_t *mem;
	pid_t pid;

	session_quiet(&A);
	pid = frontend_spawn(testbed_victim);
	assert_true(pid > 0);
	assert_true(testbed_until(lent, NULL));
	assert_in_range(testbed_reserve(), 1, 64);
	mem = frontend_memory(pid, &size);
	assert_non_null(mem);
	assert_true(frontend_kill(pid));
	assert_true(testbed_wait_up(false));
	compare_late(mem, size);
	munmap(mem, size);
}

static void a_frontend_is_killed_in_the_middle_of_a_transfer(void **state)
{
	struct testbed_counts before;

	(void)state;
	session_recovers(&A);
	before = testbed_count();
	printf("%u frontends killed\n", KILLS);
	for (unsigned i = 0; i < KILLS; i++) {
		kill_one();
		session_recovers(&A);
		testbed_release();
	}
	assert_null(testbed_left_over(&before));
}

/* ---- the event ring of a guest that was running before ---- */

static void setup_ring(unsigned i)
{
	uint64_t no = i;

	assert_int_equal(raw_state(&A, REQ_SET_VRING_NUM, i, RAW_N), 0);
	assert_int_equal(raw_addr(&A, i), 0);
	assert_int_equal(raw_ask(&A, REQ_SET_VRING_CALL, &no, 8, &A.ring[i].call, 1), 0);
	assert_int_equal(raw_ask(&A, REQ_SET_VRING_KICK, &no, 8, &A.ring[i].kick, 1), 0);
	assert_int_equal(raw_state(&A, REQ_SET_VRING_ENABLE, i, 1), 0);
}

/* What the driver has in its event ring when the host says that it has forgotten the session. */
struct event_case {
	struct vring_desc d; /* descriptor 0 */
	uint16_t head, avail;
	bool sent;   /* TRANSPORT_RESET arrives */
	bool broken; /* counted as a fault of the ring */
};

static void event_ring(void **state)
{
	const struct event_case *c = *state;
	struct raw_ring *g = &A.ring[RAW_EVT];
	uint64_t broken;

	session_quiet(&A);
	serve_a();
	g->desc[0] = c->d;
	g->avail->ring[0] = c->head;
	g->avail->idx = c->avail;
	memset(raw_at(&A, RAW_SCRATCH), 0xff, 8);
	setup_ring(RAW_EVT);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t s[2] = {i, 0};

		assert_int_equal(raw_query(&A, REQ_GET_VRING_BASE, s, 8, -1, s, 8, NULL), 8);
	}
	/* The same rings go on where they were: the host must say that it has forgotten. */
	raw_pump(&A);
	broken = testbed_stats().ring_broken;
	setup_ring(RAW_RX);
	setup_ring(RAW_TX);
	assert_int_equal(g->used->idx, c->sent);
	assert_int_equal(testbed_stats().ring_broken, broken + c->broken);
	assert_int_equal(*(uint32_t *)raw_at(&A, RAW_SCRATCH), c->sent ? 0 : UINT32_MAX);
	assert_true(testbed_wait_up(true));
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&A, "after the reset", 15));
	session_recovers(&A);
}

#define BUFFER(l, f) .d = {.addr = RAW_A + RAW_SCRATCH, .len = (l), .flags = (f)}
#define WR	     VRING_DESC_F_WRITE
#define EVENT(name, ...)                                                                           \
	{                                                                                          \
		name, event_ring, NULL, NULL, &(struct event_case)                                 \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

const struct CMUnitTest session_tests[] = {
	cmocka_unit_test(two_frontends_on_one_socket),
	cmocka_unit_test(a_frontend_reconnects_many_times),
	cmocka_unit_test(a_stalled_message_does_not_stall_the_data_path),
	cmocka_unit_test(loans_outlive_a_disconnect),
	cmocka_unit_test(loans_outlive_get_vring_base),
	cmocka_unit_test(loans_outlive_a_new_memory_table),
	cmocka_unit_test(a_frontend_is_killed_in_the_middle_of_a_transfer),
	EVENT("event ring: a good buffer", BUFFER(8, WR), .avail = 1, .sent = true),
	EVENT("event ring: no buffer", .avail = 0),
	EVENT("event ring: buffer in a hole", .d = {.addr = RAW_HOLE, .len = 8, .flags = WR},
	      .avail = 1, .broken = true),
	EVENT("event ring: readable buffer", BUFFER(8, 0), .avail = 1, .broken = true),
	EVENT("event ring: buffer of 3 bytes", BUFFER(3, WR), .avail = 1),
	EVENT("event ring: head beyond the table", .head = RAW_N, .avail = 1, .broken = true),
	EVENT("event ring: avail index jumps", .avail = RAW_N + 1, .broken = true),
	EVENT("event ring: descriptor that is its own next", BUFFER(1, WR | VRING_DESC_F_NEXT),
	      .avail = 1),
};
const unsigned n_session_tests = sizeof(session_tests) / sizeof(session_tests[0]);
