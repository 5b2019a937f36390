/* SPDX-License-Identifier: BSD-3-Clause */
/* The seccomp filter of mode seccomp, run by an interpreter of what it may consist of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "seccomp/filter.h"

#define NUMBERS 1024 /* system calls that there might be */

struct outcome {
	uint32_t action;
	bool looked; /* at an argument: the kernel has to run the filter each time */
};

static struct outcome run(const struct sock_filter *prog, size_t n, const struct seccomp_data *d)
{
	struct outcome o = {0};
	uint32_t a = 0;

	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *f = &prog[pc];

		switch (f->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			assert_true(f->k % 4 == 0 && f->k < sizeof(*d));
			o.looked |= f->k >= offsetof(struct seccomp_data, args);
			memcpy(&a, (const char *)d + f->k, sizeof(a));
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			pc += a == f->k ? f->jt : f->jf;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			pc += a & f->k ? f->jt : f->jf;
			break;
		case BPF_RET | BPF_K:
			o.action = f->k;
			return o;
		default:
			fail_msg("an instruction that is not known: %#x", f->code);
		}
	}
	fail_msg("it runs out of instructions");
	return o;
}

static unsigned more; /* of the filters that are asked */

static struct outcome ask(bool opens, int nr, const uint64_t args[6])
{
	struct sock_filter prog[DI_FILTER_MAX];
	size_t n = di_filter(prog, more | (opens ? DI_FILTER_OPENS : 0));
	struct seccomp_data d = {.nr = nr, .arch = di_filter_arch()};

	assert_in_range(n, 1, DI_FILTER_MAX);
	memcpy(d.args, args, sizeof(d.args));
	return run(prog, n, &d);
}

static bool shown(bool opens, int nr, const uint64_t args[6])
{
	uint32_t action = ask(opens, nr, args).action;

	assert_true(action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_USER_NOTIF);
	return action == SECCOMP_RET_USER_NOTIF;
}

#define ARGS(...) ((const uint64_t[6]){__VA_ARGS__})
#define JUNK	  (UINT64_C(0xdeadbeef) << 32) /* the kernel takes no notice of it in an int */

static void need_filter(void)
{
	if (di_filter_arch())
		return;
	print_message("mode seccomp does not know this architecture\n");
	skip();
}

static void calls_on_vsock_are_shown(void **state)
{
	static const int always[] = {
		SYS_bind,     SYS_connect,     SYS_accept4,
		SYS_shutdown, SYS_getsockname, SYS_getpeername,
#ifdef SYS_accept
		SYS_accept,
#endif
	};

	(void)state;
	need_filter();
	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		assert_true(shown(false, always[i], ARGS(3)));
	assert_true(shown(false, SYS_socket, ARGS(AF_VSOCK, SOCK_STREAM)));
	assert_true(shown(false, SYS_socket, ARGS(JUNK | AF_VSOCK, SOCK_SEQPACKET)));
	assert_true(shown(false, SYS_getsockopt, ARGS(3, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE)));
	assert_true(shown(false, SYS_setsockopt, ARGS(3, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE)));
	assert_true(shown(false, SYS_getsockopt, ARGS(3, SOL_SOCKET, SO_ERROR)));
	assert_true(shown(false, SYS_getsockopt, ARGS(3, SOL_SOCKET, SO_DOMAIN)));
	assert_true(shown(false, SYS_ioctl, ARGS(3, IOCTL_VM_SOCKETS_GET_LOCAL_CID)));
}

static void calls_on_others_are_not(void **state)
{
	(void)state;
	need_filter();
	for (uint64_t family = 0; family < 64; family++)
		assert_true(shown(false, SYS_socket, ARGS(family, SOCK_STREAM)) ==
			    (family == AF_VSOCK));
	for (uint64_t name = 0; name < 100; name++) {
		assert_true(shown(false, SYS_getsockopt, ARGS(3, SOL_SOCKET, name)) ==
			    (name == SO_ERROR || name == SO_DOMAIN));
		assert_true(shown(false, SYS_setsockopt, ARGS(3, SOL_SOCKET, name)) ==
			    (name == SO_MAX_PACING_RATE));
		assert_false(shown(false, SYS_getsockopt, ARGS(3, 6 /* TCP */, name)));
	}
	for (uint64_t request = 0; request < 0x10000; request++)
		assert_true(shown(false, SYS_ioctl, ARGS(3, request)) ==
			    (request == IOCTL_VM_SOCKETS_GET_LOCAL_CID));
}

