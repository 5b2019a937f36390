/* SPDX-License-Identifier: BSD-3-Clause */
/* `vsock:` programs that hold payload in their guest's region when zvsockd is restarted. */
#include "fake_zvd.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE 1000u

static unsigned channels(void)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(cq, &s, sizeof(s)), 0);
	return (unsigned)s.chans;
}

/* The server has received payload in a channel, and keeps it over the end of the connection. */
static struct zv_buf lend(void)
{
	struct zv_conn *c, *s;
	struct zv_buf b = {0};
	ssize_t n;

	assert_int_equal(zv_listen(server, PORT, ZV_STREAM, 0), 0);
	RUN(zvd.listens);
	join(ZV_STREAM, &c, &s);
	assert_int_equal(channels(), 1);
	assert_int_equal(zv_send(c, want, PIECE, 0), PIECE);
	RUN((n = zv_buf_recv(s, &b, 1)) != 0 && n != -EAGAIN);
	assert_int_equal(n, 1);
	assert_int_equal(b.len, PIECE);
	zvd.away = true;
	zvd_hang_up(2);
	RUN(has(c, ZV_EV_ERR) && has(s, ZV_EV_ERR | ZV_EV_HUP));
	close_both(c, s);
	return b;
}

/* A zvsockd that makes channels from the beginning of the region. */
static void restart(void)
{
	zvd.away = false;
	zvd.region += 8; /* of other 61 bits: ksock_region.c */
	zvd_forget_channels();
}

/* Both have offered the region to the new zvsockd, and have had time to acknowledge it. */
static void neither_maps(void)
{
	unsigned offers = zvd.offers, mapped = zvd.mapped;
	uint64_t end;

	RUN(zvd.offers == offers + 2);
	for (end = now() + SECOND / 2; now() < end; (void)usleep(1000))
		RUN(true);
	assert_int_equal(zvd.mapped, mapped);
}

static void use(unsigned with)
{
	struct zv_conn *c, *s;
	ssize_t n;

	join(ZV_STREAM, &c, &s);
	assert_int_equal(channels(), with);
	for (unsigned i = 0; i < 20; i++) {
		memset(got, 0, PIECE);
		RUN((n = zv_send(c, want + PIECE, PIECE, 0)) != -EAGAIN);
		assert_int_equal(n, PIECE);
		for (size_t at = 0; at < PIECE; at += (size_t)n) {
			RUN((n = zv_recv(s, got + at, PIECE - at, NULL)) != -EAGAIN);
			assert_true(n > 0);
		}
		assert_memory_equal(got, want + PIECE, PIECE);
	}
	close_both(c, s);
}

/* Neither the program that has it on loan nor another one lets zvsockd make channels there. */
static void a_loan_outlives_zvsockd(void **state)
{
	struct zv_buf loan;
	unsigned mapped;

	(void)state;
	zvd_ready();
	loan = lend();
	restart();
	neither_maps();
	use(0);
	assert_memory_equal(loan.data, want, PIECE);
	mapped = zvd.mapped;
	zv_buf_release(sq, &loan, 1);
	RUN(zvd.mapped == mapped + 2);
	RUN(zvd.listens == 2);
	use(1);
}

static bool readable(struct zv_queue *q, int ms)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* A program that sleeps when the last loan is returned gets the region without a reason to poll. */
static void a_sleeper_gets_its_region(void **state)
{
	struct zv_buf loan;
	struct zv_event ev;
	unsigned mapped;

	(void)state;
	zvd_ready();
	loan = lend();
	restart();
	neither_maps();
	mapped = zvd.mapped;
	zv_buf_release(sq, &loan, 1);
	/* What zvsockd has said before is no reason: it is asleep, and stays so but for its timer.
	 */
	while (zvd.mapped == mapped) {
		if (zv_arm(cq) == 0)
			assert_true(readable(cq, 60000));
		(void)zv_poll(cq, &ev, 1);
		zvd_work();
	}
}

/* One that is killed with what it holds keeps nobody waiting. */
static void a_loan_ends_with_its_program(void **state)
{
	struct zv_buf loan;
	unsigned mapped;
	int ready[2], status;
	char byte = 0;
	pid_t pid;

	(void)state;
	zvd_ready();
	loan = lend();
	/* It has what this program has, and so the lock as well. */
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)!write(ready[1], &byte, 1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	zv_buf_release(sq, &loan, 1);
	restart();
	neither_maps();
	mapped = zvd.mapped;
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	RUN(zvd.mapped == mapped + 2);
	RUN(zvd.listens == 2);
	use(1);
	close(ready[0]);
	close(ready[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, zvd_set_up, zvd_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_loan_outlives_zvsockd),
		TEST(a_sleeper_gets_its_region),
		TEST(a_loan_ends_with_its_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
