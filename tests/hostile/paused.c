/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings that are stopped and started again under a driver that lives on. As they were: connections
 * go on. Otherwise each of them is reset, at the guest by a RST.
 */
#include "session.h"
#include "suite.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONNS	  80u	      /* more than RSTs for stray packets may wait */
#define ELSEWHERE RAW_SCRATCH /* where a ring moves to */

static struct raw A;
static uint32_t base[2], ports[CONNS];

struct paused {
	const char *name;
	void (*meanwhile)(void);
	bool goes_on;
	bool quiet; /* the driver has begun anew: it holds no connections */
};

/* ---- what happens between stop and start ---- */

static const struct raw_region whole[] = {
	{RAW_A, RAW_A_SIZE, RAW_UVA, 0},
	{RAW_B, RAW_B_SIZE, RAW_UVA + RAW_B_OFF, RAW_B_OFF},
	{RAW_C, RAW_C_SIZE, RAW_UVA + RAW_C_OFF, RAW_C_OFF},
};

static void nothing(void)
{
}

static void same_table(void)
{
	assert_int_equal(raw_mem_table(&A, whole, 3), 0);
}

static void more_memory(void)
{
	assert_int_equal(raw_mem_table(&A, whole, 2), 0);
	assert_int_equal(raw_mem_table(&A, whole, 3), 0);
}

static void same_features(void)
{
	uint64_t f = RAW_FEATURES;

	assert_int_equal(raw_ask(&A, REQ_SET_FEATURES, &f, 8, NULL, 0), 0);
}

static void other_features(void)
{
	uint64_t f = RAW_FEATURES & ~(1ull << 28);

	assert_int_equal(raw_ask(&A, REQ_SET_FEATURES, &f, 8, NULL, 0), 0);
}

static void other_base(void)
{
	base[RAW_RX]++;
}

static void base_of_zero(void)
{
	base[RAW_RX] = base[RAW_TX] = 0;
}

/* The guest's view of the memory is at @mem from now on. */
static void move_view(uint8_t *mem)
{
	for (unsigned i = 0; i < RAW_RINGS; i++) {
		struct raw_ring *g = &A.ring[i];

		g->desc = (void *)(mem + ((uint8_t *)g->desc - A.mem));
		g->avail = (void *)(mem + ((uint8_t *)g->avail - A.mem));
		g->used = (void *)(mem + ((uint8_t *)g->used - A.mem));
	}
	munmap(A.mem, RAW_D_OFF);
	A.mem = mem;
}

static void other_file(void)
{
	int fd = memfd_create("zvsock-moved", MFD_CLOEXEC);
	uint8_t *mem;

	assert_true(fd >= 0 && ftruncate(fd, (off_t)RAW_D_OFF) == 0);
	mem = mmap(NULL, RAW_D_OFF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mem != MAP_FAILED);
	memcpy(mem, A.mem, RAW_D_OFF);
	close(A.memfd);
	A.memfd = fd;
	move_view(mem);
	assert_int_equal(raw_mem_table(&A, whole, 3), 0);
}

static void other_address(void)
{
	struct raw_ring *g = &A.ring[RAW_TX];
	uint8_t *to = raw_at(&A, ELSEWHERE);

	memcpy(to, g->desc, 16 * RAW_N);
	g->desc = (void *)to;
}

static void begun_anew(void)
{
	raw_rings_reset(&A);
	base[RAW_RX] = base[RAW_TX] = 0;
}

/* The driver is another one, and the frontend does not say so. */
static void begun_anew_secretly(void)
{
	raw_rings_reset(&A);
}

/* ---- stop and start ---- */

/* What has arrived is looked at after start(): a driver that posts buffers meanwhile does not go on
 * with these rings, and the device sees that after 200 ms. */
static void stop(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t s[2] = {i, 0};

		assert_int_equal(raw_query(&A, REQ_GET_VRING_BASE, s, 8, -1, s, 8, NULL), 8);
		base[i] = s[1];
	}
}

