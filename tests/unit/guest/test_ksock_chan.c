/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels of the `vsock:` transport: payload through a region, both devices on stock sockets. */
#include "fake_zvd.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
	return s;
}

/* A connection with a channel. */
static void join_chan(enum zv_type type, struct zv_conn **c, struct zv_conn **s)
{
	uint64_t before = stats(cq).chans;
	int ret = zv_listen(server, PORT, type, 0);

	assert_true(ret == 0 || ret == -EADDRINUSE);
	RUN(zvd.listens);
	join(type, c, s);
	assert_int_equal(stats(cq).chans, before + 1);
	assert_int_equal(stats(sq).chans, before + 1);
}

/* All of @len bytes of @want, in calls of @piece. */
static void carry(struct zv_conn *from, struct zv_conn *to, size_t len, size_t piece)
{
	size_t out = 0, in = 0;
	ssize_t n;

	memset(got, 0, len);
	while (in < len) {
		do {
			size_t most = len - out < piece ? len - out : piece;

			n = out < len ? zv_send(from, want + out, most, 0) : -EAGAIN;
			out += n > 0 ? (size_t)n : 0;
		} while (n > 0);
		assert_int_equal(n, -EAGAIN);
		RUN(has(to, ZV_EV_IN) || has(from, ZV_EV_OUT));
		while ((n = zv_recv(to, got + in, len - in, NULL)) > 0)
			in += (size_t)n;
		assert_true(n == -EAGAIN || in == len);
	}
	assert_memory_equal(got, want, len);
}

/* ---- payload ---- */

static void bytes_go_through_the_region(void **state)
{
	struct zv_conn *c, *s;
	uint64_t before;

	(void)state;
	zvd_ready();
	join_chan(ZV_STREAM, &c, &s);
	before = stats(cq).rx_bytes + stats(cq).tx_bytes; /* the control connection's as well */
	carry(c, s, BIG, BIG);
	carry(s, c, BIG, 4096);
	carry(c, s, 20000, 64);
	carry(s, c, 20000, 64);
	assert_int_equal(stats(cq).rx_bytes + stats(cq).tx_bytes - before, 2 * (BIG + 20000));
	close_both(c, s);
	RUN(zvd.releases == 2);
	assert_int_equal(stats(cq).chans, 0);
	assert_int_equal(stats(cq).conns_reset + stats(sq).conns_reset, 0);
	assert_int_equal(stats(cq).chan_broken + stats(sq).chan_broken, 0);
}

static void messages_go_through_the_region(void **state)
{
	static const size_t sizes[] = {1, 40, 41, 1024, 5000, 16384, 30000};
	struct zv_conn *c, *s, *from, *to;
	uint32_t flags;
	ssize_t n;

	(void)state;
	zvd_ready();
	join_chan(ZV_SEQPACKET, &c, &s);
	for (unsigned i = 0; i < 100; i++) {
		size_t len = sizes[i % 7];

		from = i & 1 ? c : s;
		to = i & 1 ? s : c;
		RUN((n = zv_send(from, want + i, len, i & 2 ? ZV_EOR : 0)) != -EAGAIN);
		assert_int_equal(n, len);
		flags = 0;
		RUN((n = zv_recv(to, got, BIG, &flags)) != -EAGAIN);
		assert_int_equal(n, len);
		assert_int_equal(flags & ZV_EOR, i & 2 ? ZV_EOR : 0);
		assert_memory_equal(got, want + i, len);
	}
	close_both(c, s);
	RUN(zvd.releases == 2);
}

static bool readable(struct zv_queue *q)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* Armed, and nothing is left that has been before. */
static void sleep_on(struct zv_queue *q)
{
	struct zv_event ev[4];

	for (uint64_t end = now() + 30 * SECOND; zv_arm(q) || readable(q); assert_true(now() < end))
		assert_true(zv_poll(q, ev, 4) >= 0);
}

