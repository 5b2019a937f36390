/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Raw limits: what two processes reach with no API, no protocol and no credit between them. They
 * say how much of the machine a transport leaves on the table.
 *
 *   rtt         two words in two cache lines, each side spins on the other's
 *   throughput  the bare loop: payload slots and a single-producer ring of slot offsets, published
 *               in batches; the sender writes each slot in full, the receiver compares it in full,
 *               both with the functions that the other targets use
 *
 * Both sides spin. Where the other may need the same CPU, a spinner would burn its whole time slice
 * before the other runs, so it yields: at once on one CPU, after a while elsewhere.
 */
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"
#include "targets.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "shm_access.h"

#define RAW_RING     4096u /* more than there are slots at any message size, and the end mark */
#define RAW_END	     UINT64_MAX
#define RAW_SALT     0x726177u
#define RAW_SPINS    128u   /* not pinned apart: the peer may wait for this CPU */
#define RAW_SPINS_2  16384u /* pinned apart: somebody else may, but that is rare */
#define RAW_PING_END UINT32_MAX

struct raw_shm {
	uint32_t ping __attribute__((aligned(128)));
	uint32_t pong __attribute__((aligned(128)));
	uint64_t tail __attribute__((aligned(128))); /* written by the sender */
	uint64_t head __attribute__((aligned(128))); /* written by the receiver */
	uint64_t ring[RAW_RING] __attribute__((aligned(128)));
	struct side_stats side[2];
	struct rtt_result rtt;
};

struct raw_ctx {
	const struct bench_opts *o;
	const struct bench_cell *c;
	struct raw_shm *shm;
	unsigned char *slots;
	uint32_t nslots, stride;
	uint32_t batch;
};

/*
 * Payload in flight at once. 4 MiB was the fastest on the machines at hand for large messages (they
 * leave the sender's caches before they are read: out of a shared cache they come faster than out
 * of another core's own), 16 KiB for small ones (they stay in the first-level caches).
 */
uint32_t raw_slots(uint32_t msg_size)
{
	uint32_t n = (4u << 20) / (msg_size ? msg_size : 1);

	if (msg_size <= 1024)
		n = 256;
	return n < 4 ? 4 : n;
}

static inline void raw_relax(const struct raw_ctx *r, unsigned *spins)
{
	unsigned most = r->o->cpus == CPUS_1 ? 1 : r->o->cpus == CPUS_2 ? RAW_SPINS_2 : RAW_SPINS;

	if (++*spins < most) /* no pause instruction: it would cost a round trip 40 cycles */
		return;
	*spins = 0;
	sched_yield();
}

static void raw_send(struct raw_ctx *r, struct side_stats *st)
{
	const struct bench_cell *c = r->c;
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns);
	uint64_t tail = 0, head = 0;
	uint32_t slot = 0;
	unsigned spins = 0;

	for (;;) {
		uint64_t used, n;

		head = shm_load_acquire64(&r->shm->head);
		used = tail - head;
		n = r->nslots - used;
		if (n == 0) {
			raw_relax(r, &spins);
			continue;
		}
		spins = 0;
		if (cpu_ticks() >= end)
			break;
		if (n > r->batch)
			n = r->batch;
		for (uint64_t i = 0; i < n; i++, tail++) {
			uint64_t at = (uint64_t)slot * r->stride;

			if (r->o->touch)
				pattern_fill(r->slots + at, c->msg_size, RAW_SALT, tail, 0);
			r->shm->ring[tail % RAW_RING] = at;
			slot = slot + 1 == r->nslots ? 0 : slot + 1;
		}
		shm_store_release64(&r->shm->tail, tail);
	}
	r->shm->ring[tail % RAW_RING] = RAW_END;
	shm_store_release64(&r->shm->tail, tail + 1);
	st->msgs[0] = tail;
	st->bytes = tail * c->msg_size;
}

