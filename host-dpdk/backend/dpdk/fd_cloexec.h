/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Close-on-exec for descriptors that DPDK opens without it. What is there before and after a call
 * of DPDK is compared; what is new, and is what the call is known to open, is marked. Another
 * thread that forks and executes a program during the call may still pass them on.
 */
#ifndef ZV_FD_CLOEXEC_H
#define ZV_FD_CLOEXEC_H

#include <stdbool.h>

struct fd_list {
	int *fd;
	unsigned n;
};

/* The descriptors that are open now. Without /proc or memory: none, and then none is marked. */
void fd_list_take(struct fd_list *l);
/* Marks those that have been opened since and are @wanted (NULL: all). Frees the list. */
void fd_list_mark_new(struct fd_list *l, bool (*wanted)(int fd));

/*
 * The same for one descriptor that is @wanted whenever it was opened, without a list: so many
 * descriptors are open when a process serves many guests that listing them all takes longer than
 * the call. @from is the number that was free before the call, and the kernel gives the lowest; so
 * the one looked for is there or shortly behind, unless other threads open or close some meanwhile,
 * and then all are listed.
 */
void fd_mark_one(int from, bool (*wanted)(int fd));
/* The lowest number that is free; -1: none. */
int fd_lowest_free(void);

#endif