/* That the one goes to sleep does not wake the other; a timer may, on a machine that is slow. */
static void both_sleep(void)
{
	unsigned tries = 0;

	do {
		assert_true(tries++ < 10);
		sleep_on(cq);
		sleep_on(sq);
	} while (readable(cq) || readable(sq));
}

/* Both are asleep; a byte wakes the one that it is for, in either direction, again and again. */
static void bytes_wake(enum zv_type type)
{
	struct pollfd p;
	struct zv_conn *c, *s;

	zvd_ready();
	join_chan(type, &c, &s);
	for (unsigned i = 0; i < 200; i++) {
		struct zv_queue *tq = i & 1 ? cq : sq;
		struct zv_event ev[4];

		both_sleep();
		assert_int_equal(zv_send(i & 1 ? s : c, want + i, 100, 0), 100);
		p = (struct pollfd){.fd = zv_fd(tq), .events = POLLIN};
		assert_int_equal(poll(&p, 1, 30000), 1);
		RUN(has(i & 1 ? c : s, ZV_EV_IN));
		assert_int_equal(zv_recv(i & 1 ? c : s, got, BIG, NULL), 100);
		assert_memory_equal(got, want + i, 100);
		while (zv_poll(cq, ev, 4) > 0 || zv_poll(sq, ev, 4) > 0)
			;
	}
	assert_int_equal(stats(cq).chans, 1);
	close_both(c, s);
	RUN(zvd.releases == 2);
}

static void bytes_wake_streams(void **state)
{
	(void)state;
	bytes_wake(ZV_STREAM);
}

static void bytes_wake_for_messages(void **state)
{
	(void)state;
	bytes_wake(ZV_SEQPACKET);
}

/* ---- ends ---- */

/* The end of a half is in the channel, and the socket goes on to wake for the other one. */
static void a_half_is_ended_in_the_channel(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	for (int type = ZV_STREAM; type <= ZV_SEQPACKET; type++) {
		zvd.listens = 0;
		(void)zv_unlisten(server, PORT);
		join_chan((enum zv_type)type, &c, &s);
		sleep_on(sq);
		assert_int_equal(zv_send(c, "last", 4, 0), 4);
		assert_int_equal(zv_shutdown(c, 1), 0);
		RUN(readable(sq));
		RUN(zv_recv(s, got, 100, NULL) == 4);
		RUN(zv_recv(s, got, 100, NULL) == 0);
		assert_string_equal(state_of(s), "connected");
		for (unsigned i = 0; i < 50; i++) {
			sleep_on(cq);
			assert_int_equal(zv_send(s, want, 50, 0), 50);
			RUN(readable(cq));
			RUN(zv_recv(c, got, BIG, NULL) == 50);
		}
		assert_int_equal(zv_conn_close(s), 0);
		RUN(zv_recv(c, got, 100, NULL) == 0);
		RUN(has(c, ZV_EV_HUP));
		assert_int_equal(zv_conn_close(c), 0);
	}
	RUN(zvd.releases == 4);
	assert_int_equal(stats(cq).conns_reset + stats(sq).conns_reset, 0);
}

/* With a wake-up in front of it or not, a close says that all is there. */
static void what_was_sent_before_a_close_arrives(void **state)
{
	struct zv_conn *c, *s;

	(void)state;
	zvd_ready();
	for (unsigned i = 0; i < 50; i++) {
		join_chan(ZV_STREAM, &c, &s);
		if (i & 1)
			sleep_on(sq);
		assert_int_equal(zv_send(c, want, 20000, 0), 20000);
		assert_int_equal(zv_conn_close(c), 0);
		for (size_t in = 0, n = 0; in < 20000; in += n) {
			ssize_t r;

			RUN((r = zv_recv(s, got + in, BIG - in, NULL)) != -EAGAIN);
			assert_true(r > 0);
			n = (size_t)r;
		}
		assert_memory_equal(got, want, 20000);
		RUN(zv_recv(s, got, 100, NULL) == 0);
		RUN(has(s, ZV_EV_HUP));
		assert_int_equal(zv_conn_close(s), 0);
		RUN(zvd.releases == 2 * (i + 1));
	}
}

