/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * io_uring as used by an lcore: one ring, owned by one thread.
 *
 * Theory of operation
 * -------------------
 * A request is an SQE (io_sqe) and an io_op, whose done() runs when the kernel has completed it, on
 * the same thread, from io_reap(). An op is part of a larger object and has at most one request in
 * progress; the object must stay valid until `pending` is 0 again. SQEs are not submitted one by
 * one: io_submit() enters the kernel once per round for all of them, and not at all if there are
 * none.
 *
 * Data is moved only with MSG_DONTWAIT, so such a request has completed when io_submit() returns:
 * the kernel never keeps a pointer into a guest's memory. Requests that may take time (poll,
 * accept) refer only to descriptors.
 *
 * The ring uses DEFER_TASKRUN: completions wait until the owner enters the kernel, and a flag in
 * shared memory says that there are some, so a spinning owner makes no system call and interrupts
 * nobody. On kernels without it (before 6.1) COOP_TASKRUN, or nothing, is used instead, which is
 * slower.
 */
#ifndef ZVD_IO_H
#define ZVD_IO_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct io_op;
/* @res and @flags are those of the CQE. */
typedef void (*io_done_fn)(struct io_op *op, int res, uint32_t flags);

struct io_op {
	io_done_fn done;
	bool pending; /* a request is in progress */
};

struct io {
	struct io_uring ring;
};

/* Opens a ring of @entries SQEs for the calling thread. 0, or -errno with *@why: a static sentence
 * that says what prevents io_uring and how to allow it, or what else is wrong. */
int io_open(struct io *io, unsigned entries, const char **why);
void io_close(struct io *io);

/* An empty SQE for @op (NULL: its completion is ignored). Never fails: if the queue is full it is
 * submitted first. */
struct io_uring_sqe *io_sqe(struct io *io, struct io_op *op);

/* Submits what is queued, without waiting; no system call if nothing is queued. */
void io_submit(struct io *io);

/* Calls done() for everything that has completed. Returns how many completions there were. */
unsigned io_reap(struct io *io);

/* Submits, and sleeps until something completes or @timeout_ns have passed (UINT64_MAX: no limit).
 */
void io_sleep(struct io *io, uint64_t timeout_ns);

/* One poll(2) of @fd; done() gets revents or -errno. */
void io_poll(struct io *io, struct io_op *op, int fd, uint32_t events);

/* As io_poll, but multishot: done() runs for the current state and for each later change
 * (edge-triggered, like EPOLLET), until the op is cancelled or done() finds op->pending cleared. */
void io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events);

/* Accepts one connection on @fd. A multishot request accepts all that wait, and those that come
 * meanwhile: whoever connects faster than that, from several CPUs, would keep the lcore accepting.
 */
void io_accept(struct io *io, struct io_op *op, int fd);

/* Requests cancellation of @op if it is pending; done() will run, usually with -ECANCELED. */
void io_cancel(struct io *io, struct io_op *op);

/* Queues a close of @fd after the requests queued so far; the completion is ignored. */
void io_close_fd(struct io *io, int fd);

#endif
