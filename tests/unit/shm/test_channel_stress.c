/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel under load: two threads, two processes, and one of them killed at any moment.
 *
 * Messages of all kinds are numbered, written in full and compared in full, in both directions at
 * once. The receiver holds some and gives them back later, in another order. Both sides sleep when
 * there is nothing to do: a lost wake-up hangs, and the tests' time limit is the judge.
 */
#include "channel_pair.h"
#include "shm_ring.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES 60000u
#define KILLS	 60u
#define HOLD	 5u

struct side {
	struct shm_channel *ch;
	int fd, peer_fd;
	uint64_t seed;
	uint64_t sent, got, goal; /* messages; goal: of each */
	unsigned held;
	struct shm_msg hold[HOLD];
	const char *wrong;
};

static uint64_t random64(uint64_t *x)
{
	*x ^= *x >> 12;
	*x ^= *x << 25;
	*x ^= *x >> 27;
	return *x * 0x2545f4914f6cdd1dull;
}

/* What message @n is: its length, how it goes. 0: a control message. */
static uint32_t length_of(uint64_t n)
{
	uint64_t x = n + 1;
	uint32_t r = (uint32_t)(random64(&x) >> 33);

	return r % 16 == 0 ? 0 : r % 3 == 0 ? 129 + r % 896 : 1 + r % 128;
}

static void fill(uint8_t *data, uint32_t len, uint64_t n)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(n * 7 + i);
}

static bool good(const struct shm_msg *m, uint64_t n)
{
	const uint8_t *data = m->data;
	uint32_t len = length_of(n);

	if (!len)
		return m->kind == SHM_MSG_CONTROL && m->len == (uint32_t)n;
	if (m->len != len || m->flags != (n & 3))
		return false;
	for (uint32_t i = 0; i < len; i++)
		if (data[i] != (uint8_t)(n * 7 + i))
			return false;
	return true;
}

/* 1 sent, 0 no room, -errno. */
static int send_next(struct side *s)
{
	uint8_t copy[SHM_INLINE_MAX];
	uint32_t len = length_of(s->sent);
	struct shm_msg m;
	int rc = 1;

	if (!len)
		return shm_channel_control(s->ch, (uint32_t)s->sent, 0);
	if (len > SHM_INLINE_MAX)
		rc = shm_channel_alloc(s->ch, &m, 1, len);
	else if (s->sent & 8)
		rc = shm_channel_reserve(s->ch, &m, 1, len);
	else
		m = (struct shm_msg){.data = copy};
	if (rc != 1)
		return rc;
	fill(m.data, len, s->sent);
	m.len = len;
	m.flags = s->sent & 3;
	rc = shm_channel_send(s->ch, &m, 1);
	if (rc != 1 && m.kind != SHM_MSG_USER)
		(void)shm_channel_cancel(s->ch, &m, 1);
	return rc;
}

/* Keeps some, releases others, late and out of order. */
static int release_some(struct side *s, const struct shm_msg *m)
{
	unsigned i;

	if (s->held < HOLD && random64(&s->seed) & 1) {
		s->hold[s->held++] = *m;
		return 0;
	}
	if (s->held) {
		i = (unsigned)(random64(&s->seed) % s->held);
		if (shm_channel_release(s->ch, &s->hold[i], 1))
			return -1;
		s->hold[i] = s->hold[--s->held];
	}
	return shm_channel_release(s->ch, m, 1);
}

static int release_held(struct side *s)
{
	int rc = s->held ? shm_channel_release(s->ch, s->hold, s->held) : 0;

	s->held = 0;
	return rc;
}

/* Sleeps until the peer has done something, or the test is over for it. */
static void wait_for_peer(struct side *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	unsigned want = SHM_WANT_DATA;
	eventfd_t n;

	if (s->sent < s->goal)
		want |= SHM_WANT_ROOM;
	if (shm_channel_arm(s->ch, want, 1024) == 0 && poll(&p, 1, -1) == 1)
		(void)eventfd_read(s->fd, &n);
	shm_channel_disarm(s->ch);
}

/* Sends and receives until both are done, or something is wrong. */
static void *work(void *arg)
{
	struct side *s = arg;

	while ((s->sent < s->goal || s->got < s->goal) && !s->wrong) {
		unsigned burst = 1 + random64(&s->seed) % 8, did = 0;
		struct shm_msg m[8];
		int n, rc = 1;

		for (unsigned i = 0; i < burst && s->sent < s->goal; i++) {
			rc = send_next(s);
			if (rc != 1)
				break;
			s->sent++;
			did++;
		}
		if (rc < 0)
			s->wrong = "sending failed";
		n = shm_channel_recv(s->ch, m, burst);
		if (n < 0)
			s->wrong = "receiving failed";
		for (int i = 0; i < n; i++, did++) {
			if (!good(&m[i], s->got++))
				s->wrong = "not the message that was sent";
			else if (release_some(s, &m[i]))
				s->wrong = "releasing failed";
		}
		if (!did && release_held(s))
			s->wrong = "releasing what was held failed";
		if (shm_channel_notify(s->ch) < 0)
			s->wrong = "waking failed";
		if (!did)
			wait_for_peer(s);
	}
	if (release_held(s) || shm_channel_notify(s->ch) < 0)
		s->wrong = "the end failed";
	return NULL;
}

