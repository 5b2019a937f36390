/* SPDX-License-Identifier: BSD-3-Clause */
/* Raw limits of the machine, see io/raw.h: both sides are forked for each cell. */
#include "io/raw.h"
#include "core/target.h"
#include "measure/cpu.h"
#include "targets.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static int raw_side(int fd, struct raw_ctx *r, enum bench_role role)
{
	struct side_stats *st = &r->shm->side[role];
	const struct workload_raw *wl = &r->c->workload->raw;
	uint64_t cpu0;
	char go;

	cpu_pin(r->o->cpus, role, 0);
	if (proc_child_say(fd, 'r') < 0 || proc_child_wait(fd, &go) < 0)
		return 1;
	cpu0 = cpu_used_ns();
	st->first_ns = cpu_now_ns();
	(role == ROLE_GUEST ? wl->guest : wl->host)(r, st);
	st->last_ns = cpu_now_ns();
	st->cpu_ns = cpu_used_ns() - cpu0;
	proc_child_say(fd, 'd');
	return 0;
}

static int raw_guest(int fd, void *arg)
{
	return raw_side(fd, arg, ROLE_GUEST);
}

static int raw_host(int fd, void *arg)
{
	return raw_side(fd, arg, ROLE_HOST);
}

/* Payload slots, in a hugepage when the system has one to spare. */
static void *raw_slots_map(size_t *len)
{
	const size_t huge = 2u << 20;
	size_t hlen = (*len + huge - 1) & ~(huge - 1);
	void *p = mmap(NULL, hlen, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);

	if (p != MAP_FAILED) {
		*len = hlen;
		return p;
	}
	p = mmap(NULL, *len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1,
		 0);
	return p == MAP_FAILED ? NULL : p;
}

static int raw_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		   struct bench_result *res, struct proc_err *err)
{
	struct raw_ctx r = {.o = o, .c = c, .batch = o->batch, .wake = {-1, -1}};
	size_t len;
	int rc;

	(void)state;
	r.nslots = raw_slots(c->msg_size);
	r.stride = (c->msg_size + 63u) & ~63u;
	if (r.batch > r.nslots / 2)
		r.batch = r.nslots / 2;
	/* A batch is there to share the cost of one line; a large message has lines enough. */
	if (c->msg_size >= 16384)
		r.batch = 1;
	len = (size_t)r.nslots * r.stride;
	r.shm = proc_shared(sizeof(*r.shm));
	r.slots = raw_slots_map(&len);
	for (unsigned i = 0; i < 2 && o->sleep; i++)
		r.wake[i] = eventfd(0, EFD_CLOEXEC);
	if (r.shm && r.slots && (!o->sleep || (r.wake[0] >= 0 && r.wake[1] >= 0))) {
		rc = proc_pair(raw_guest, raw_host, &r, o->duration_ns + BENCH_GRACE_NS, err);
	} else {
		snprintf(err->text, sizeof(err->text),
			 "no memory or descriptors for the raw limits");
		rc = -ENOMEM;
	}
	if (rc == 0) {
		const struct side_stats *side = r.shm->side;

		result_of_cell(res, c, &side[ROLE_GUEST], &side[ROLE_HOST], ROLE_GUEST, 1);
		res->rtt = r.shm->rtt;
	}
	for (unsigned i = 0; i < 2; i++)
		if (r.wake[i] >= 0)
			close(r.wake[i]);
	if (r.slots)
		munmap(r.slots, len);
	proc_unshare(r.shm, sizeof(*r.shm));
	return rc;
}

static int raw_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.zero_copy = true;
	return plan_add(p, o, c);
}

const struct target target_raw = {
	.name = "raw",
	.path = "raw",
	.label = "raw limit",
	.brief = "raw",
	.about = "bare loops in shared memory: what the machine can do",
	.ratio = "xraw",
	.io = IO_RAW,
	.absent = baseline_absent,
	.plan = raw_plan,
	.run = raw_run,
};
