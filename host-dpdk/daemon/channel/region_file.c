/* SPDX-License-Identifier: BSD-3-Clause */
/* Detects who else has the memory of a region mapped, and creates descriptors of its file. Others
 * who can open the file decide how long operations on it take. */
#include "core/clock.h"
#include "core/log.h"
#include "region_int.h"
#include "region_lock.h"

#include <errno.h>
#include <fcntl.h>

#define CHECK_REST 100u
#define LENDERS	   64u

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
	if (!r->settled && r->from.lent)
		n = r->from.lent(r->from.arg, cids, LENDERS);
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
