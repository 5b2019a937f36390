/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Surviving a truncated file.
 *
 * Theory of operation
 * -------------------
 * A peer can shorten the file behind memory that we have mapped (a frontend that of its guest's
 * memory, whoever has made a region that of the region); the next access to a lost page is a
 * SIGBUS, which by default ends the process, and so whatever else it does. The handler looks the
 * address up among the watched ranges, sets the range's fault word, puts private zeroes in the
 * place of the whole range and returns: the access is repeated and succeeds. The queue that uses
 * the range looks at the word once a burst and breaks; a call that copies payload looks at
 * sigbus_faults behind the copy. An address that is not watched, and a SIGBUS that somebody sends,
 * go to the handler that was there before, or to the default action; one that is ignored stays so,
 * and the protection with it.
 *
 * The handler runs on whatever thread touched the page and takes no lock: the table is made of
 * blocks that never move and are never freed, and a slot has a generation that is odd while the
 * slot is being changed. A slot that changes while the handler looks at it is passed over: it
 * cannot be the one of the range that faulted, which is in use, and so stays watched. mmap(2) is
 * not on POSIX's list of async-signal-safe functions, but on Linux it is a bare system call.
 *
 * Signal handlers belong to the application: nothing is installed unless it asks
 * (zv_catch_sigbus()).
 */
#ifndef ZV_SIGBUS_H
#define ZV_SIGBUS_H

#include <stddef.h>
#include <stdint.h>

/* Installs the handler, once. 0 or -errno. */
int sigbus_install(void);

/*
 * Watches [@addr, @addr + @len), a mapping of the caller's, until sigbus_unwatch(), which comes
 * before the munmap. *@fault is set to 1 by the handler. Returns a slot, or -ENOMEM: the range is
 * not protected.
 */
int sigbus_watch(void *addr, size_t len, uint32_t *fault);
/*
 * How many ranges were replaced since the process began. Raised, as the range's fault word, before
 * the zeros are there: who reads one and looks at the count afterwards finds it raised.
 */
extern uint32_t sigbus_faults;
/* Negative: nothing happens. */
void sigbus_unwatch(int slot);

#endif
