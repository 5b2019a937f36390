/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker_fix.h"

#include "chan_pair.h"

#include <stdlib.h>

struct broker B;

static void freed(struct region_map *m)
{
	(void)m;
	fake_regions.freed++;
}

int broker_setup(void **state)
{
	(void)state;
	memset(&B, 0, sizeof(B));
	B.mem = aligned_alloc(4096, BR_SIZE);
	assert_non_null(B.mem);
	memset(B.mem, 0, BR_SIZE);
	fake_regions = (struct fake_regions){
		.map = {.addr = B.mem, .size = BR_SIZE, .refs = 1, .free = freed}};
	return pair_open(&(struct zv_opts){.flags = ZV_OPT_BROKER, .buf_alloc = 65536});
}

int broker_teardown(void **state)
{
	int ret = pair_teardown(state);

	assert_int_equal(fake_regions.map.refs, 1); /* all who held it have let go */
	assert_int_equal(fake_regions.freed, 0);
	free(B.mem);
	return ret;
}

struct zv_queue *broker_queue(unsigned i)
{
	return zv_queue(P.host, i);
}

struct zv_queue *guest_queue(unsigned i)
{
	return zv_queue(P.guest, i);
}

struct zv_broker_msg broker_expect(unsigned i, uint32_t what)
{
	struct zv_broker_msg m;

	assert_int_equal(zv_broker_recv(broker_queue(i), &m), 1);
	assert_int_equal(m.what, what);
	return m;
}

void broker_expect_holds(unsigned i, uint32_t generation)
{
	struct zv_broker_msg m = broker_expect(i, ZV_BROKER_HOLDS);

	assert_true(m.id == (generation ? BR_REGION : 0));
	assert_int_equal(m.generation, generation);
	assert_int_equal(m.left, 0);
}

void broker_expect_none(unsigned i)
{
	struct zv_broker_msg m;

	assert_int_equal(zv_broker_recv(broker_queue(i), &m), 0);
}

void broker_announce(void)
{
	const struct zv_region r = {BR_REGION, BR_SIZE, ZV_REGION_BY_FD};

	for (unsigned i = 0; i < 2; i++) {
		(void)broker_expect(i, ZV_BROKER_HELLO);
		assert_int_equal(zv_region_announce(broker_queue(i), &r), 0);
	}
	pump();
	for (unsigned i = 0; i < 2; i++) {
		struct zv_broker_msg m = broker_expect(i, ZV_BROKER_REGION);

		assert_int_equal(m.result, 0);
		assert_true(m.id == BR_REGION);
	}
}

struct zv_grant broker_grant_for(enum shm_role role)
{
	return (struct zv_grant){.region = BR_REGION, .desc = B.desc, .role = role};
}

/* The guest has asked, the broker has taken the request. */
static void ask(enum zv_type type)
{
	int ret = zv_listen(P.guest, BR_PORT, type, 0);

	assert_true(ret == 0 || ret == -EADDRINUSE);
	ret = zv_listen_all(P.host, 0, 0);
	assert_true(ret == 0 || ret == -EADDRINUSE);
	assert_int_equal(zv_connect(guest_queue(0), ZV_CID_HOST, BR_PORT, type, &B.ask_g), 0);
	pump();
	assert_int_equal(zv_accept(broker_queue(0), ZV_PORT_ANY, &B.ask_h), 0);
}

void broker_join(enum zv_type type)
{
	struct zv_grant g;

	ask(type);
	B.desc = chan_small();
	B.desc.generation = ++B.generation;
	assert_int_equal(shm_channel_format(B.mem, BR_SIZE, &B.desc), 0);
	g = broker_grant_for(SHM_ROLE_B);
	assert_int_equal(
		zv_connect_granted(broker_queue(1), 0, ZV_PORT_ANY, 0, BR_PORT, type, &g, &B.to_h),
		0);
	pump();
	assert_int_equal(seen_host.err, 0);
	assert_int_equal(zv_accept(guest_queue(1), BR_PORT, &B.to_g), 0);
	g = broker_grant_for(SHM_ROLE_A);
	assert_int_equal(zv_conn_grant(B.ask_h, &g), 0);
	assert_int_equal(zv_conn_answer(B.ask_h, 0), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, 0);
}

void broker_another_device(void)
{
	P.h->dev->nonce++;
}
