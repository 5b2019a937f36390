/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection table against an array that is searched from end to end.
 *
 * Keys come from a small set, so that insertions collide with what is there; a burst of insertions
 * makes the table grow, removal in any order makes backward shifts of all kinds. The port range is
 * a few ports wide, so that it runs out. Ids of removed nodes are kept and must find nothing, and
 * removing a node that is not the owner of its key must change nothing.
 */
#include "fuzz.h"
#include "proto/vsock/conn_table.h"

#include <errno.h>

#define NODES 256u
#define STALE 16u

struct model {
	struct conn_table t;
	struct conn_node node[NODES];
	bool in[NODES];
	unsigned count;
	uint32_t max, lo, hi, index, stride;
	uint64_t stale[STALE];
	unsigned nstale;
};

static int naive_find(const struct model *m, const struct conn_key *k)
{
	for (unsigned i = 0; i < NODES; i++)
		if (m->in[i] && m->node[i].key.cid == k->cid &&
		    m->node[i].key.peer_port == k->peer_port &&
		    m->node[i].key.local_port == k->local_port)
			return (int)i;
	return -1;
}

static void check_key(const struct model *m, const struct conn_key *k)
{
	int i = naive_find(m, k);

	FZ_CHECK(conn_table_find(&m->t, k) == (i < 0 ? NULL : &m->node[i]));
}

static void check_all(const struct model *m)
{
	uint32_t pos = 0;
	unsigned walked = 0;
	struct conn_node *n;

	FZ_CHECK(m->t.count == m->count);
	for (unsigned i = 0; i < NODES; i++) {
		if (!m->in[i])
			continue;
		FZ_CHECK(m->node[i].id != 0);
		FZ_CHECK(conn_table_get(&m->t, m->node[i].id) == &m->node[i]);
		FZ_CHECK(conn_table_find(&m->t, &m->node[i].key) == &m->node[i]);
	}
	while ((n = conn_table_next(&m->t, &pos))) {
		FZ_CHECK(n >= m->node && n < m->node + NODES && m->in[n - m->node]);
		walked++;
	}
	FZ_CHECK(walked == m->count);
	for (unsigned i = 0; i < STALE; i++)
		FZ_CHECK(!m->stale[i] || !conn_table_get(&m->t, m->stale[i]));
}

static void insert(struct model *m, unsigned i, const struct conn_key *k)
{
	int want = 0, ret;

	if (m->in[i])
		return;
	m->node[i].key = *k;
	if (m->count >= m->max)
		want = -ENOSPC;
	if (naive_find(m, k) >= 0)
		want = -EEXIST;
	ret = conn_table_insert(&m->t, &m->node[i]);
	FZ_CHECK(ret == want);
	m->in[i] = ret == 0;
	m->count += ret == 0;
}

static void removal(struct model *m, unsigned i)
{
	uint64_t id = m->node[i].id;

	conn_table_remove(&m->t, &m->node[i]);
	if (!m->in[i])
		return; /* not in the table: nothing may have changed, check_all() will tell */
	m->in[i] = false;
	m->count--;
	m->stale[m->nstale++ % STALE] = id;
	FZ_CHECK(m->node[i].id == 0 && !conn_table_get(&m->t, id));
}

/* Another node that claims the id of a node in the table. */
static void impostor(struct model *m, unsigned i)
{
	struct conn_node fake = m->node[i];

	conn_table_remove(&m->t, &fake);
	check_all(m);
}

static void port(struct model *m, uint64_t cid, uint32_t peer_port)
{
	struct conn_key k = {.cid = cid, .peer_port = peer_port};
	uint32_t got = 0;
	int ret = conn_table_port(&m->t, cid, peer_port, &got);

	if (ret == 0) {
		FZ_CHECK(got >= m->lo && got <= m->hi && got % m->stride == m->index);
		k.local_port = got;
		FZ_CHECK(naive_find(m, &k) < 0);
		return;
	}
	FZ_CHECK(ret == -EADDRNOTAVAIL);
	for (uint64_t p = m->lo; p <= m->hi; p++) {
		k.local_port = (uint32_t)p;
		FZ_CHECK(p % m->stride != m->index || naive_find(m, &k) >= 0);
	}
}

static struct conn_key key_from(struct fz *z, const struct model *m)
{
	uint8_t a = fz_u8(z);

	/* 2 CIDs, 8 peer ports, local ports around the range */
	return (struct conn_key){
		.cid = a & 1 ? 3 : UINT64_MAX - 1,
		.peer_port = (a >> 1) & 7,
		.local_port = (uint32_t)(m->lo - 1 + fz_below(z, 32)),
	};
}

static void setup(struct model *m, struct fz *z)
{
	uint64_t seed = fz_u64(z);
	uint32_t width, raw;
	int ret;

	m->max = 1 + fz_u8(z);
	m->stride = 1 + fz_u8(z) % 16;
	m->index = fz_u8(z) % m->stride;
	raw = fz_u32(z);
	width = fz_u8(z) % 64;
	m->lo = raw;
	m->hi = raw > UINT32_MAX - width ? UINT32_MAX : raw + width;
	ret = conn_table_init(&m->t, m->max, seed, m->index, m->stride, m->lo, m->hi);
	if (ret == 0)
		return;
	FZ_CHECK(ret == -EINVAL);
	for (uint64_t p = m->lo; p <= m->hi; p++) /* refused: there is no port for this queue */
		FZ_CHECK(p % m->stride != m->index);
	m->index = 0;
	m->stride = 1;
	FZ_CHECK(conn_table_init(&m->t, m->max, seed, 0, 1, m->lo, m->hi) == 0);
}

static void walk_and_remove(struct model *m, uint8_t which)
{
	struct conn_node *n;
	uint32_t pos = 0;

	while ((n = conn_table_next(&m->t, &pos)))
		if ((n->key.peer_port ^ which) & 1)
			removal(m, (unsigned)(n - m->node));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct model m;
	struct fz z = {data, size};

	memset(&m, 0, sizeof(m));
	setup(&m, &z);
	while (z.left) {
		uint8_t op = fz_u8(&z);
		struct conn_key k;

		switch (op % 8) {
		case 0:
			k = key_from(&z, &m);
			insert(&m, fz_u8(&z), &k);
			break;
		case 1:
			removal(&m, fz_u8(&z));
			break;
		case 2:
			k = key_from(&z, &m);
			check_key(&m, &k);
			break;
		case 3:
			port(&m, 3, op / 8 % 8);
			break;
		case 4: /* many at once */
			for (unsigned i = fz_u8(&z), n = fz_u8(&z); n && i < NODES; i++, n--) {
				k = (struct conn_key){3, i % 8, m.lo + i / 8};
				insert(&m, i, &k);
			}
			break;
		case 5:
			impostor(&m, fz_u8(&z));
			break;
		case 6:
			walk_and_remove(&m, op / 8);
			break;
		default: {
			uint64_t id = fz_u64(&z);
			struct conn_node *n = conn_table_get(&m.t, id);

			FZ_CHECK(!n || n->id == id);
		}
		}
		check_all(&m);
	}
	conn_table_fini(&m.t);
	return 0;
}
