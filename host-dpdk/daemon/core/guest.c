/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest.h"

#include "fd_closer.h"
#include "fds.h"
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void guest_fails(struct guest *g, const char *fmt, ...)
{
	va_list ap;

	if (!g->why || *g->why) /* what follows is only a consequence */
		return;
	va_start(ap, fmt);
	(void)vsnprintf(g->why, GUEST_WHY_MAX, fmt, ap);
	va_end(ap);
}

uint64_t guest_cid(const struct guest *g)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	(void)zv_dev_info(g->dev, &info);
	return info.guest_cid;
}

void guest_counters_read(const struct guest *g, struct guest_counters *to)
{
	const uint64_t *from = (const uint64_t *)&g->counters;

	for (unsigned i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
		((uint64_t *)to)[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

/* ---- descriptors of connections ---- */

/* @own: those of the guest, with the one that is refused. */
static void log_fd_limit(const struct guest *g, uint32_t own, bool share)
{
	if (own > g->max_fds)
		log_line(ZV_LOG_WARN, g->name,
			 "its connections hold %u descriptors, which is all they may: "
			 "refusing more; raise max_fds",
			 g->max_fds);
	else if (!share && fds_available())
		log_line(ZV_LOG_WARN, g->name,
			 "its connections hold %u descriptors, as many as they leave for those of "
			 "others: refusing more; raise the limit of open files (LimitNOFILE=, "
			 "ulimit -n)",
			 own - 1);
	else
		log_line(
			ZV_LOG_WARN, g->name,
			"the connections of all guests hold %u descriptors, which is all they may: "
			"refusing more; raise the limit of open files (LimitNOFILE=, ulimit -n)",
			fds_max());
}

/* Those of its connections, and those that local programs have sent. */
static uint32_t guest_fds(const struct guest *g)
{
	return __atomic_load_n(&g->fds, __ATOMIC_RELAXED) +
	       (g->closer ? fd_closer_count(g->closer) : 0);
}

bool guest_fd_get(struct guest_queue *gq)
{
	struct guest *g = gq->guest;
	uint32_t own;
	bool share;

	__atomic_add_fetch(&g->fds, 1, __ATOMIC_RELAXED);
	own = guest_fds(g);
	share = fds_has_share(own);
	if (own <= g->max_fds && share && fds_get())
		return true;
	__atomic_sub_fetch(&g->fds, 1, __ATOMIC_RELAXED);
	GUEST_COUNT(gq, fd_limit);
	log_fd_limit(g, own, share);
	return false;
}

bool guest_fd_available(const struct guest *g)
{
	uint32_t own = guest_fds(g);

	return own < g->max_fds && fds_has_share(own + 1) && fds_available();
}

void guest_fd_put(struct guest_queue *gq)
{
	__atomic_sub_fetch(&gq->guest->fds, 1, __ATOMIC_RELAXED);
	fds_put();
}

int guest_expects_passed(struct guest *g)
{
	if (!g->closer)
		g->closer = fd_closer_new(fds_put);
	return g->closer ? 0 : -ENOMEM;
}

void guest_fd_discard(struct guest *g, int fd)
{
	__atomic_sub_fetch(&g->fds, 1, __ATOMIC_RELAXED);
	fd_closer_put_all(g->closer, &fd, 1);
}

void guest_fds_passed(struct guest *g, const int *fd, unsigned n)
{
	if (!n)
		return;
	fds_take(n);
	fd_closer_put_all(g->closer, fd, n);
}

uint32_t guest_passed_reads(const struct guest *g)
{
	return fd_closer_count(g->closer) ? 0 : fds_passed_reads();
}

void guest_fd_refused(struct guest_queue *gq, int err)
{
	if (err == -ENOMEM || err == -ENOBUFS) {
		GUEST_COUNT(gq, no_memory);
		log_line(ZV_LOG_WARN, gq->guest->name, "no memory for another socket: refusing");
		return;
	}
	GUEST_COUNT(gq, fd_limit);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "no descriptor for another connection: refusing; raise the %s",
		 err == -ENFILE ? "system's limit (sysctl fs.file-max)"
				: "limit of open files (LimitNOFILE=, ulimit -n)");
}
