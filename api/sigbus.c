/* SPDX-License-Identifier: BSD-3-Clause */
#include "sigbus.h"

#include "transport.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BLOCK  256u
#define BLOCKS 4096u /* in all MAP_LIMIT_MAX of host-dpdk/common/map_limit.h */

/*
 * All fields are read by the handler while others write: barrier pair [F]. Sequentially consistent
 * atomics throughout, because they are rare.
 */
struct slot {
	uint32_t gen;	/* odd: being changed */
	uintptr_t addr; /* 0: free */
	size_t len;
	uint32_t *fault;
};

uint32_t sigbus_faults;

static struct slot *blocks[BLOCKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* watch, unwatch, install */
static uint32_t used;					 /* slots that have ever been used */
static uint32_t lowest;					 /* none below is free; under the lock */
static struct sigaction before;
static bool installed;

static struct slot *slot_at(uint32_t i)
{
	return &__atomic_load_n(&blocks[i / BLOCK], __ATOMIC_SEQ_CST)[i % BLOCK];
}

/* A consistent copy of a slot. False: it is free, or is being changed. */
static bool slot_read(const struct slot *s, struct slot *copy)
{
	copy->gen = __atomic_load_n(&s->gen, __ATOMIC_SEQ_CST);
	copy->addr = __atomic_load_n(&s->addr, __ATOMIC_SEQ_CST);
	copy->len = __atomic_load_n(&s->len, __ATOMIC_SEQ_CST);
	copy->fault = __atomic_load_n(&s->fault, __ATOMIC_SEQ_CST);
	return copy->addr && !(copy->gen & 1) &&
	       copy->gen == __atomic_load_n(&s->gen, __ATOMIC_SEQ_CST);
}

/* With the lock held. */
static void slot_write(struct slot *s, uintptr_t addr, size_t len, uint32_t *fault)
{
	__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&s->addr, addr, __ATOMIC_SEQ_CST);
	__atomic_store_n(&s->len, len, __ATOMIC_SEQ_CST);
	__atomic_store_n(&s->fault, fault, __ATOMIC_SEQ_CST);
	__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_SEQ_CST);
}

static bool repair(uintptr_t at)
{
	uint32_t n = __atomic_load_n(&used, __ATOMIC_SEQ_CST);
	struct slot s;

	for (uint32_t i = 0; i < n; i++) {
		if (!slot_read(slot_at(i), &s) || at - s.addr >= s.len)
			continue;
		/* Before the zeroes are there: another thread may read them at once. */
		__atomic_store_n(s.fault, 1, __ATOMIC_RELEASE);
		__atomic_fetch_add(&sigbus_faults, 1, __ATOMIC_RELEASE);
		return mmap((void *)s.addr, s.len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			    0) != MAP_FAILED;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int err = errno;

	bool fault = info->si_code > 0; /* of an access; otherwise somebody has sent the signal */

	if (fault && repair((uintptr_t)info->si_addr)) {
		errno = err;
		return;
	}
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, context);
	} else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
		before.sa_handler(sig);
	} else if (fault || before.sa_handler == SIG_DFL) {
		/* What happens without a handler: an access is repeated, a sent signal comes again
		 * when this handler returns, and either ends the process. */
		(void)sigaction(SIGBUS, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
		if (!fault)
			(void)raise(sig);
	}
	errno = err;
}

int sigbus_install(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int ret = 0;

	pthread_mutex_lock(&lock);
	sigemptyset(&sa.sa_mask);
	if (!installed && sigaction(SIGBUS, &sa, &before) < 0)
		ret = -errno;
	installed = installed || ret == 0;
	pthread_mutex_unlock(&lock);
	return ret;
}

/* A free slot, with the lock held; -ENOMEM. */
static int slot_find(void)
{
	uint32_t i = lowest;
	struct slot *b;

	while (i < used && slot_at(i)->addr)
		i++;
	lowest = i;
	if (i < used)
		return (int)i;
	if (i == BLOCK * BLOCKS)
		return -ENOMEM;
	if (i % BLOCK == 0) {
		b = calloc(BLOCK, sizeof(*b));
		if (!b)
			return -ENOMEM;
		__atomic_store_n(&blocks[i / BLOCK], b, __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&used, i + 1, __ATOMIC_SEQ_CST);
	return (int)i;
}

int sigbus_watch(void *addr, size_t len, uint32_t *fault)
{
	int i;

	pthread_mutex_lock(&lock);
	i = slot_find();
	if (i >= 0)
		slot_write(slot_at((uint32_t)i), (uintptr_t)addr, len, fault);
	pthread_mutex_unlock(&lock);
	return i;
}

void sigbus_unwatch(int slot)
{
	if (slot < 0)
		return;
	pthread_mutex_lock(&lock);
	slot_write(slot_at((uint32_t)slot), 0, 0, NULL);
	if ((uint32_t)slot < lowest)
		lowest = (uint32_t)slot;
	pthread_mutex_unlock(&lock);
}

int zv_catch_sigbus(void)
{
	int ret = sigbus_install();

	return ret < 0 ? zv_err(ret, "zv_catch_sigbus: %s", zv_strerror(ret)) : 0;
}
