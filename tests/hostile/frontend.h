/* SPDX-License-Identifier: BSD-3-Clause */
/* A frontend in a process of its own, to be killed: our real guest side, sending as fast as it can.
 */
#ifndef ZV_HOSTILE_FRONTEND_H
#define ZV_HOSTILE_FRONTEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What the test's main() does when it was started by frontend_spawn(): true, and *ret its exit code
 * (after an error only; it runs until it is killed). */
bool frontend_main(int argc, char **argv, int *ret);

/* Starts this program as a frontend on the socket at @path. -1: no process. */
pid_t frontend_spawn(const char *path);

/* Maps the guest memory of process @pid here as well. NULL: it has none. */
uint8_t *frontend_memory(pid_t pid, size_t *size);

/* kill -9, and no zombie is left. */
bool frontend_kill(pid_t pid);

#endif