static void raw_receive(struct raw_ctx *r, struct side_stats *st)
{
	const struct bench_cell *c = r->c;
	uint64_t head = 0, tail, errors = 0;
	unsigned spins = 0;

	for (;;) {
		tail = shm_load_acquire64(&r->shm->tail);
		if (tail == head) {
			raw_relax(r, &spins);
			continue;
		}
		spins = 0;
		if (tail - head > r->batch)
			tail = head + r->batch;
		for (; head != tail; head++) {
			uint64_t at = r->shm->ring[head % RAW_RING];

			if (at == RAW_END)
				goto out;
			if (r->o->touch)
				errors += !pattern_check(r->slots + at, c->msg_size, RAW_SALT, head,
							 0);
		}
		shm_store_release64(&r->shm->head, head);
	}
out:
	st->msgs[0] = head;
	st->bytes = head * c->msg_size;
	st->errors = errors;
}

static void raw_ping(struct raw_ctx *r, struct side_stats *st)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns), t0, t1 = cpu_ticks();
	static struct hist h;
	unsigned spins = 0;
	uint32_t i = 0;

	hist_reset(&h);
	do {
		i++;
		t0 = cpu_ticks();
		shm_store_release32(&r->shm->ping, i);
		while (shm_load_acquire32(&r->shm->pong) != i)
			raw_relax(r, &spins);
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
	} while (t1 < end && i < RAW_PING_END - 1);
	shm_store_release32(&r->shm->ping, RAW_PING_END);
	st->msgs[0] = i;
	r->shm->rtt.p50 = cpu_ticks_to_ns(hist_quantile(&h, 0.5));
	r->shm->rtt.p99 = cpu_ticks_to_ns(hist_quantile(&h, 0.99));
	r->shm->rtt.p999 = cpu_ticks_to_ns(hist_quantile(&h, 0.999));
	r->shm->rtt.max = cpu_ticks_to_ns(h.max);
}

static void raw_pong(struct raw_ctx *r, struct side_stats *st)
{
	uint32_t last = 0, v;
	unsigned spins = 0;

	for (;;) {
		v = shm_load_acquire32(&r->shm->ping);
		if (v == RAW_PING_END)
			break;
		if (v == last) {
			raw_relax(r, &spins);
			continue;
		}
		last = v;
		shm_store_release32(&r->shm->pong, v);
	}
	st->msgs[0] = last;
}

static int raw_side(int fd, struct raw_ctx *r, enum bench_role role)
{
	struct side_stats *st = &r->shm->side[role];
	bool sender = (role == ROLE_GUEST) == (r->c->dir != DIR_H2G);
	uint64_t cpu0;
	char go;

	cpu_pin(r->o->cpus, role, 0);
	if (proc_child_say(fd, 'r') < 0 || proc_child_wait(fd, &go) < 0)
		return 1;
	cpu0 = cpu_used_ns();
	st->first_ns = cpu_now_ns();
	if (r->c->test == TEST_RTT)
		(role == ROLE_GUEST ? raw_ping : raw_pong)(r, st);
	else
		(sender ? raw_send : raw_receive)(r, st);
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

int raw_run(const struct bench_opts *o, const struct bench_cell *c, struct bench_result *res,
	    struct proc_err *err)
{
	struct raw_ctx r = {.o = o, .c = c, .batch = o->batch};
	size_t len;
	int rc;

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
	if (r.shm && r.slots) {
		rc = proc_pair(raw_guest, raw_host, &r, o->duration_ns + BENCH_GRACE_NS, err);
	} else {
		snprintf(err->text, sizeof(err->text), "no memory for the raw limits");
		rc = -ENOMEM;
	}
	if (rc == 0 && c->test == TEST_RTT) {
		res->rtt = r.shm->rtt;
		result_from_sides(res, &r.shm->side[ROLE_HOST], &r.shm->side[ROLE_GUEST], 1);
	} else if (rc == 0) {
		bool g2h = c->dir != DIR_H2G;

		result_from_sides(res, &r.shm->side[g2h ? ROLE_GUEST : ROLE_HOST],
				  &r.shm->side[g2h ? ROLE_HOST : ROLE_GUEST], 1);
	}
	if (rc == 0) {
		res->cpu_ns[ROLE_GUEST] = r.shm->side[ROLE_GUEST].cpu_ns;
		res->cpu_ns[ROLE_HOST] = r.shm->side[ROLE_HOST].cpu_ns;
	}
	if (r.slots)
		munmap(r.slots, len);
	proc_unshare(r.shm, sizeof(*r.shm));
	return rc;
}
