/* SPDX-License-Identifier: BSD-3-Clause */
#include "sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>

#define SLOTS 4096

static struct slot {
	uintptr_t addr; /* 0: free; stored last, with release */
	size_t len;
	uint32_t *fault;
} slots[SLOTS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* watch, unwatch, install */
static int used;					 /* slots that have ever been used */
static struct sigaction before;
static bool installed;

static bool repair(uintptr_t at)
{
	int n = __atomic_load_n(&used, __ATOMIC_ACQUIRE);

	for (int i = 0; i < n; i++) {
		uintptr_t addr = __atomic_load_n(&slots[i].addr, __ATOMIC_ACQUIRE);

		if (!addr || at - addr >= slots[i].len)
			continue;
		if (mmap((void *)addr, slots[i].len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
			 0) == MAP_FAILED)
			return false;
		__atomic_store_n(slots[i].fault, 1, __ATOMIC_RELEASE);
		return true;
	}
	return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	int err = errno;

	if (repair((uintptr_t)info->si_addr)) {
		errno = err;
		return;
	}
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(sig, info, context);
	} else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
		/* Not ours: the access is repeated and ends the process as it always did. */
		(void)sigaction(SIGBUS, &before, NULL);
	} else {
		before.sa_handler(sig);
	}
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

int sigbus_watch(void *addr, size_t len, uint32_t *fault)
{
	int i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < used && slots[i].addr; i++)
		;
	if (i == SLOTS) {
		i = -1;
	} else {
		slots[i].len = len;
		slots[i].fault = fault;
		__atomic_store_n(&slots[i].addr, (uintptr_t)addr, __ATOMIC_RELEASE);
		if (i == used)
			__atomic_store_n(&used, used + 1, __ATOMIC_RELEASE);
	}
	pthread_mutex_unlock(&lock);
	return i;
}

void sigbus_unwatch(int slot)
{
	if (slot < 0)
		return;
	pthread_mutex_lock(&lock);
	__atomic_store_n(&slots[slot].addr, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
}
