/* SPDX-License-Identifier: BSD-3-Clause */
#include "filter.h"

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels depends on it */

#include <linux/vm_sockets.h>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/*
 * What an argument must be: the low half of it, which is all that the kernel takes of an int; of a
 * pointer the high half as well.
 */
struct test {
	enum { ANY, EQUALS, HAS_NONE_OF, LOW_IS_NOT, HIGH_IS_NOT } how;
	unsigned arg;
	uint32_t value;
};

struct rule {
	uint32_t nr;
	unsigned with; /* only with that option, DI_FILTER_...; 0: always */
	struct test test[2];
};

/* What opens /dev/vsock would not say. */
#define NOT_OF_VSOCK (O_CREAT | O_DIRECTORY | O_PATH | O_TRUNC | O_APPEND)

static const struct rule rules[] = {
	{.nr = SYS_socket, .test = {{EQUALS, 0, AF_VSOCK}}},
	{.nr = SYS_bind},
	{.nr = SYS_connect},
#ifdef SYS_accept
	{.nr = SYS_accept},
#endif
	{.nr = SYS_accept4},
	{.nr = SYS_shutdown},
	{.nr = SYS_getsockname},
	{.nr = SYS_getpeername},
	{.nr = SYS_getsockopt, .test = {{EQUALS, 1, AF_VSOCK}}},
	{.nr = SYS_getsockopt, .test = {{EQUALS, 1, SOL_SOCKET}, {EQUALS, 2, SO_ERROR}}},
	{.nr = SYS_getsockopt, .test = {{EQUALS, 1, SOL_SOCKET}, {EQUALS, 2, SO_DOMAIN}}},
	{.nr = SYS_setsockopt, .test = {{EQUALS, 1, AF_VSOCK}}},
	/* holds the mark of a socket */
	{.nr = SYS_setsockopt, .test = {{EQUALS, 1, SOL_SOCKET}, {EQUALS, 2, SO_MAX_PACING_RATE}}},
	{.nr = SYS_ioctl, .test = {{EQUALS, 1, IOCTL_VM_SOCKETS_GET_LOCAL_CID}}},
#ifdef SYS_open
	{.nr = SYS_open, .with = DI_FILTER_OPENS, .test = {{HAS_NONE_OF, 1, NOT_OF_VSOCK}}},
#endif
	{.nr = SYS_openat, .with = DI_FILTER_OPENS, .test = {{HAS_NONE_OF, 2, NOT_OF_VSOCK}}},
	{.nr = SYS_getsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_TCP}}},
	{.nr = SYS_getsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_IP}}},
	{.nr = SYS_getsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_IPV6}}},
	{.nr = SYS_setsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_TCP}}},
	{.nr = SYS_setsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_IP}}},
	{.nr = SYS_setsockopt, .with = DI_FILTER_TCP, .test = {{EQUALS, 1, IPPROTO_IPV6}}},
	/* a pointer to an address that is not NULL */
	{.nr = SYS_sendto, .with = DI_FILTER_DGRAM, .test = {{LOW_IS_NOT, 4, 0}}},
	{.nr = SYS_sendto, .with = DI_FILTER_DGRAM, .test = {{HIGH_IS_NOT, 4, 0}}},
	{.nr = SYS_recvfrom, .with = DI_FILTER_DGRAM, .test = {{LOW_IS_NOT, 4, 0}}},
	{.nr = SYS_recvfrom, .with = DI_FILTER_DGRAM, .test = {{HIGH_IS_NOT, 4, 0}}},
	{.nr = SYS_sendmsg, .with = DI_FILTER_DGRAM},
	{.nr = SYS_recvmsg, .with = DI_FILTER_DGRAM},
	{.nr = SYS_sendmmsg, .with = DI_FILTER_DGRAM},
	{.nr = SYS_recvmmsg, .with = DI_FILTER_DGRAM},
};

uint32_t di_filter_arch(void)
{
#if defined(__x86_64__) && !defined(__ILP32__)
	return AUDIT_ARCH_X86_64;
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
	return AUDIT_ARCH_AARCH64;
#else
	return 0;
#endif
}

/* Both architectures are little-endian. */
static uint32_t half(const struct test *t)
{
	return (uint32_t)(offsetof(struct seccomp_data, args) + 8 * t->arg +
			  (t->how == HIGH_IS_NOT ? 4 : 0));
}

static struct sock_filter load(uint32_t offset)
{
	return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

static struct sock_filter answer(uint32_t action)
{
	return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
}

/* Continues after itself if *t holds; otherwise skips @others. */
static struct sock_filter jump(const struct test *t, uint8_t others)
{
	switch (t->how) {
	case EQUALS:
		return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, t->value, 0, others);
	case HAS_NONE_OF:
		return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, t->value, others,
						    0);
	default:
		return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, t->value, others, 0);
	}
}

/* A rule is a block that jumps to its end as soon as a test fails. */
static size_t add_rule(struct sock_filter *prog, const struct rule *r)
{
	size_t n = 0, len = 3;

	for (unsigned i = 0; i < 2; i++)
		len += r->test[i].how != ANY ? 2 : 0;
	prog[n++] = load(offsetof(struct seccomp_data, nr));
	prog[n] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r->nr, 0,
					       (uint8_t)(len - n - 1));
	n++;
	for (unsigned i = 0; i < 2 && r->test[i].how != ANY; i++) {
		prog[n++] = load(half(&r->test[i]));
		prog[n] = jump(&r->test[i], (uint8_t)(len - n - 1));
		n++;
	}
	prog[n++] = answer(SECCOMP_RET_USER_NOTIF);
	return n;
}

size_t di_filter(struct sock_filter prog[static DI_FILTER_MAX], unsigned with)
{
	size_t n = 0;

	if (!di_filter_arch())
		return 0;
	prog[n++] = load(offsetof(struct seccomp_data, arch));
	prog[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, di_filter_arch(), 1, 0);
	prog[n++] = answer(SECCOMP_RET_ALLOW);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (!rules[i].with || rules[i].with & with)
			n += add_rule(prog + n, &rules[i]);
	prog[n++] =
		answer(SECCOMP_RET_ALLOW); /* numbers of x32 have a bit that none of these has */
	return n;
}
