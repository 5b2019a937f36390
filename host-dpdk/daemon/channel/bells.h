/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bells of applications: how two applications that share a channel wake each other without zvsockd
 * (docs/protocol.md, "Bells").
 *
 * Theory of operation
 * -------------------
 * A memory file has one page for each application queue that asks for one. shm-ring/bell_page.h
 * defines the use of the page; zvsockd never reads it. Each page comes with an eventfd, which wakes
 * the queue. The queue's owner need not read the eventfd, and everybody who has a channel to the
 * queue writes to it.
 *
 * Bells are only shared by applications of one user: whoever has an eventfd can make writes to it
 * block, but these could stop or kill each other anyway. No other object is better: all that can
 * wake a process and carry no descriptors take some lock that is held while a memory access may
 * block (a pipe's, during a write from a mapped FUSE file), so everybody who writes, opens or
 * closes them can be made to hang, zvsockd included. Applications of different users are woken by
 * zvsockd.
 *
 * An end of a channel gets a bell of its queue's page, if both ends have a page (bells_alloc()),
 * and returns it when the end is released.
 *
 * Pages are for all applications that may use zvsockd's own region, and form one trust domain, like
 * that region. The share of an application is limited: one page for each of its queues.
 *
 * Without the resources (descriptors, memory, pages), or while too many eventfds of the user's
 * former applications wait to be closed, there is no bell, and zvsockd wakes the ends.
 *
 * Threads: any. The lock is held for bookkeeping and, for callers that get descriptors, during some
 * system calls that do not wait.
 */
#ifndef ZVD_BELLS_H
#define ZVD_BELLS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A bell. Zeroed: none. */
struct bell {
	uint32_t page; /* its id, never reused */
	uint32_t nr;
};

/* Eventfds that wait to be closed: with so many of a user, or of all, there is no new page. */
#define BELLS_CLOSING	  256u
#define BELLS_CLOSING_ALL 512u

/* Descriptors of zvsockd: for the file, and for pages whose applications have gone ... */
#define BELLS_FDS	(1u + BELLS_CLOSING_ALL)
#define BELLS_FDS_QUEUE 1u /* ... and for each queue */

/* A new descriptor of the file, owned by the caller, and the size of the file. -errno: -EMFILE,
 * -ENFILE, -ENOMEM. */
int bells_file(uint64_t *size);

/*
 * The page of @queue of the application @serial of user @uid: its id, its offset in the file, and a
 * descriptor, owned by the caller, on which the queue sleeps. -errno; -ENOSPC: all pages are in
 * use; -EBUSY: too many eventfds of applications that have gone wait to be closed.
 */
int bells_page(uint64_t serial, unsigned queue, uid_t uid, uint32_t *id, uint64_t *offset);

/* For ringing bells in page @id: its offset, and a descriptor owned by the caller. -ENOENT: user
 * @uid has no such page; -errno. */
int bells_ringer(uint32_t id, uid_t uid, uint64_t *offset);

/* The application is gone: frees its pages. */
void bells_gone(uint64_t serial);

/* Takes one bell for each end of a channel. False: an end has no page or no free bell, or the pages
 * belong to two users; then *a and *b are zeroed. */
bool bells_alloc(uint64_t serial_a, unsigned queue_a, struct bell *a, uint64_t serial_b,
		 unsigned queue_b, struct bell *b);
/* Does nothing if there is no bell, or its page is gone. */
void bell_free(const struct bell *b);

#endif
