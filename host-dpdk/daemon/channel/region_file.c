/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detects who else has the memory of a region mapped, creates descriptors of its file, and times
 * accesses to it. Others who can open the file decide how long operations on it take.
 */
#include "base/clock.h"
#include "core/log.h"
#include "region_int.h"
#include "region_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#define CHECK_REST 100u
#define LENDERS	   64u

/* An access takes some 10 us. */
#define SLOW_NS	      100000u
#define SLOW_CPU_NS   50000000u /* no access but to a new page of a GiB takes so much CPU time */
#define WATCH_NS      10000000000u
#define WAIT_REST     100u
#define WAIT_BURST_NS 100000000u

/* To find a lock, the kernel searches all locks on the file, and somebody may have taken a million
 * of them. So after each check there is none for CHECK_REST times as long as it took, and only the
 * first check is waited for if another thread is doing it. */
static void check_locks(struct region *r)
{
	uint64_t start;

	if (!__atomic_load_n(&r->locks_check_ns, __ATOMIC_RELAXED))
		pthread_mutex_lock(&r->file_lock);
	else if (pthread_mutex_trylock(&r->file_lock))
		return;
	start = now_ns();
	if (start >= r->locks_check_ns) {
		bool locked = region_locked_before(r->mem.fd, region_instance());
		uint64_t end = now_ns();

		__atomic_store_n(&r->locks_check_ns, end + CHECK_REST * (end - start),
				 __ATOMIC_RELAXED);
		pthread_mutex_lock(&r->lock);
		r->settled = !locked && !r->lent;
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_unlock(&r->file_lock);
}

static bool is_settled(struct region *r)
{
	bool settled;

	pthread_mutex_lock(&r->lock);
	settled = r->settled;
	pthread_mutex_unlock(&r->lock);
	return settled;
}

void region_look_lent(struct region *r, bool (*counts)(uint64_t cid, void *arg), void *arg)
{
	uint64_t cids[LENDERS];
	unsigned n = 0;
	bool lent = false;

	pthread_mutex_lock(&r->lock);
	if (region_rests(r, now_ns())) {
		pthread_mutex_unlock(&r->lock);
		return;
	}
	if (!r->settled && r->from.lent) {
		struct region_touch t = region_touch(r);

		n = r->from.lent(r->from.arg, cids, LENDERS);
		region_touched(r, &t);
	}
	pthread_mutex_unlock(&r->lock);
	while (n && !lent)
		lent = counts(cids[--n], arg);
	pthread_mutex_lock(&r->lock);
	r->lent = lent;
	pthread_mutex_unlock(&r->lock);
}

bool region_settled(struct region *r)
{
	bool settled, was_waiting;

	if (is_settled(r))
		return true;
	check_locks(r);
	pthread_mutex_lock(&r->lock);
	was_waiting = r->waits;
	settled = r->settled;
	r->waits = !settled;
	pthread_mutex_unlock(&r->lock);
	if (settled == was_waiting)
		log_line(ZV_LOG_INFO, r->origin,
			 settled ? "its region can be used again: nothing from before zvsockd was "
				   "started is left in it"
				 : "applications or guests have its region mapped since before "
				   "zvsockd was started: its connections with others are relayed "
				   "until they have given back what they have on loan there");
	return settled;
}

/* With file_lock. Returns a descriptor that may outlive zvsockd, with a lock that identifies this
 * process. */
static int lent(struct region *r)
{
	int err, fd = region_lock_fd(r->mem.fd, region_instance(), &err);

	if (fd >= 0 && err && !r->unmarked)
		log_line(
			ZV_LOG_WARN, r->origin,
			"zvsockd cannot open and lock the file of its region (%s): when zvsockd is "
			"started again, payload of this guest that applications have on loan may "
			"be overwritten",
			zv_strerror(err));
	r->unmarked |= fd >= 0 && err;
	return fd;
}

int region_file(struct region *r)
{
	int fd;

	pthread_mutex_lock(&r->file_lock);
	if (!r->from.drop) {
		fd = fcntl(r->mem.fd, F_DUPFD_CLOEXEC, 0);
		fd = fd < 0 ? -errno : fd;
	} else {
		fd = lent(r);
	}
	pthread_mutex_unlock(&r->file_lock);
	return fd;
}

/* ---- waiting for pages ---- */

/* How often this thread has waited in the kernel, where being preempted does not count; its page
 * faults; its CPU time. */
static void look_at_thread(struct region_touch *t)
{
	struct rusage u = {0};

	(void)getrusage(RUSAGE_THREAD, &u);
	t->waits = (uint64_t)u.ru_nvcsw;
	t->faults = (uint64_t)(u.ru_minflt + u.ru_majflt);
	t->cpu_ns = cpu_ns();
}

bool region_rests(const struct region *r, uint64_t now)
{
	return r->rest_ns > now + (uint64_t)WAIT_REST * WAIT_BURST_NS;
}

/*
 * Whoever has the descriptor of the file can take pages out of it, again and again (fallocate(2)
 * with FALLOC_FL_PUNCH_HOLE). A thread that touches one waits until that is over, which takes the
 * longer the more often the file is mapped: seconds, during which an lcore serves nobody, or waits
 * for the lock of the region. So all threads wait for this in at most 1 % of the time, and
 * WAIT_BURST_NS beyond that. Then connections are relayed. The same counts for a page of 1 GiB that
 * was taken out: whoever touches it clears another one, for a quarter of a second of its CPU time.
 * A thread that took long may have been preempted, so only from then on it is checked, for
 * WATCH_NS, whether it waits or clears pages.
 */
void region_took(struct region *r, uint64_t start, uint64_t end, uint64_t lost_ns)
{
	bool rested = region_rests(r, end);

	if (end - start < SLOW_NS)
		return;
	r->rest_ns = r->rest_ns > end ? r->rest_ns : end;
	r->rest_ns += WAIT_REST * lost_ns;
	r->watch_ns = r->rest_ns + WATCH_NS;
	if (!rested && region_rests(r, end))
		log_line(ZV_LOG_WARN, *r->origin ? r->origin : NULL,
			 "an access to %s took %llu ms: somebody who has that memory takes "
			 "pages out of it, or its pages of 1 GiB have never been touched; "
			 "connections are relayed for %llu s",
			 *r->origin ? "its region" : "the region of applications",
			 (unsigned long long)(end - start) / 1000000,
			 (unsigned long long)(r->rest_ns - end) / 1000000000);
}

struct region_touch region_touch(const struct region *r)
{
	struct region_touch t = {.start = now_ns(), .was = mem_for(NULL)};

	t.watched = t.start < r->watch_ns;
	if (t.watched)
		look_at_thread(&t);
	return t;
}

void region_touched(struct region *r, const struct region_touch *t)
{
	uint64_t end = now_ns(), lost = 0;
	struct region_touch now;

	if (t->watched && end - t->start >= SLOW_NS) {
		look_at_thread(&now);
		if (now.waits != t->waits)
			lost = end - t->start;
		else if (now.faults != t->faults && now.cpu_ns - t->cpu_ns >= SLOW_CPU_NS)
			lost = now.cpu_ns - t->cpu_ns;
	}
	(void)mem_for(t->was);
	region_took(r, t->start, end, lost);
}