/* Of these the kernel knows beforehand that they are allowed. */
static void what_moves_bytes_is_not_looked_at(void **state)
{
	static const int free_of_cost[] = {
		SYS_read,     SYS_write,    SYS_readv,	       SYS_writev, SYS_sendto,
		SYS_recvfrom, SYS_sendmsg,  SYS_recvmsg,       SYS_ppoll,  SYS_epoll_pwait,
		SYS_sendfile, SYS_splice,   SYS_close,	       SYS_dup,	   SYS_execve,
		SYS_futex,    SYS_recvmmsg, SYS_io_uring_enter};

	(void)state;
	need_filter();
	for (size_t i = 0; i < sizeof(free_of_cost) / sizeof(free_of_cost[0]); i++)
		for (unsigned with = 0; with < 4; with++) {
			struct outcome o;

			more = with & 2 ? DI_FILTER_TCP : 0;
			o = ask(with & 1, free_of_cost[i], ARGS(AF_VSOCK, AF_VSOCK));
			assert_int_equal(o.action, SECCOMP_RET_ALLOW);
			assert_false(o.looked);
		}
	more = 0;
}

static void opens_are_shown_when_asked_for(void **state)
{
	static const struct {
		uint64_t flags;
		bool shown;
	} cases[] = {{O_RDONLY, true},
		     {O_RDONLY | O_CLOEXEC, true},
		     {O_RDWR, true},
		     {O_WRONLY | O_CREAT, false},
		     {O_DIRECTORY, false},
		     {O_WRONLY | O_APPEND, false},
		     {O_RDWR | O_TRUNC, false},
		     {O_PATH, false}};

	(void)state;
	need_filter();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(shown(true, SYS_openat, ARGS((uint64_t)AT_FDCWD, 0, cases[i].flags)) ==
			    cases[i].shown);
		assert_false(shown(false, SYS_openat, ARGS((uint64_t)AT_FDCWD, 0, cases[i].flags)));
#ifdef SYS_open
		assert_true(shown(true, SYS_open, ARGS(0, cases[i].flags)) == cases[i].shown);
		assert_false(shown(false, SYS_open, ARGS(0, cases[i].flags)));
#endif
	}
}

static void options_of_ip_are_shown_when_asked_for(void **state)
{
	(void)state;
	need_filter();
	for (unsigned with = 0; with < 2; with++) {
		more = with ? DI_FILTER_TCP : 0;
		for (uint64_t level = 0; level < 300; level++) {
			bool ip = level == IPPROTO_IP || level == IPPROTO_TCP ||
				  level == IPPROTO_IPV6;
			bool expected = level == AF_VSOCK || (ip && with);

			assert_true(shown(false, SYS_setsockopt, ARGS(3, level, 1)) == expected);
			assert_true(shown(false, SYS_getsockopt, ARGS(3, level, 1)) == expected);
		}
	}
	more = 0;
}

static void addresses_of_messages_are_shown_when_asked_for(void **state)
{
	static const int messages[] = {SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg};
	static const int with_address[] = {SYS_sendto, SYS_recvfrom};
	static const uint64_t pointers[] = {0, 8, JUNK, JUNK | 8, UINT64_C(1) << 63};

	(void)state;
	need_filter();
	for (unsigned with = 0; with < 2; with++) {
		more = with ? DI_FILTER_DGRAM : 0;
		for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++)
			assert_true(shown(false, messages[i], ARGS(3)) == with);
		for (size_t i = 0; i < sizeof(with_address) / sizeof(with_address[0]); i++)
			for (size_t j = 0; j < sizeof(pointers) / sizeof(pointers[0]); j++)
				assert_true(shown(false, with_address[i],
						  ARGS(3, 8, 9, 0, pointers[j], 16)) ==
					    (with && pointers[j]));
	}
	more = 0;
}

static void other_architectures_are_allowed(void **state)
{
	static const uint32_t others[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_X86_64,
					  AUDIT_ARCH_AARCH64, 0};
	struct sock_filter prog[DI_FILTER_MAX];
	size_t n = di_filter(prog, DI_FILTER_OPENS | DI_FILTER_TCP | DI_FILTER_DGRAM);

	(void)state;
	need_filter();
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		for (int nr = 0; nr < NUMBERS && others[i] != di_filter_arch(); nr++) {
			struct seccomp_data d = {
				.nr = nr, .arch = others[i], .args = {AF_VSOCK, AF_VSOCK}};

			assert_int_equal(run(prog, n, &d).action, SECCOMP_RET_ALLOW);
		}
#ifdef __x86_64__
	for (int nr = 0; nr < NUMBERS; nr++) /* x32 */
		assert_false(shown(true, 0x40000000 | nr, ARGS(AF_VSOCK, AF_VSOCK)));
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_on_vsock_are_shown),
		cmocka_unit_test(calls_on_others_are_not),
		cmocka_unit_test(what_moves_bytes_is_not_looked_at),
		cmocka_unit_test(opens_are_shown_when_asked_for),
		cmocka_unit_test(options_of_ip_are_shown_when_asked_for),
		cmocka_unit_test(addresses_of_messages_are_shown_when_asked_for),
		cmocka_unit_test(other_architectures_are_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
