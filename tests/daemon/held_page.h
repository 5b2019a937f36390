/* SPDX-License-Identifier: BSD-3-Clause */
/* A page of memory that does not come (userfaultfd): whoever touches it in a system call waits
 * there with whatever locks that call has taken. */
#ifndef HELD_PAGE_H
#define HELD_PAGE_H

#include <stdbool.h>

struct held_page {
	int uffd;
	char *at; /* 4096 bytes */
};

/* False: the kernel does not let us have one, which is printed. */
bool held_page_new(struct held_page *h);
/* Waits until somebody waits for it. False: not within a long time. */
bool held_page_waits(const struct held_page *h);
/* It comes. Nobody has to wait for it any more; it stays mapped. */
void held_page_come(struct held_page *h);

#endif