/* ---- the control connection ends ---- */

static void its_end_resets_what_it_granted(void **state)
{
	struct zv_conn *c, *s, *plain_c, *plain_s;
	unsigned had;

	(void)state;
	zvd_ready();
	zvd.grants = false;
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	join(ZV_STREAM, &plain_c, &plain_s);
	zvd.grants = true;
	join_chan(ZV_STREAM, &c, &s);
	had = zvd.connects;
	assert_int_equal(zv_send(c, "abc", 3, 0), 3);
	zvd.away = true;
	zvd_hang_up(1); /* the client's */
	RUN(has(c, ZV_EV_ERR) && has(s, ZV_EV_HUP | ZV_EV_ERR));
	assert_int_equal(zv_send(c, "x", 1, 0), -ECONNRESET);
	close_both(c, s);
	carry(plain_c, plain_s, BIG, BIG);
	close_both(plain_c, plain_s);
	join(ZV_STREAM, &c, &s); /* without */
	assert_int_equal(stats(cq).chans, 0);
	carry(c, s, 100000, 1000);
	close_both(c, s);
	assert_int_equal(zvd.connects, had);
}

/* Another zvsockd in the place of one that has ended: it is asked again, more and more rarely. */
static void the_next_zvsockd_is_found(void **state)
{
	struct zv_conn *c, *s;
	unsigned mapped;

	(void)state;
	zvd_ready();
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	for (unsigned round = 0; round < 2; round++) {
		join_chan(ZV_STREAM, &c, &s);
		zvd.refused = 0;
		zvd.away = true;
		zvd_hang_up(2);
		RUN(has(c, ZV_EV_ERR) && has(s, ZV_EV_HUP | ZV_EV_ERR));
		close_both(c, s);
		if (round == 0)
			RUN(zvd.refused >= 2);
		mapped = zvd.mapped;
		zvd.away = false;
		RUN(zvd.mapped == mapped + 2);
		RUN(zvd.listens == round + 2);
	}
	join_chan(ZV_STREAM, &c, &s);
	carry(c, s, BIG, BIG);
	close_both(c, s);
}

/* A grant that has come, and the connection control with which it goes, before accept. */
static void a_grant_goes_with_it(void **state)
{
	struct zv_conn *c, *s = NULL;
	struct zv_event ev[4];

	(void)state;
	zvd_ready();
	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	RUN(zvd.listens);
	assert_int_equal(zv_connect(cq, 2, PORT, ZV_STREAM, &c), 0);
	assert_int_equal(zvd.channels, 1);
	zvd_hang_up(2);
	for (uint64_t end = now() + 30 * SECOND; !has(c, ZV_EV_ERR) && now() < end;)
		assert_true(zv_poll(cq, ev, 4) >= 0 && zv_poll(sq, ev, 4) >= 0);
	assert_true(has(c, ZV_EV_ERR | ZV_EV_HUP));
	assert_int_equal(zv_conn_close(c), 0);
	if (zv_accept(sq, PORT, &s) == 0) {
		PUMP(has(s, ZV_EV_ERR | ZV_EV_HUP));
		assert_int_equal(zv_conn_close(s), 0);
	}
	assert_int_equal(stats(cq).chans + stats(sq).chans, 0);
}

/* ---- processes ---- */

#define CHILDREN 2u

static struct shared {
	uint32_t mapped;
	uint32_t listens[CHILDREN], connects[CHILDREN]; /* that zvsockd has dealt with */
} * shared;
static unsigned child;

