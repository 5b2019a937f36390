/* SPDX-License-Identifier: BSD-3-Clause */
#include "io.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CQ_PER_SQ 16u /* every connection may have a pending poll */

static int sysctl_disabled(void)
{
	FILE *f = fopen("/proc/sys/kernel/io_uring_disabled", "re");
	int value = 0;

	if (f) {
		if (fscanf(f, "%d", &value) != 1)
			value = 0;
		(void)fclose(f);
	}
	return value;
}

static const char *explain(int err)
{
	int off = sysctl_disabled();

	if (err == -ENOSYS)
		return "this kernel has no io_uring: use Linux 5.19 or later with CONFIG_IO_URING";
	if (err == -EPERM && off == 1)
		return "io_uring is for members of a group only: add this user to the group that "
		       "sysctl kernel.io_uring_group names, or set kernel.io_uring_disabled=0";
	if (err == -EPERM && off == 2)
		return "io_uring is switched off: set sysctl kernel.io_uring_disabled=0";
	if (err == -EPERM)
		return "io_uring is forbidden here, most likely by a seccomp filter: allow "
		       "io_uring_setup, io_uring_enter and io_uring_register in the container's "
		       "profile";
	if (err == -EMFILE || err == -ENFILE)
		return "no descriptor left for io_uring: raise the limit of open files "
		       "(LimitNOFILE=, ulimit -n)";
	return strerror(-err);
}

int io_open(struct io *io, unsigned entries, const char **why)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int ret = -EINVAL;

	memset(io, 0, sizeof(*io));
	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]) && ret == -EINVAL; i++) {
		struct io_uring_params p = {.flags = flags[i] | IORING_SETUP_CQSIZE,
					    .cq_entries = entries * CQ_PER_SQ};

		ret = io_uring_queue_init_params(entries, &io->ring, &p);
		/* Without EXT_ARG (5.11) sleeping would cost a request for each timeout. */
		if (ret == 0 && !(p.features & IORING_FEAT_EXT_ARG)) {
			io_uring_queue_exit(&io->ring);
			ret = -ENOSYS;
		}
	}
	if (ret < 0)
		*why = explain(ret);
	else
		(void)io_uring_ring_dontfork(&io->ring);
	return ret;
}

void io_close(struct io *io)
{
	io_uring_queue_exit(&io->ring);
}

struct io_uring_sqe *io_sqe(struct io *io, struct io_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);

	while (!sqe) {
		(void)io_uring_submit(&io->ring);
		sqe = io_uring_get_sqe(&io->ring);
	}
	if (op)
		op->pending = true;
	/* The prep functions do not change user_data. */
	io_uring_sqe_set_data(sqe, op);
	return sqe;
}

void io_submit(struct io *io)
{
	if (io_uring_sq_ready(&io->ring))
		(void)io_uring_submit(&io->ring); /* runs waiting task work as well */
	else if (IO_URING_READ_ONCE(*io->ring.sq.kflags) &
		 (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		(void)io_uring_get_events(&io->ring);
}

unsigned io_reap(struct io *io)
{
	unsigned n = io_uring_cq_ready(&io->ring), done = 0;
	struct io_uring_cqe *cqe;

	/* Only those that were there at the start: done() may complete more, which are left for the
	 * next round. */
	for (; done < n && io_uring_peek_cqe(&io->ring, &cqe) == 0; done++) {
		struct io_op *op = io_uring_cqe_get_data(cqe);
		uint32_t flags = cqe->flags;
		int res = cqe->res;

		io_uring_cqe_seen(&io->ring, cqe);
		if (!op)
			continue;
		op->pending = flags & IORING_CQE_F_MORE;
		op->done(op, res, flags);
	}
	return done;
}

void io_sleep(struct io *io, uint64_t timeout_ns)
{
	struct __kernel_timespec ts = {.tv_sec = (long long)(timeout_ns / 1000000000u),
				       .tv_nsec = (long long)(timeout_ns % 1000000000u)};
	struct io_uring_cqe *cqe;

	if (timeout_ns == UINT64_MAX)
		(void)io_uring_submit_and_wait(&io->ring, 1);
	else
		(void)io_uring_submit_and_wait_timeout(&io->ring, &cqe, 1, &ts, NULL);
}

void io_poll(struct io *io, struct io_op *op, int fd, uint32_t events)
{
	io_uring_prep_poll_add(io_sqe(io, op), fd, events);
}

void io_poll_on(struct io *io, struct io_op *op, int fd, uint32_t events)
{
	io_uring_prep_poll_multishot(io_sqe(io, op), fd, events);
}

void io_accept(struct io *io, struct io_op *op, int fd)
{
	io_uring_prep_accept(io_sqe(io, op), fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void io_cancel(struct io *io, struct io_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->pending)
		return;
	sqe = io_sqe(io, NULL);
	io_uring_prep_cancel(sqe, op, 0);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

void io_close_fd(struct io *io, int fd)
{
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer does not see what io_uring closes: it would take the next descriptor of
	 * that number, which may be another thread's, for this one. */
	io_submit(io);
	(void)close(fd);
#else
	struct io_uring_sqe *sqe = io_sqe(io, NULL);

	io_uring_prep_close(sqe, fd);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
#endif
}
