/* SPDX-License-Identifier: BSD-3-Clause */
/* See held_page.h. */
#include "held_page.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE	    4096u
#define PATIENCE_MS 60000

bool held_page_new(struct held_page *h)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	/* poll(2) does not wait for one that may block. */
	h->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (h->uffd < 0) {
		(void)printf("without userfaultfd nothing is held: %s\n", strerror(errno));
		return false;
	}
	h->at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.range = (struct uffdio_range){(uintptr_t)h->at, PAGE};
	if (h->at != MAP_FAILED && ioctl(h->uffd, UFFDIO_API, &api) == 0 &&
	    ioctl(h->uffd, UFFDIO_REGISTER, &r) == 0)
		return true;
	(void)printf("userfaultfd: %s\n", strerror(errno));
	(void)close(h->uffd);
	return false;
}

bool held_page_waits(const struct held_page *h)
{
	struct pollfd p = {.fd = h->uffd, .events = POLLIN};

	return poll(&p, 1, PATIENCE_MS) == 1 && p.revents & POLLIN;
}

void held_page_come(struct held_page *h)
{
	struct uffdio_zeropage z = {.range = {(uintptr_t)h->at, PAGE}};

	(void)ioctl(h->uffd, UFFDIO_ZEROPAGE, &z);
	(void)close(h->uffd);
}
