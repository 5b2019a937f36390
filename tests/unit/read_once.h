/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which words of shared memory does a piece of code load, and how often?
 *
 * The pages are taken away (PROT_NONE). Each access faults; the handler notes the address, gives
 * the pages back and has the CPU stop after this one instruction, where they are taken away again.
 * So every load shows up once, in order, whatever the compiler has made of the source, and a value
 * that is read again after its check is seen at once and always, not only when another CPU happens
 * to change it in between. One thread; x86-64, and not under TSan, which delays signals.
 */
#ifndef READ_ONCE_H
#define READ_ONCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "shm_access.h"

#if defined(__x86_64__) && !defined(SHM_TSAN)

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define ONCE_AREAS 8u
#define ONCE_LOADS 256u
#define X86_TF	   0x100 /* EFLAGS: trap after the next instruction */
#define X86_WRITE  0x2	 /* error code of a page fault */

static struct once {
	struct {
		uint8_t *base;
		size_t len;
	} area[ONCE_AREAS];
	unsigned areas, loads;
	const uint8_t *load[ONCE_LOADS];
	uintptr_t page;
	struct sigaction segv, trap;
} once;

static inline void once_protect(int prot)
{
	for (unsigned i = 0; i < once.areas; i++) {
		uintptr_t from = (uintptr_t)once.area[i].base & ~(once.page - 1);
		uintptr_t to = (uintptr_t)once.area[i].base + once.area[i].len;

		/* What fails here fails the test by a missing load. */
		(void)mprotect((void *)from, ((to - from) + once.page - 1) & ~(once.page - 1),
			       prot);
	}
}

static inline bool once_watched(const uint8_t *p)
{
	for (unsigned i = 0; i < once.areas; i++)
		if (p >= once.area[i].base && p < once.area[i].base + once.area[i].len)
			return true;
	return false;
}

static inline void once_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig;
	if (reg[REG_EFL] & X86_TF) { /* a fault of its own: let it be one */
		(void)sigaction(SIGSEGV, &once.segv, NULL);
		return;
	}
	if (!(reg[REG_ERR] & X86_WRITE) && once_watched(info->si_addr) && once.loads < ONCE_LOADS)
		once.load[once.loads++] = info->si_addr;
	once_protect(PROT_READ | PROT_WRITE);
	reg[REG_EFL] |= X86_TF;
}

static inline void once_step(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)X86_TF;
	once_protect(PROT_NONE);
}

/* Watches @len bytes at @p from once_begin() on. */
static inline void once_watch(const volatile void *p, size_t len)
{
	assert_true(once.areas < ONCE_AREAS);
	once.area[once.areas].base = (uint8_t *)(uintptr_t)p;
	once.area[once.areas++].len = len;
}

static inline void once_begin(void)
{
	struct sigaction a = {.sa_flags = SA_SIGINFO};

	once.page = (uintptr_t)sysconf(_SC_PAGESIZE);
	once.loads = 0;
	a.sa_sigaction = once_fault;
	assert_int_equal(sigaction(SIGSEGV, &a, &once.segv), 0);
	a.sa_sigaction = once_step;
	assert_int_equal(sigaction(SIGTRAP, &a, &once.trap), 0);
	once_protect(PROT_NONE);
}

static inline void once_end(void)
{
	once_protect(PROT_READ | PROT_WRITE);
	(void)sigaction(SIGSEGV, &once.segv, NULL);
	(void)sigaction(SIGTRAP, &once.trap, NULL);
	once.areas = 0;
}

/* @p was loaded once, and counts as seen. */
static inline void once_expect(const volatile void *p)
{
	unsigned n = 0;

	for (unsigned i = 0; i < once.loads; i++)
		if (once.load[i] == (const volatile uint8_t *)p) {
			once.load[i] = NULL;
			n++;
		}
	assert_int_equal(n, 1);
}

/* @p may have been loaded, by a compiler that copies in several pieces, and counts as seen. */
static inline void once_allow(const volatile void *p)
{
	for (unsigned i = 0; i < once.loads; i++)
		if (once.load[i] == (const volatile uint8_t *)p) {
			once.load[i] = NULL;
			return;
		}
}

/* Nothing else was loaded. */
static inline void once_expect_no_more(void)
{
	for (unsigned i = 0; i < once.loads; i++)
		assert_null(once.load[i]);
}

#else
static inline void once_watch(const volatile void *p, size_t len)
{
	(void)p;
	(void)len;
}
static inline void once_begin(void)
{
	print_message("loads can be seen on x86-64 only, and not under ThreadSanitizer\n");
	skip();
}
static inline void once_end(void)
{
}
static inline void once_expect(const volatile void *p)
{
	(void)p;
}
static inline void once_allow(const volatile void *p)
{
	(void)p;
}
static inline void once_expect_no_more(void)
{
}
#endif

/* The words of a packet header, as vsock_hdr_get() takes them. */
static inline void once_expect_hdr(const uint8_t *hdr)
{
	for (unsigned i = 0; i <= 40; i += 8)
		once_expect(hdr + i);
}

#endif