static void start(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t no = i;

		assert_int_equal(raw_state(&A, REQ_SET_VRING_NUM, i, RAW_N), 0);
		assert_int_equal(raw_state(&A, REQ_SET_VRING_BASE, i, base[i]), 0);
		assert_int_equal(raw_addr(&A, i), 0);
		assert_int_equal(raw_ask(&A, REQ_SET_VRING_CALL, &no, 8, &A.ring[i].call, 1), 0);
		assert_int_equal(raw_ask(&A, REQ_SET_VRING_KICK, &no, 8, &A.ring[i].kick, 1), 0);
		assert_int_equal(raw_state(&A, REQ_SET_VRING_ENABLE, i, 1), 0);
	}
}

static void choose(unsigned i)
{
	A.sport = ports[i];
	A.dport = PORT_ECHO;
	A.type = VSOCK_TYPE_STREAM;
}

static void stopped_and_started(void **state)
{
	const struct paused *c = *state;
	uint64_t sessions;
	uint32_t mark;

	session_quiet(&A);
	assert_true(raw_open(&A, testbed_victim, VICTIM_CID, 0));
	for (unsigned i = 0; i < CONNS; i++) {
		assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
		ports[i] = A.sport;
		assert_true(raw_echo(&A, "before", 6));
	}
	assert_true(raw_sync(&A));
	sessions = testbed_stats().sessions;
	stop();
	mark = raw_mark(&A);
	usleep(300000); /* the device looks whether the rings are as they were */
	c->meanwhile();
	start();
	assert_true(testbed_wait_up(true));
	assert_int_equal(testbed_stats().sessions, sessions + !c->goes_on);
	for (unsigned i = 0; i < CONNS && !c->quiet; i++) {
		choose(i);
		if (c->goes_on)
			assert_true(raw_echo(&A, "after", 5));
		else
			assert_non_null(raw_wait(&A, mark, VSOCK_OP_RST, A.sport, A.dport));
	}
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(&A, "another", 7));
	for (unsigned i = 0; i < CONNS && (c->goes_on || c->quiet); i++)
		assert_int_equal(raw_count(&A, mark, VSOCK_OP_RST, ports[i], PORT_ECHO), 0);
	assert_int_equal(A.bad_used, 0);
	session_recovers(&A);
}

/* Rings that are disabled for a while, and no more: the frontend has nothing to say of where. */
static void disabled_for_a_while(void **state)
{
	(void)state;
	session_quiet(&A);
	assert_true(raw_open(&A, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(raw_state(&A, REQ_SET_VRING_ENABLE, i & 1, 0), 0);
		raw_pump(&A);
		assert_int_equal(raw_state(&A, REQ_SET_VRING_ENABLE, i & 1, 1), 0);
		assert_true(raw_echo(&A, "again", 5));
	}
	session_recovers(&A);
}

/* Stopped, and never started: the connections end when the frontend goes. */
static void never_started_again(void **state)
{
	(void)state;
	session_quiet(&A);
	assert_true(raw_open(&A, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(&A, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	stop();
	raw_close(&A);
	assert_true(testbed_wait_up(false));
	session_recovers(&A);
}

static const struct paused cases[] = {
	{"paused: nothing has changed", nothing, true, false},
	{"paused: the same memory table", same_table, true, false},
	{"paused: memory goes and comes", more_memory, true, false},
	{"paused: the same features", same_features, true, false},
	{"restarted: other features", other_features, false, false},
	{"restarted: another base", other_base, false, false},
	{"restarted: a base of 0 in rings that have been used", base_of_zero, false, false},
	{"restarted: another file as memory", other_file, false, false},
	{"restarted: a ring at another address", other_address, false, false},
	{"restarted: a driver that begins anew", begun_anew, false, true},
	{"restarted: the same, with the old base", begun_anew_secretly, false, true},
};

void paused_add(struct suite *s)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test(disabled_for_a_while),
		cmocka_unit_test(never_started_again),
	};

	raw_init(&A);
	SUITE_TABLE(s, stopped_and_started, "", cases, sizeof(cases) / sizeof(cases[0]));
	suite_add_tests(s, others, 2);
}
