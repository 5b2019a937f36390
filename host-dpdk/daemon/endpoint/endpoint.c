/* SPDX-License-Identifier: BSD-3-Clause */
/* All endpoint types together; theory in endpoint.h. */
#include "endpoint.h"

#include "base/clock.h"
#include "channel/claims.h"
#include "core/log.h"

#include <errno.h>

#define ACCEPTS_AT_ONCE	 32u
#define DGRAM_TURN_BYTES 262144u
#define DGRAM_CHARGE	 4096u /* least that one counts of it */
#define DGRAM_CLOCK	 8u    /* datagrams after which the time is looked at */

#define TYPE(type) &endpoint_##type,
static const struct endpoint_ops *const types[] = {ENDPOINT_TYPES(TYPE)};

#define PART(type) &endpoint_##type.cfg,
const struct cfg_part *const endpoint_parts[] = {ENDPOINT_TYPES(PART) NULL};

_Static_assert(N_ENDPOINT_TYPES <= CFG_PARTS_MAX, "raise CFG_PARTS_MAX");

/* ---- connections that a guest asks for ---- */

static void refuse(struct zv_conn *conn, int err)
{
	(void)zv_conn_answer(conn, err);
	(void)zv_conn_close(conn);
}

/* True: @cid is not ours, so that only types with `others` serve it. A device is asked for its own
 * CID only; to an application CID 1 is this machine, as CID 2 is. */
static bool is_others(const struct guest_queue *gq, uint64_t cid)
{
	const struct cfg_role_info *r = &cfg_roles[guest_cfg(gq->guest)->role];

	return r->own_cid && cid != r->own_cid && !(r->attached && cid == ZV_CID_LOCAL);
}

static void serve(struct guest_queue *gq, struct zv_conn *conn)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	int ret = 0;
	bool others;

	GUEST_COUNT(gq, guest_requests);
	(void)zv_conn_info(conn, &info);
	others = is_others(gq, info.local_cid);
	broker_poll_programs(gq);
	gq->asking = gq->claims ? claim_take(gq, &info) : NULL;
	for (unsigned i = 0; i < N_ENDPOINT_TYPES && ret == 0; i++)
		if (types[i]->serve && types[i]->others == others)
			ret = types[i]->serve(gq, conn, &info);
	gq->asking = NULL;
	if (ret > 0)
		return;
	if (ret == 0) {
		GUEST_COUNT(gq, no_endpoint);
		log_line(ZV_LOG_DEBUG, gq->guest->name,
			 "nothing is configured for port %u of CID %llu", info.local_port,
			 (unsigned long long)info.local_cid);
	}
	refuse(conn, ret ? ret : -ECONNREFUSED);
}

void endpoint_accept(struct guest_queue *gq)
{
	struct zv_conn *conn;

	for (unsigned i = 0; i < ACCEPTS_AT_ONCE; i++) {
		if (zv_accept(gq->q, ZV_PORT_ANY, &conn) < 0)
			return;
		serve(gq, conn);
	}
}

/* ---- datagrams ---- */

static void hand_over(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
		      uint32_t len)
{
	bool others = is_others(gq, from->local_cid);

	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->datagram && types[i]->others == others &&
		    types[i]->datagram(gq, from, data, len))
			return;
	GUEST_COUNT(gq, dgram_lost);
}

/* What has been handed over costs more than was thought: to programs, system calls. */
static bool turn_over(struct guest_queue *gq, uint64_t *start)
{
	uint64_t now = now_ns();

	if (*start)
		gq->dgram_turn.ns += now - *start;
	*start = now;
	return gq->dgram_turn.ns >= LCORE_TURN_NS;
}

/* The rest in the device's queue is taken in a later poll, or in a later round. */
void endpoint_datagrams(struct guest_queue *gq)
{
	static _Thread_local uint8_t data[ZV_DGRAM_MAX];
	struct lcore_turn *turn = &gq->dgram_turn;
	uint64_t start = 0, round = lcore_round(gq->lc);
	struct zv_dgram_addr from;
	uint32_t work = 0;
	ssize_t n;

	if (turn->round != round)
		*turn = (struct lcore_turn){.round = round};
	for (unsigned i = 1; work < DGRAM_TURN_BYTES && turn->ns < LCORE_TURN_NS; i++) {
		n = zv_dgram_recv(gq->q, ZV_PORT_ANY, data, sizeof(data), NULL, &from);
		if (n < 0)
			return;
		hand_over(gq, &from, data, (uint32_t)n);
		work += (uint32_t)n > DGRAM_CHARGE ? (uint32_t)n : DGRAM_CHARGE;
		if (gq->lq.debt >= LCORE_PAYS || (i % DGRAM_CLOCK == 0 && turn_over(gq, &start)))
			return;
	}
}

bool endpoints_take_datagrams(const struct cfg_guest *c)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->has_datagrams && types[i]->has_datagrams(c))
			return true;
	return false;
}

/* ---- a guest's endpoints as a whole ---- */

int endpoints_start(struct guest *g)
{
	int ret = 0;

	for (unsigned i = 0; i < N_ENDPOINT_TYPES && ret == 0; i++)
		if (types[i]->start)
			ret = types[i]->start(g);
	return ret;
}

void endpoints_stop(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->stop)
			types[i]->stop(g);
}

void endpoints_trim(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->trim)
			types[i]->trim(g);
}

void endpoints_extend(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->extend)
			types[i]->extend(g);
}

void endpoints_free(struct guest *g)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->free)
			types[i]->free(g);
}

const char *endpoints_port(const struct guest *g, uint32_t port, bool dgram)
{
	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->has_port && types[i]->has_port(g, port, dgram))
			return types[i]->name;
	return NULL;
}

uint32_t endpoints_listen_flags(const struct cfg_guest *c)
{
	uint32_t flags = 0;

	for (unsigned i = 0; i < N_ENDPOINT_TYPES; i++)
		if (types[i]->listen_flags)
			flags |= types[i]->listen_flags(c->part[i]);
	return flags;
}
