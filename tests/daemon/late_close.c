/* SPDX-License-Identifier: BSD-3-Clause */
/* Linked instead of fd_send() (--wrap): after sending a descriptor, zvsockd is held up until the
 * receiver has sent something else. */
#include "fd_send.h"

#include <poll.h>

#define PATIENCE_MS 60000

ssize_t __real_fd_send(int to, const void *data, size_t len, int fd);
ssize_t __wrap_fd_send(int to, const void *data, size_t len, int fd);

ssize_t __wrap_fd_send(int to, const void *data, size_t len, int fd)
{
	struct pollfd p = {.fd = to, .events = POLLIN};
	ssize_t n = __real_fd_send(to, data, len, fd);

	if (fd >= 0 && n > 0)
		(void)poll(&p, 1, PATIENCE_MS);
	return n;
}