static void attach(struct pair *p, struct side s[2], enum shm_role role)
{
	struct shm_channel_opts o = {.size = sizeof(o), .wake_fd = s[!role].fd};

	assert_int_equal(shm_channel_attach(&s[role].ch, p->mem, p->size, &p->desc, role, &o), 0);
}

static void make_sides(struct side s[2], uint64_t goal)
{
	memset(s, 0, 2 * sizeof(*s));
	for (int i = 0; i < 2; i++) {
		s[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		s[i].seed = 99 + (uint64_t)i;
		s[i].goal = goal;
	}
}

static void close_sides(struct side s[2])
{
	close(s[0].fd);
	close(s[1].fd);
}

static void two_threads(void **state)
{
	struct pair *p = *state;
	struct shm_channel_stats st = {.size = sizeof(st)};
	struct side s[2];
	pthread_t t;

	make_sides(s, MESSAGES);
	attach(p, s, SHM_ROLE_A);
	attach(p, s, SHM_ROLE_B);
	assert_int_equal(pthread_create(&t, NULL, work, &s[1]), 0);
	work(&s[0]);
	assert_int_equal(pthread_join(t, NULL), 0);
	for (int i = 0; i < 2; i++) {
		if (s[i].wrong)
			fail_msg("side %d: %s", i, s[i].wrong);
		assert_true(shm_channel_room(s[i].ch) > 0);
		assert_int_equal(shm_channel_get_stats(s[i].ch, &st), 0);
		assert_int_equal(st.slots_out, 0);
		assert_int_equal(st.sent, MESSAGES);
		assert_int_equal(st.received, MESSAGES);
		print_message("side %d woke the other one %lu times\n", i, (unsigned long)st.wakes);
		shm_channel_detach(s[i].ch);
	}
	close_sides(s);
}

/* The shared part in a region that a child has as well. */
static int region_setup(void **state)
{
	static struct shm_region r;
	struct pair *p;

	assert_int_equal(pair_setup(state), 0);
	p = *state;
	shm_channel_detach(p->a);
	shm_channel_detach(p->b);
	p->a = p->b = NULL;
	free(p->mem);
	assert_int_equal(shm_region_create(&r, "stress", p->size, SHM_NO_HUGE), 0);
	p->mem = r.addr;
	assert_int_equal(shm_channel_format(p->mem, p->size, &p->desc), 0);
	return 0;
}

static int region_teardown(void **state)
{
	free(*state); /* the region goes with the process */
	return 0;
}

static void two_processes(void **state)
{
	struct pair *p = *state;
	struct side s[2];
	int status;
	pid_t pid;

	make_sides(s, MESSAGES);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		attach(p, s, SHM_ROLE_B);
		work(&s[1]);
		_exit(s[1].wrong ? 1 : 0);
	}
	attach(p, s, SHM_ROLE_A);
	work(&s[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_null(s[0].wrong);
	assert_int_equal(status, 0);
	shm_channel_detach(s[0].ch);
	close_sides(s);
}

/*
 * A peer that is killed anywhere leaves messages whole: what can be received is a beginning of what
 * it would have sent, and no lie. Its memory is then used again.
 */
static void a_killed_peer_leaves_whole_messages(void **state)
{
	struct pair *p = *state;
	uint64_t seed = 4, got = 0;

	for (unsigned k = 0; k < KILLS; k++) {
		uint64_t ns = random64(&seed) % 3000000;
		struct timespec nap = {.tv_nsec = (long)ns};
		struct shm_msg m[8];
		struct side s[2];
		int status, n;
		pid_t pid;

		make_sides(s, UINT64_MAX);
		p->desc.generation++;
		assert_int_equal(shm_channel_format(p->mem, p->size, &p->desc), 0);
		attach(p, s, SHM_ROLE_A);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			attach(p, s, SHM_ROLE_B);
			work(&s[1]);
			_exit(1);
		}
		/* Not with work(), which would sleep for ever beside a dead peer. */
		nanosleep(&nap, NULL);
		for (unsigned i = 0; i < 2000; i++) {
			if (i == 1000)
				assert_int_equal(kill(pid, SIGKILL), 0);
			n = shm_channel_recv(s[0].ch, m, 8);
			assert_true(n >= 0);
			for (int j = 0; j < n; j++) {
				assert_true(good(&m[j], s[0].got++));
				assert_int_equal(shm_channel_release(s[0].ch, &m[j], 1), 0);
			}
			n = send_next(&s[0]);
			assert_true(n >= 0);
			s[0].sent += (uint64_t)n;
			assert_true(shm_channel_notify(s[0].ch) >= 0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while ((n = shm_channel_recv(s[0].ch, m, 1)) > 0)
			assert_true(good(&m[0], s[0].got++));
		assert_int_equal(n, 0);
		assert_int_equal(shm_channel_error(s[0].ch), 0);
		got += s[0].got;
		shm_channel_detach(s[0].ch);
		close_sides(s);
	}
	print_message("%lu messages of %u killed peers\n", (unsigned long)got, KILLS);
	assert_true(got > 0);
}

#define REGION_TEST(f) cmocka_unit_test_setup_teardown(f, region_setup, region_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		REGION_TEST(two_threads),
		REGION_TEST(two_processes),
		REGION_TEST(a_killed_peer_leaves_whole_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
