/* SPDX-License-Identifier: BSD-3-Clause */
/* A file that very many epoll entries watch: whoever wakes those who wait for it calls them all. */
#ifndef WATCH_FIX_H
#define WATCH_FIX_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cmocka.h>

#define WATCH_SETS   200u
#define WATCH_COPIES 200u /* of the descriptor, each in all sets */

static int watch_set[WATCH_SETS], watch_copy[WATCH_COPIES];

static inline void watch_often(int fd)
{
	struct epoll_event ev = {.events = EPOLLIN};

	for (unsigned i = 0; i < WATCH_SETS; i++)
		assert_true((watch_set[i] = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	for (unsigned i = 0; i < WATCH_COPIES; i++) {
		watch_copy[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		assert_true(watch_copy[i] >= 0);
		for (unsigned k = 0; k < WATCH_SETS; k++)
			assert_int_equal(epoll_ctl(watch_set[k], EPOLL_CTL_ADD, watch_copy[i], &ev),
					 0);
	}
}

static inline void watch_no_more(void)
{
	for (unsigned i = 0; i < WATCH_SETS; i++)
		(void)close(watch_set[i]);
	for (unsigned i = 0; i < WATCH_COPIES; i++)
		(void)close(watch_copy[i]);
}

#endif