/* In zvsockd's process. */
static void on_claim(const struct ctrl_claim *claim)
{
	bool listens = claim->what == CTRL_CLAIM_LISTEN;
	uint32_t at = (listens ? claim->port : claim->peer_port) - PORT;

	if (at < CHILDREN && (listens || claim->what == CTRL_CLAIM_CONNECT))
		__atomic_add_fetch(listens ? &shared->listens[at] : &shared->connects[at], 1,
				   __ATOMIC_RELEASE);
}

/* In a child: the channel is granted before the connection is there, as in a VM. */
static void wait_for_zvd(uint32_t port)
{
	static uint32_t connects;

	if (port != PORT + child)
		return;
	connects++;
	for (uint64_t end = now() + 30 * SECOND;
	     __atomic_load_n(&shared->connects[child], __ATOMIC_ACQUIRE) < connects; sched_yield())
		if (now() > end)
			_exit(2);
}

static void one_exchange(void)
{
	struct zv_conn *c, *s;

	assert_int_equal(zv_connect(cq, 2, PORT + child, ZV_STREAM, &c), 0);
	PUMP(zv_accept(sq, PORT + child, &s) == 0);
	PUMP(strcmp(state_of(c), "connected") == 0);
	assert_int_equal(stats(cq).chans, 1);
	assert_int_equal(stats(sq).chans, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct zv_conn *from = i ? s : c, *to = i ? c : s;

		assert_int_equal(zv_send(from, want + child, 20000, 0), 20000);
		for (size_t in = 0; in < 20000;) {
			ssize_t n = 0;

			PUMP((n = zv_recv(to, got + in, BIG - in, NULL)) != -EAGAIN);
			assert_true(n > 0);
			in += (size_t)n;
		}
		assert_memory_equal(got, want + child, 20000);
	}
	close_both(c, s);
	PUMP(stats(cq).chans + stats(sq).chans == 0);
}

/* A client and a server of its own. */
static void program(void)
{
	ksock_unix_connecting = wait_for_zvd;
	assert_int_equal(set_up(NULL), 0);
	assert_int_equal(zv_listen(server, PORT + child, ZV_STREAM, 0), 0);
	PUMP(__atomic_load_n(&shared->mapped, __ATOMIC_ACQUIRE) == 2 + 2 * CHILDREN &&
	     __atomic_load_n(&shared->listens[child], __ATOMIC_ACQUIRE));
	for (unsigned i = 0; i < 20; i++)
		one_exchange();
	assert_int_equal(tear_down(NULL), 0);
}

/* Any number of programs of a guest share its region. */
static void two_processes_at_once(void **state)
{
	pid_t pid[CHILDREN];
	unsigned left = CHILDREN;
	int status;

	(void)state;
	zvd_ready();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	zvd_claimed = on_claim;
	for (child = 0; child < CHILDREN; child++) {
		pid[child] = fork();
		assert_true(pid[child] >= 0);
		if (pid[child] == 0) {
			program();
			_exit(0);
		}
	}
	while (left) {
		zvd_work();
		__atomic_store_n(&shared->mapped, zvd.mapped, __ATOMIC_RELEASE);
		for (unsigned i = 0; i < CHILDREN; i++)
			if (pid[i] && waitpid(pid[i], &status, WNOHANG) == pid[i]) {
				assert_int_equal(status, 0);
				pid[i] = 0;
				left--;
			}
		sched_yield();
	}
	assert_int_equal(zvd.channels, 20 * CHILDREN);
	zvd_claimed = NULL;
	(void)munmap(shared, sizeof(*shared));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, zvd_set_up, zvd_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(bytes_go_through_the_region),
		TEST(messages_go_through_the_region),
		TEST(bytes_wake_streams),
		TEST(bytes_wake_for_messages),
		TEST(a_half_is_ended_in_the_channel),
		TEST(what_was_sent_before_a_close_arrives),
		TEST(its_end_resets_what_it_granted),
		TEST(the_next_zvsockd_is_found),
		TEST(a_grant_goes_with_it),
		TEST(two_processes_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
