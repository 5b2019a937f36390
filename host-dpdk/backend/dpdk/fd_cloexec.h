/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets close-on-exec on descriptors that DPDK opens without it. The open descriptors before and
 * after a DPDK call are compared; new ones of the type that the call is known to open are marked.
 * Another thread that forks and executes a program during the call may still pass them on.
 */
#ifndef ZV_FD_CLOEXEC_H
#define ZV_FD_CLOEXEC_H

#include <stdbool.h>

struct fd_list {
	int *fd;
	unsigned n;
};

/* Lists the open descriptors. Without /proc or memory the list is empty, and nothing is marked. */
void fd_list_take(struct fd_list *l);
/* Marks descriptors opened since then that are @wanted (NULL: all). Frees the list. */
void fd_list_mark_new(struct fd_list *l, bool (*wanted)(int fd));

/*
 * The same for one descriptor that is @wanted, whenever it was opened, without a list: a process
 * that serves many guests has so many descriptors that listing them all takes longer than the call.
 * @from is the lowest free number before the call. The kernel assigns the lowest free number, so
 * the descriptor is there or shortly behind, unless other threads open or close some meanwhile; in
 * that case all are listed.
 */
void fd_mark_one(int from, bool (*wanted)(int fd));
/* The lowest free descriptor number; -1: none. */
int fd_lowest_free(void);

#endif
