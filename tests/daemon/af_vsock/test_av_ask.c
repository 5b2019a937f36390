/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that are turned away at a drop-in directory. The lcore is played here. */
#include "core/closers.h"
#include "core/fds.h"
#include "endpoint/af_vsock/av.h"
#include "slow_fd.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct av_space space;
static uint32_t max_fds;

void __wrap_io_close_fd(struct io *io, int fd);
uint32_t __wrap_fds_max(void);

void __wrap_io_close_fd(struct io *io, int fd)
{
	(void)io;
	close(fd);
}

uint32_t __wrap_fds_max(void)
{
	return max_fds;
}

/* Of a program that has sent nothing yet; it reads @why. */
static void is_turned_away(const char *why)
{
	struct dropin_msg m;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	fds_take(1);
	av_ask_begin(&space, pair[1], true);
	assert_int_equal(recv(pair[0], &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, -EUSERS);
	assert_non_null(strstr(m.text, why));
	close(pair[0]);
	assert_null(space.users);
}

static void has_sent_slow_descriptors(void **state)
{
	int end, fd = slow_fd(&end);

	(void)state;
	assert_true(av_expect_passed(&space));
	max_fds = AV_FDS_SHARE; /* of which one is a user's */
	fds_take(1);
	closers_put(space.closers, geteuid(), &fd, 1);
	is_turned_away("take long to close: end its programs");
	close(end);
	while (closers_all(space.closers) > 0)
		usleep(1000);
	closers_free(space.closers);
	space.closers = NULL;
}

static void there_are_too_many(void **state)
{
	(void)state;
	max_fds = UINT32_MAX;
	space.n_asks = AV_ASKS_MAX;
	is_turned_away("1024 of a user, 4096 in all");
}

static void no_descriptor_is_left(void **state)
{
	(void)state;
	max_fds = 0;
	is_turned_away("raise zvsockd's limit of open files");
}

static int up(void **state)
{
	(void)state;
	memset(&space, 0, sizeof(space));
	pthread_mutex_init(&space.lock, NULL);
	TAILQ_INIT(&space.asks);
	av_turn_init(&space);
	return 0;
}

static int down(void **state)
{
	(void)state;
	pthread_mutex_destroy(&space.lock);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(has_sent_slow_descriptors, up, down),
		cmocka_unit_test_setup_teardown(there_are_too_many, up, down),
		cmocka_unit_test_setup_teardown(no_descriptor_is_left, up, down),
	};

	return cmocka_run_group_tests_name("av_ask", tests, NULL, NULL);
}
