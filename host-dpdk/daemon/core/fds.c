/* SPDX-License-Identifier: BSD-3-Clause */
#include "fds.h"

#include "config/config_part.h"
#include "log.h"
#include "passed.h"
#include "vu_limits.h"

#include <sys/resource.h>
#include <unistd.h>

#define FDS_ITSELF 64u	/* standard streams, signals, EAL and rte_vhost, files that are read */
#define FDS_LCORE  2u	/* io_uring, mailbox */
#define FDS_FEW	   256u /* too few for connections: warn */

#define PASSED_READS 16u
#define PASSED_SHARE 32u /* share of the limit for descriptors that they receive */

static uint32_t held, most = UINT32_MAX, passed_reads; /* atomic */
static bool shared;				       /* atomic: by several guests */

static uint64_t reserve(const struct cfg *c)
{
	uint64_t n = FDS_ITSELF + VU_FDS_PROCESS + (uint64_t)c->n_cpus * FDS_LCORE;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];
		const struct cfg_role_info *role = &cfg_roles[g->role];
		unsigned pairs = g->n_devices > 1 ? 1 : g->queues;

		n += (uint64_t)g->n_devices * (role->fds_device + role->fds_pair * pairs);
		for (unsigned k = 0; c->parts[k]; k++)
			if (c->parts[k]->fds)
				n += c->parts[k]->fds(g->part[k]);
	}
	return n;
}

static bool kernel_refuses_passed(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool refuses = fd >= 0 && passed_refuse(fd);

	if (fd >= 0)
		(void)close(fd);
	return refuses;
}

/* Descriptors that the reads of all lcores may receive. */
static uint64_t plan_passed(const struct cfg *c, uint64_t limit)
{
	uint64_t each = (uint64_t)(c->n_cpus ? c->n_cpus : 1) * PASSED_MAX;
	uint64_t reads = kernel_refuses_passed() ? 0 : limit / PASSED_SHARE / each;

	if (reads > PASSED_READS)
		reads = PASSED_READS;
	__atomic_store_n(&passed_reads, (uint32_t)reads, __ATOMIC_RELAXED);
	return reads * each;
}

void fds_plan(const struct cfg *c, unsigned others)
{
	uint64_t need = reserve(c) + others, limit = UINT32_MAX, left;
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < limit)
		limit = rl.rlim_cur;
	need += plan_passed(c, limit);
	left = limit > need ? limit - need : 0;
	if (left < limit / 4) /* most VMMs use far fewer than allowed */
		left = limit / 4;
	__atomic_store_n(&most, (uint32_t)left, __ATOMIC_RELAXED);
	__atomic_store_n(&shared, c->n_guests > 1 || *c->apps.path, __ATOMIC_RELAXED);
	if (left < FDS_FEW)
		log_line(ZV_LOG_WARN, NULL,
			 "only %llu descriptors are allowed: %u guests and zvsockd itself may need "
			 "%llu, connections get %llu in all; raise LimitNOFILE= or \"ulimit -Hn\"",
			 (unsigned long long)limit, c->n_guests, (unsigned long long)need,
			 (unsigned long long)left);
}

bool fds_get(void)
{
	if (__atomic_add_fetch(&held, 1, __ATOMIC_RELAXED) <=
	    __atomic_load_n(&most, __ATOMIC_RELAXED))
		return true;
	fds_put();
	return false;
}

void fds_put(void)
{
	__atomic_sub_fetch(&held, 1, __ATOMIC_RELAXED);
}

bool fds_available(void)
{
	return __atomic_load_n(&held, __ATOMIC_RELAXED) < __atomic_load_n(&most, __ATOMIC_RELAXED);
}

bool fds_has_share(uint32_t own)
{
	uint32_t all = __atomic_load_n(&most, __ATOMIC_RELAXED);
	uint32_t used = __atomic_load_n(&held, __ATOMIC_RELAXED);

	return !__atomic_load_n(&shared, __ATOMIC_RELAXED) || (used < all && own <= all - used);
}

void fds_take(uint32_t n)
{
	__atomic_add_fetch(&held, n, __ATOMIC_RELAXED);
}

uint32_t fds_passed_reads(void)
{
	return __atomic_load_n(&held, __ATOMIC_RELAXED) <= __atomic_load_n(&most, __ATOMIC_RELAXED)
		       ? __atomic_load_n(&passed_reads, __ATOMIC_RELAXED)
		       : 0;
}

uint32_t fds_max(void)
{
	return __atomic_load_n(&most, __ATOMIC_RELAXED);
}
