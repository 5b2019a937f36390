/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seccomp filter of a program in mode seccomp: which system calls the supervisor is shown.
 *
 * By arguments where these decide: socket(2) of AF_VSOCK only, options of level AF_VSOCK, SO_ERROR
 * and SO_DOMAIN, one ioctl(2). Calls that name a socket by its descriptor alone are shown for
 * sockets of every family. read(2), write(2), send(2), recv(2), poll(2) and all others are allowed
 * whatever their arguments, which the kernel knows from a bitmap, without running the filter; with
 * DI_FILTER_DGRAM it is run for send(2) and recv(2).
 *
 * Pure logic: nothing here makes a system call.
 */
#ifndef ZV_DROPIN_FILTER_H
#define ZV_DROPIN_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#define DI_FILTER_MAX 256u

/* AUDIT_ARCH_... of this build; 0: mode seccomp does not know this architecture. */
uint32_t di_filter_arch(void);

/* What else is shown. */
#define DI_FILTER_OPENS (1u << 0) /* openat(2) without O_CREAT, for /dev/vsock: it sees no path */
#define DI_FILTER_TCP	(1u << 1) /* options of TCP and IP */
#define DI_FILTER_DGRAM                                                                            \
	(1u << 2) /* sendmsg(2) and recvmsg(2); sendto(2) and recvfrom(2) with an                  \
		   * address */

/*
 * Writes the filter; @with: of the above. Calls of other architectures (32-bit programs) are
 * allowed: they find the kernel's own AF_VSOCK. Returns how many instructions; 0: this architecture
 * is not known.
 */
size_t di_filter(struct sock_filter prog[static DI_FILTER_MAX], unsigned with);

#endif
