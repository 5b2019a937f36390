/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory that goes while it is in use. An application keeps loans in both directions, is
 * inside the library all the time or never calls again (life_app.h), and writes into its loans
 * without end. Meanwhile, in random order: the memory table is replaced, by more or less of the
 * same memory or by other memory; the rings are stopped; the frontend hangs up or is killed in the
 * middle of a transfer. Each time the message is answered, the old memory is filled with a pattern
 * and nobody writes there any more. In the end as much is mapped, open and allocated as at first.
 *
 * HOSTILE_SEED=N repeats a run as far as its order goes.
 */
#include "frontend.h"
#include "life_app.h"
#include "raw.h"
#include "suite.h"
#include "testbed.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <zvsock_host.h>

#if defined(__SANITIZE_THREAD__)
#define ROUNDS	200u
#define CUT_OFF 10u
#elif defined(__SANITIZE_ADDRESS__)
#define ROUNDS	500u
#define CUT_OFF 20u
#else
#define ROUNDS	2000u
#define CUT_OFF 100u
#endif
#define WARM_UP	  (ROUNDS / 10)
#define FEW	  (ROUNDS / 4) /* where every step waits for a CPU, when these take BUSY_S */
#define BUSY_S	  60
#define KILLED_IN 50u /* one round in so many has a frontend process */
#define PATTERN	  0x77
#define IN_USE                                                                                     \
	0x80000u /* bytes of region A: rings, receive buffers, the first transmit buffers          \
		  */
#define SLACK (192u << 10) /* bytes: lists that grow in powers of two, malloc's own */

static struct raw R;
static uint64_t rng;

static uint32_t any(uint32_t n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rng >> 33) % n;
}

/* ---- the guest's memory ---- */

static void nobody_writes(uint8_t *mem, size_t size)
{
	memset(mem, PATTERN, size);
	assert_true(life_touched());
	for (size_t i = 0; i < size; i++)
		if (mem[i] != PATTERN)
			fail_msg("a late write: byte %zu is %#x", i, mem[i]);
}

static bool has_loans(void *arg)
{
	(void)arg;
	if (R.sock >= 0)
		raw_pump(&R);
	return life_received() >= 1 && life_reserved() >= 1;
}

/* A session with a connection, and loans of this round in both directions. */
static void lend(void)
{
	uint8_t b[500];

	if (R.sock < 0) {
		assert_true(raw_open(&R, life_path, LIFE_CID, 0));
		assert_true(life_wait_up(true));
	}
	assert_true(raw_connect(&R, 0, PORT_HOLD, VSOCK_TYPE_STREAM));
	memset(b, 0x33, sizeof(b));
	for (unsigned i = 0; i < 8; i++)
		assert_true(raw_pkt(&R, VSOCK_OP_RW, b, sizeof(b)));
	assert_true(testbed_until(has_loans, NULL));
}

/* ---- what happens to it ---- */

static const struct raw_region whole[] = {
	{RAW_A, RAW_A_SIZE, RAW_UVA, 0},
	{RAW_B, RAW_B_SIZE, RAW_UVA + RAW_B_OFF, RAW_B_OFF},
};

/* Memory that no buffer is in comes or goes: the session goes on with all that is out. */
static void other_memory_comes_and_goes(bool still)
{
	uint32_t mark = raw_mark(&R);

	assert_int_equal(raw_mem_table(&R, whole, 1 + any(2)), 0);
	if (still)
		life_freeze(false);
	assert_true(raw_pkt(&R, VSOCK_OP_CREDIT_REQUEST, NULL, 0));
	assert_non_null(raw_wait(&R, mark, VSOCK_OP_CREDIT_UPDATE, R.sport, R.dport));
}

static void stop_rings(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t s[2] = {i, 0};

		assert_int_equal(raw_query(&R, REQ_GET_VRING_BASE, s, 8, -1, s, 8, NULL), 8);
	}
}

static void rings_are_stopped(void)
{
	stop_rings();
	nobody_writes(R.mem, IN_USE);
	assert_true(raw_start(&R));
}

