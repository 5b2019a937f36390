/* SPDX-License-Identifier: BSD-3-Clause */
#include "doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int doorbell_init(struct doorbell *d, struct doorbell_word *word)
{
	*d = (struct doorbell){.word = word, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	if (d->fd < 0)
		return -errno;
	shm_store64(&word->need_wakeup, 0);
	return 0;
}

void doorbell_fini(struct doorbell *d)
{
	if (d->fd >= 0)
		close(d->fd);
	*d = (struct doorbell){.fd = -1};
}

int doorbell_attach(struct doorbell_peer *p, const struct doorbell_word *word, int fd)
{
	struct stat st;

	*p = (struct doorbell_peer){.word = word, .fd = -1};
	if (fstat(fd, &st))
		return -errno;
	/* Anonymous inodes, eventfds among them, have no file type; pipes and sockets have. */
	if (st.st_mode & S_IFMT)
		return -EINVAL;
	p->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return p->fd < 0 ? -errno : 0;
}

void doorbell_detach(struct doorbell_peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	*p = (struct doorbell_peer){.fd = -1};
}

void doorbell_disarm(struct doorbell *d)
{
	uint64_t count;

	if (!d->armed)
		return;
	d->armed = false;
	shm_store64(&d->word->need_wakeup, 0);
	if (d->fd < 0)
		return;
	/* A failure, or a later ring, leaves the eventfd readable: one useless wake-up. */
	if (doorbell_wait(d, 0) == 1 && read(d->fd, &count, sizeof(count)) < 0)
		return;
}

int doorbell_wait(struct doorbell *d, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = d->fd, .events = POLLIN};
	struct timespec ts = {
		.tv_sec = (time_t)(timeout_ns / 1000000000u),
		.tv_nsec = (long)(timeout_ns % 1000000000u),
	};
	int rc = ppoll(&p, 1, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);

	return rc < 0 ? -errno : rc;
}

int doorbell_signal(struct doorbell_peer *p)
{
	struct pollfd pfd = {.fd = p->fd, .events = POLLOUT};
	uint64_t one = 1;
	int rc;

	p->rings++;
	if (p->wake) {
		rc = p->wake(p->arg);
		return rc < 0 ? rc : 1;
	}
	/* Not writable: the counter is full, so the eventfd is readable already. */
	if (poll(&pfd, 1, 0) <= 0 || !(pfd.revents & POLLOUT))
		return 1;
	if (write(p->fd, &one, sizeof(one)) != (ssize_t)sizeof(one) && errno != EAGAIN)
		return -errno;
	return 1;
}
