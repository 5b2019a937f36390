/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw.h"

#include "core/workload.h"
#include "raw_ring.h"

#include <errno.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

void raw_vq_init(struct raw_vq *v, bool packed)
{
	for (uint16_t i = 0; i < RAW_VQ_SIZE; i++) {
		uint16_t id = (uint16_t)(i & (v->nbufs - 1));

		v->m->avail[i] = id;
		v->m->desc[i] = (struct raw_desc){
			.addr = (uint64_t)id * v->stride + RAW_HDR_OFF,
			.word = packed ? 0 : v->len,
		};
	}
}

/* ---- two processes ---- */

static int raw_side(int fd, struct raw_ctx *r, enum bench_role role)
{
	struct side_stats *st = &r->shm->side[role];
	uint64_t cpu0;
	char go;

	cpu_pin(r->o->cpus, role, 0);
	if (proc_child_send(fd, 'r') < 0 || proc_child_wait(fd, &go) < 0)
		return 1;
	cpu0 = cpu_used_ns();
	st->first_ns = cpu_now_ns();
	(role == ROLE_GUEST ? r->loops->guest : r->loops->host)(r, st);
	st->last_ns = cpu_now_ns();
	st->cpu_ns = cpu_used_ns() - cpu0;
	proc_child_send(fd, 'd');
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

/* Payload, in hugepages when the system has some to spare. */
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

static void rings_init(struct raw_ctx *r)
{
	for (unsigned i = 0; i < 2 && r->vq; i++) {
		struct raw_vq *v = &r->vq[i];

		*v = (struct raw_vq){.m = &r->shm->vq[i],
				     .bufs = r->slots + (size_t)i * r->nslots * r->stride,
				     .nbufs = r->nslots,
				     .stride = r->stride,
				     .len = RAW_HDR_LEN + r->c->msg_size};
		raw_vq_init(v, r->packed);
	}
}

int raw_run(struct raw_ctx *r, struct bench_result *res, struct proc_err *err)
{
	const struct bench_opts *o = r->o;
	size_t len = (size_t)r->nslots * r->stride * (r->vq ? 2 : 1);
	int rc;

	r->wake[0] = r->wake[1] = -1;
	r->shm = proc_shared(sizeof(*r->shm));
	r->slots = raw_slots_map(&len);
	for (unsigned i = 0; i < 2 && o->sleep; i++)
		r->wake[i] = eventfd(0, EFD_CLOEXEC);
	if (r->shm && r->slots && (!o->sleep || (r->wake[0] >= 0 && r->wake[1] >= 0))) {
		rings_init(r);
		rc = proc_pair(raw_guest, raw_host, r, o->duration_ns + BENCH_GRACE_NS, err);
	} else {
		snprintf(err->text, sizeof(err->text),
			 "no memory or descriptors for the raw limits");
		rc = -ENOMEM;
	}
	if (rc == 0) {
		const struct side_stats *side = r->shm->side;

		result_of_cell(res, r->c, &side[ROLE_GUEST], &side[ROLE_HOST], ROLE_GUEST, 1);
		res->rtt = r->shm->rtt;
	}
	for (unsigned i = 0; i < 2; i++)
		if (r->wake[i] >= 0)
			close(r->wake[i]);
	if (r->slots)
		munmap(r->slots, len);
	proc_unshare(r->shm, sizeof(*r->shm));
	return rc;
}
