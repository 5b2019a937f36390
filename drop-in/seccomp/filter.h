/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The seccomp filter of a program in mode seccomp: which system calls are reported to the
 * supervisor.
 *
 * The filter checks arguments where they decide: socket(2) of AF_VSOCK only, options of level
 * AF_VSOCK, SO_ERROR and SO_DOMAIN, one ioctl(2). Calls that name a socket only by its descriptor
 * are reported for sockets of every family. read(2), write(2), send(2), recv(2), poll(2) and all
 * others are allowed whatever their arguments; the kernel has a bitmap of these and does not run
 * the filter for them. With DI_FILTER_DGRAM it is run for send(2) and recv(2).
 *
 * Pure logic: nothing here makes a system call.
 */
#ifndef ZV_DROPIN_FILTER_H
#define ZV_DROPIN_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#define DI_FILTER_MAX 256u

/* AUDIT_ARCH_... of this build; 0: mode seccomp does not support this architecture. */
uint32_t di_filter_arch(void);

/* What else is reported. */
#define DI_FILTER_OPENS (1u << 0) /* openat(2) without O_CREAT, for /dev/vsock: it sees no path */
#define DI_FILTER_TCP	(1u << 1) /* options of TCP and IP */
#define DI_FILTER_DGRAM                                                                            \
	(1u << 2) /* sendmsg(2) and recvmsg(2); sendto(2) and recvfrom(2) with an                  \
		   * address */

/*
 * Writes the filter; @with: flags above. Calls of other architectures (32-bit programs) are
 * allowed: they get the kernel's own AF_VSOCK. Returns the number of instructions; 0: the
 * architecture is not supported.
 */
size_t di_filter(struct sock_filter prog[static DI_FILTER_MAX], unsigned with);

#endif
