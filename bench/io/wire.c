/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire.h"

#include "core/workload.h"
#include "measure/cpu.h"

#include <string.h>

uint64_t wire_salt(unsigned queue)
{
	return 0x7a76ull + ((uint64_t)queue << 32);
}

void wire_init(struct wire_msg *m, enum wire_kind kind, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue)
{
	memset(m, 0, sizeof(*m));
	m->magic = BENCH_WIRE_MAGIC;
	m->version = BENCH_WIRE_VERSION;
	m->kind = (uint8_t)kind;
	m->flags = (uint8_t)((c->zero_copy ? W_ZERO_COPY : 0) | (o->touch ? W_TOUCH : 0) |
			     (c->coalesce ? W_COALESCE : 0) | (c->registered ? W_REGISTERED : 0));
	m->msg_size = c->msg_size;
	m->batch = o->batch;
	m->duration_ns = o->duration_ns;
	m->salt = wire_salt(queue);
}

void wire_role(struct wire_msg *m, const char *role, const struct bench_opts *o,
	       const struct bench_cell *c, unsigned queue)
{
	wire_init(m, W_ROLE, o, c, queue);
	memcpy(m->role, role, strnlen(role, sizeof(m->role)));
}

bool wire_known(const struct wire_msg *m)
{
	return m->magic == BENCH_WIRE_MAGIC && m->version == BENCH_WIRE_VERSION;
}

bool wire_task_ok(const struct wire_msg *m)
{
	return m->msg_size > 0 && m->msg_size <= BENCH_MSG_MAX && m->batch > 0 &&
	       m->batch <= BENCH_BATCH_MAX;
}

bool wire_is_ack(const struct wire_msg *m)
{
	return m->magic == BENCH_WIRE_MAGIC && m->kind == W_ACK;
}

_Static_assert(sizeof(struct side_stats) % sizeof(uint64_t) == 0, "words");

void run_reset(struct side_stats *run)
{
	uint64_t *w = (uint64_t *)run;

	for (size_t i = 0; i < sizeof(*run) / sizeof(*w); i++)
		__atomic_store_n(&w[i], 0, __ATOMIC_RELAXED);
}

void run_copy(struct side_stats *dst, const struct side_stats *run)
{
	const uint64_t *w = (const uint64_t *)run;

	for (size_t i = 0; i < sizeof(*run) / sizeof(*w); i++)
		((uint64_t *)dst)[i] = __atomic_load_n(&w[i], __ATOMIC_RELAXED);
}

void run_count_conn(struct side_stats *run, unsigned qi, bool closed)
{
	__atomic_fetch_add(closed ? &run->conns_closed : &run->msgs[qi], 1, __ATOMIC_RELAXED);
}

void run_answer(struct side_stats *run, uint64_t *cpu0, const struct wire_msg *m,
		struct side_stats *answer)
{
	if (m->kind == W_BEGIN) {
		run_reset(run);
		run->rss_before = cpu_rss();
		*cpu0 = cpu_used_ns();
	} else if (m->kind == W_MARK) {
		run->rss_after = cpu_rss();
		*cpu0 = cpu_used_ns();
	} else {
		run->cpu_ns = cpu_used_ns() - *cpu0;
	}
	run_copy(answer, run);
}

static uint64_t all_msgs(const struct side_stats *st)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < BENCH_QUEUES_MAX; i++)
		n += st->msgs[i];
	return n;
}

bool run_settled(const struct bench_cell *c, const struct side_stats *client,
		 const struct side_stats *server)
{
	uint64_t opened = all_msgs(client);

	return all_msgs(server) >= opened &&
	       (!c->workload->zv.counts_closed || server->conns_closed >= opened);
}

void run_result(struct bench_result *res, const struct bench_cell *c, enum bench_role role,
		const struct side_stats *client, const struct side_stats *server, unsigned queues)
{
	struct side_stats same;

	if (!server) {
		same = *client;
		same.errors = 0;
		same.cpu_ns = 0;
		same.conns_closed = all_msgs(client);
		server = &same;
	}
	if (role == ROLE_GUEST)
		result_of_cell(res, c, client, server, ROLE_GUEST, queues);
	else
		result_of_cell(res, c, server, client, ROLE_HOST, queues);
	if (c->workload->zv.counts_closed && server->conns_closed != res->messages)
		res->errors++;
}
