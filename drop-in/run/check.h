/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --check: which modes work on this machine, and why others do not.
 */
#ifndef ZV_DROPIN_CHECK_H
#define ZV_DROPIN_CHECK_H

#include "program.h"

/*
 * Prints a line for each requirement of a mode, and the guests reported by zvsockd's control socket
 * @control. @library: NULL: not found. @program: NULL, or the program to be run. Returns 0 if
 * zvsockd and at least one mode (with @program: its mode) work, else 1.
 */
int check_print(const char *dir, const char *control, const char *library, const char *where,
		const char *linker, const struct program *program);

/* Does a supervisor work here? False: @why says why not. Forks. */
bool check_seccomp(const char *dir, char *why, size_t size);

/* Is /dev/vsock there and may it be opened? */
bool check_dev_vsock(void);

#endif
