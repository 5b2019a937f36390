/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bells of applications: how two that share a channel wake each other without zvsockd
 * (docs/protocol.md, "Bells").
 *
 * Theory of operation
 * -------------------
 * One file in memory has a page for each queue of an application that asks for one. What the page
 * is for is the matter of shm-ring/bell_page.h; zvsockd never looks into it. Beside it there is an
 * eventfd, which wakes the queue. Its owner need not read it, and who has a channel to it writes.
 *
 * That is for applications of one user, who could stop or end each other as well. A user's
 * processes can make a write to an eventfd that they have block; and of all else that wakes, and
 * carries no descriptors, some lock is held for as long as memory does not come (a pipe's, with a
 * write from a file of FUSE), so that others who write, open or close it hang, this process among
 * them. Between users zvsockd wakes sleepers.
 *
 * An end of a channel gets a bell of the page of its queue, if both ends have one (bells_take()),
 * and gives it back with the end.
 *
 * Pages are for all applications that zvsockd's own region is for: one trust domain, as
 * that. An application has at most its share of them: a page for each queue.
 *
 * What cannot be had (descriptors, memory, pages) is not there: ends are woken by zvsockd then.
 *
 * Threads: any. The lock is held for the bookkeeping and, for who asks for descriptors, some system
 * calls that do not wait.
 */
#ifndef ZVD_BELLS_H
#define ZVD_BELLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A bell. Zeroed: none. */
struct bell {
	uint32_t page; /* its id, which no page had before */
	uint32_t nr;
};

#define BELLS_FDS	1u /* of zvsockd, for the file */
#define BELLS_FDS_QUEUE 1u /* ... and for each page */

/*
 * A descriptor of the file, the caller's, and its size. -errno: -EMFILE, -ENFILE, -ENOMEM.
 */
int bells_file(uint64_t *size);

/*
 * The page of @queue of the application @serial of user @uid: its id, where it lies in the file,
 * and a descriptor, the caller's, on which the queue sleeps. -errno; -ENOSPC: all pages are taken.
 */
int bells_page(uint64_t serial, unsigned queue, uid_t uid, uint32_t *id, uint64_t *offset);

/* To ring in page @id: where it lies, and a descriptor, the caller's. -ENOENT: user @uid has no
 * such page; -errno. */
int bells_ringer(uint32_t id, uid_t uid, uint64_t *offset);

/* The application has gone. */
void bells_gone(uint64_t serial);

/* A bell each for two ends of a channel: true; false: there are not both, or of two users, and *a
 * and *b are none. */
bool bells_take(uint64_t serial_a, unsigned queue_a, struct bell *a, uint64_t serial_b,
		unsigned queue_b, struct bell *b);
/* Harmless for none, and for one whose page is gone. */
void bell_give(const struct bell *b);

#endif
