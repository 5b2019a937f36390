/* SPDX-License-Identifier: BSD-3-Clause */
/* zv_wait and signals: it returns -EINTR, sleeping or spinning, and leaves the mask as it was. */
#include "pair.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#define SECOND 1000000000u

static volatile sig_atomic_t hits;

static void on_signal(int sig)
{
	(void)sig;
	hits++;
}

/* A signal every @us microseconds, as the first may come before zv_wait; 0: no more. */
static void signal_every(int us)
{
	const struct itimerval t = {{.tv_usec = us}, {.tv_usec = us}};

	if (us)
		hits = 0;
	assert_int_equal(setitimer(ITIMER_REAL, &t, NULL), 0);
}

static void open_with(uint32_t flags, uint64_t spin_ns)
{
	struct zv_opts o = {.size = sizeof(o), .queues = 2, .flags = flags, .spin_ns = spin_ns};

	assert_int_equal(zv_close(P.guest), 0);
	assert_int_equal(zv_open(&P.guest, "fakeguest:", &o), 0);
	P.g = zv_queue(P.guest, 0);
	pump();
}

static int setup(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	return pair_setup(state);
}

static bool same_mask(const sigset_t *a)
{
	sigset_t b;

	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &b), 0);
	for (int sig = 1; sig < NSIG; sig++)
		if (sigismember(a, sig) != sigismember(&b, sig))
			return false;
	return true;
}

/* The time limits are there for a test that fails. */
static void test_a_signal_ends_every_kind_of_waiting(void **state)
{
	static const struct {
		uint32_t flags;
		uint64_t spin_ns;
	} kind[] = {{0, 1}, {0, 0}, {0, 60ull * SECOND}, {ZV_OPT_BUSY_POLL, 0}};
	struct zv_event ev;
	sigset_t mask;

	(void)state;
	assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
	for (unsigned i = 0; i < 4; i++)
		for (int round = 1; round < 5; round++) {
			open_with(kind[i].flags, kind[i].spin_ns);
			signal_every(round * 5000);
			assert_int_equal(zv_wait(P.g, &ev, 1, 60ull * SECOND), -EINTR);
			signal_every(0);
			assert_true(hits >= 1);
			assert_true(same_mask(&mask));
		}
}

static void test_the_mask_of_the_caller_counts(void **state)
{
	sigset_t mask, before;
	struct zv_event ev;

	(void)state;
	sigemptyset(&mask);
	sigaddset(&mask, SIGALRM);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &mask, &before), 0);
	sigaddset(&before, SIGALRM);
	for (unsigned i = 0; i < 2; i++) {
		open_with(i ? ZV_OPT_BUSY_POLL : 0, 0);
		signal_every(1000);
		assert_int_equal(zv_wait(P.g, &ev, 1, 20000000), 0);
		signal_every(0);
		assert_int_equal(hits, 0); /* blocked before, blocked during, blocked now */
		assert_true(same_mask(&before));
	}
	assert_int_equal(pthread_sigmask(SIG_UNBLOCK, &mask, NULL), 0);
	assert_int_equal(hits, 1); /* those that were blocked are one */
}

static volatile sig_atomic_t held, faults_held;

static void look_at_mask(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;

	(void)sig, (void)info;
	held += sigismember(&u->uc_sigmask, SIGALRM);
	faults_held += sigismember(&u->uc_sigmask, SIGBUS) + sigismember(&u->uc_sigmask, SIGSEGV);
}

/* While others are held back, a fault in a peer's memory must find its handler. */
static void test_faults_are_never_held_back(void **state)
{
	struct sigaction sa = {.sa_sigaction = look_at_mask, .sa_flags = SA_SIGINFO | SA_RESTART};
	const struct itimerval t = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	struct zv_event ev;

	(void)state;
	held = faults_held = 0;
	assert_int_equal(sigaction(SIGPROF, &sa, NULL), 0);
	open_with(ZV_OPT_BUSY_POLL, 0);
	assert_int_equal(setitimer(ITIMER_PROF, &t, NULL), 0);
	for (int i = 0; i < 1000 && !held; i++)
		assert_int_equal(zv_wait(P.g, &ev, 1, 20000000), 0);
	assert_int_equal(setitimer(ITIMER_PROF, &off, NULL), 0);
	assert_true(held > 0);
	assert_int_equal(faults_held, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_signal_ends_every_kind_of_waiting),
		T(test_the_mask_of_the_caller_counts),
		T(test_faults_are_never_held_back),
	};

	return cmocka_run_group_tests_name("signals", tests, NULL, NULL);
}