/* All of it is somewhere else now, and so are the buffers that are out. */
static void memory_moves(void)
{
	uint8_t *old = R.mem, *mem;
	int old_fd = R.memfd, fd = memfd_create("zvsock-moved", MFD_CLOEXEC);

	assert_true(fd >= 0 && ftruncate(fd, (off_t)RAW_D_OFF) == 0);
	mem = mmap(NULL, RAW_D_OFF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(mem != MAP_FAILED);
	memcpy(mem, old, IN_USE);
	R.memfd = fd;
	assert_int_equal(raw_mem_table(&R, whole, 2), 0);
	R.mem = mem;
	for (unsigned i = 0; i < RAW_RINGS; i++) {
		struct raw_ring *g = &R.ring[i];

		g->desc = (void *)(mem + ((uint8_t *)g->desc - old));
		g->avail = (void *)(mem + ((uint8_t *)g->avail - old));
		g->used = (void *)(mem + ((uint8_t *)g->used - old));
	}
	nobody_writes(old, IN_USE);
	munmap(old, RAW_D_OFF);
	close(old_fd);
	stop_rings();
	assert_true(raw_start(&R));
}

static void frontend_hangs_up(void)
{
	int fd = dup(R.memfd);
	uint8_t *mem = mmap(NULL, IN_USE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_true(mem != MAP_FAILED);
	raw_close(&R);
	assert_true(life_wait_up(false));
	nobody_writes(mem, IN_USE);
	munmap(mem, IN_USE);
	close(fd);
}

static void frontend_is_killed(bool still)
{
	size_t size = 0;
	uint8_t *mem;
	pid_t pid;

	if (R.sock >= 0) {
		raw_close(&R);
		assert_true(life_wait_up(false));
	}
	pid = frontend_spawn(life_path);
	assert_true(pid > 0);
	assert_true(testbed_until(has_loans, NULL));
	mem = frontend_memory(pid, &size);
	assert_non_null(mem);
	if (still)
		life_freeze(true);
	assert_true(frontend_kill(pid));
	assert_true(life_wait_up(false));
	nobody_writes(mem, size);
	munmap(mem, size);
}

static void one_round(void)
{
	bool still = any(2); /* the application never calls again, or calls all the time */

	life_new_round();
	if (any(KILLED_IN) == 0) {
		frontend_is_killed(still);
	} else {
		lend();
		if (still)
			life_freeze(true);
		switch (any(4)) {
		case 0:
			other_memory_comes_and_goes(still);
			break;
		case 1:
			rings_are_stopped();
			break;
		case 2:
			memory_moves();
			break;
		default:
			frontend_hangs_up();
			break;
		}
	}
	if (still)
		life_freeze(false);
}

/* ---- counting ---- */

/*
 * All mappings: memory that was taken from a guest is private and anonymous. ThreadSanitizer maps
 * shadows as it pleases: there only files count, which guest memory is before it is taken.
 */
static unsigned all_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	while (f && fgets(line, sizeof(line), f)) {
#ifdef __SANITIZE_THREAD__
		unsigned long inode = 0;

		n += sscanf(line, "%*s %*s %*s %*s %lu", &inode) == 1 && inode;
#else
		n++;
#endif
	}
	if (f)
		fclose(f);
	return n;
}

/*
 * The last frontend is this process: of one that was killed no descriptor is kept, of one that has
 * hung up its process' is.
 */
static struct testbed_counts quiet(unsigned *maps)
{
	life_new_round();
	lend();
	raw_close(&R);
	assert_true(life_wait_up(false));
	life_give_up_all();
	*maps = all_maps();
	return testbed_count();
}

struct most {
	unsigned maps;
	uint64_t heap;
};

static bool as_little(void *arg)
{
	const struct most *m = arg;

	return all_maps() <= m->maps && testbed_heap() <= m->heap;
}

static void memory_goes_while_it_is_in_use(void **state)
{
	struct testbed_counts before = {0}, after;
	unsigned maps = 0, maps_after;
	struct most most;
	time_t begin = time(NULL);
	const char *left;
	unsigned i;

	(void)state;
	for (i = 0; i < ROUNDS && (i < FEW || time(NULL) - begin < BUSY_S); i++) {
		if (i == WARM_UP)
			before = quiet(&maps);
		one_round();
	}
	printf("%u rounds of %u\n", i, ROUNDS);
	after = quiet(&maps_after);
	left = testbed_left_over(&before);
	/* Other threads free and unmap. malloc's own: an arena that grows has one more, of a part
	 * that is not used yet. And stacks are kept, with more under ASan, of a thread that was
	 * needed for the first time after the warm-up. */
	most = (struct most){maps + ROUNDS / 10, before.heap + SLACK};
	(void)testbed_until(as_little, &most);
	maps_after = all_maps();
	after.heap = testbed_heap();
	printf("descriptors %u, after %u; mappings %u, after %u; heap grew by %lld bytes\n",
	       before.fds, after.fds, maps, maps_after, (long long)(after.heap - before.heap));
	if (left)
		fail_msg("%s", left);
	assert_in_range(maps_after, 0, most.maps);
	assert_in_range(after.heap, 0, most.heap);
	assert_null(testbed_bystander_fault());
}

/* The file behind the memory is cut off while the application reads and writes there. */
static void memory_is_cut_off(void **state)
{
	(void)state;
	printf("%u rounds\n", CUT_OFF);
	/* Here, because cmocka has a handler of its own before each test. */
	assert_int_equal(zv_catch_sigbus(), 0);
	for (unsigned i = 0; i < CUT_OFF; i++) {
		bool still = any(2);

		life_new_round();
		lend();
		if (still)
			life_freeze(true);
		assert_int_equal(ftruncate(R.memfd, 0), 0);
		assert_true(life_touched());
		if (still)
			life_freeze(false);
		assert_true(life_wait_up(false)); /* broken: it can only be restarted */
		assert_null(testbed_bystander_fault());
		raw_close(&R);
	}
	life_give_up_all();
}

static int group_end(void **state)
{
	bool good;

	(void)state;
	raw_close(&R);
	good = life_stop();
	return testbed_stop() && good ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_goes_while_it_is_in_use),
		cmocka_unit_test(memory_is_cut_off),
	};
	const char *seed = getenv("HOSTILE_SEED"), *wrong;
	struct suite s = {0};
	int ret;

	if (frontend_main(argc, argv, &ret))
		return ret;
	rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("HOSTILE_SEED=%llu\n", (unsigned long long)rng);
	raw_init(&R);
	testbed_program = argv[0];
	if (testbed_start(true))
		return 99;
	wrong = life_start(rng);
	if (wrong) {
		fprintf(stderr, "%s\n", wrong);
		return 99;
	}
	suite_add_tests(&s, tests, 2);
	return suite_run(&s, "memory lifetime", argc, argv, NULL, group_end);
}
