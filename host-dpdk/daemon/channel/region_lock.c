/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

#define INSTANCE_AT ((off_t)1 << 62) /* the byte that process number 0 would lock */

static uint32_t instance;

static void choose(void)
{
	uint32_t random = 0;

	(void)!getrandom(&random, sizeof(random), 0);
	instance = random % (UINT32_MAX - 1) + 1;
}

uint32_t region_instance(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, choose);
	return instance;
}

int region_lock_fd(int fd, uint32_t life, int *err)
{
	struct flock lock = {
		.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = INSTANCE_AT + life, .l_len = 1};
	char path[32];
	int own;

	*err = 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Without waiting: if the owner has a lease on the file (F_SETLEASE), open(2) would
	 * block. */
	own = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (own >= 0 && fcntl(own, F_OFD_SETLK, &lock) == 0)
		return own;
	*err = -errno;
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return own < 0 ? -errno : own;
}

/* True: one of @n bytes from @start is locked. */
static bool locked(int fd, off_t start, off_t n)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = n};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool region_locked_before(int fd, uint32_t life)
{
	return locked(fd, INSTANCE_AT, life) ||
	       locked(fd, INSTANCE_AT + life + 1, (off_t)(UINT32_MAX - life));
}
