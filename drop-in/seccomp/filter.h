/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seccomp filter of a program in mode seccomp: which system calls the supervisor is shown.
 *
 * By arguments where these decide: socket(2) of AF_VSOCK only, options of level AF_VSOCK, SO_ERROR
 * and SO_DOMAIN, one ioctl(2). Calls that name a socket by its descriptor alone are shown for
 * sockets of every family. read(2), write(2), send(2), recv(2), poll(2) and all others are allowed
 * whatever their arguments, which the kernel knows from a bitmap, without running the filter.
 *
 * Pure logic: nothing here makes a system call.
 */
#ifndef ZV_DROPIN_FILTER_H
#define ZV_DROPIN_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DI_FILTER_MAX 224u

/* AUDIT_ARCH_... of this build; 0: mode seccomp does not know this architecture. */
uint32_t di_filter_arch(void);

/*
 * Writes the filter. @opens: show openat(2) without O_CREAT as well, for the sake of /dev/vsock:
 * of a machine that has none, since a filter cannot see a path. @tcp: options of TCP and IP too.
 * Calls of other architectures (32-bit programs) are allowed: they find the kernel's own AF_VSOCK.
 * Returns how many instructions; 0: this architecture is not known.
 */
size_t di_filter(struct sock_filter prog[static DI_FILTER_MAX], bool opens, bool tcp);

#endif
