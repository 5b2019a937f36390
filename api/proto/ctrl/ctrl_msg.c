/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about channels on the wire; offsets: ctrl_msg.h. */
#include "ctrl_msg.h"

#include "wire.h"

#include <errno.h>
#include <stdbool.h>

#define LEN_OFFER      32u
#define LEN_REGION     48u
#define LEN_REGION_ACK 32u
#define LEN_GRANT      152u
#define LEN_GRANT_MORE CTRL_MSG_MAX /* with bells */
#define LEN_RELEASE    40u
#define LEN_CLAIM      40u
#define LEN_HOLDS      40u
#define GRANT_DIR0     72u
#define DIR_LEN	       40u

static uint32_t length_of(unsigned type)
{
	switch (type) {
	case CTRL_OFFER:
		return LEN_OFFER;
	case CTRL_REGION:
		return LEN_REGION;
	case CTRL_REGION_ACK:
		return LEN_REGION_ACK;
	case CTRL_GRANT:
		return LEN_GRANT;
	case CTRL_RELEASE:
		return LEN_RELEASE;
	case CTRL_CLAIM:
		return LEN_CLAIM;
	case CTRL_HOLDS:
		return LEN_HOLDS;
	default:
		return 0;
	}
}

static void put_direction(uint8_t *p, const struct shm_direction *d)
{
	wire_put32(p, d->entries);
	wire_put32(p + 4, d->classes);
	for (unsigned i = 0; i < SHM_CLASSES_MAX; i++) {
		wire_put32(p + 8 + 8 * i, d->cls[i].slot_size);
		wire_put32(p + 12 + 8 * i, d->cls[i].slots);
	}
}

static void get_direction(struct shm_direction *d, const uint8_t *p)
{
	d->entries = wire_get32(p);
	d->classes = wire_get32(p + 4);
	for (unsigned i = 0; i < SHM_CLASSES_MAX; i++) {
		d->cls[i].slot_size = wire_get32(p + 8 + 8 * i);
		d->cls[i].slots = wire_get32(p + 12 + 8 * i);
	}
}

static bool has_bells(const struct ctrl_grant *g)
{
	return g->bells.bell || g->bells.ring_page || g->bells.ring_bell;
}

static void put_grant(uint8_t *p, const struct ctrl_grant *g)
{
	wire_put64(p + 16, g->region);
	wire_put64(p + 24, g->peer_cid);
	wire_put32(p + 32, g->peer_port);
	wire_put32(p + 36, g->local_port);
	wire_put16(p + 40, g->type);
	wire_put16(p + 42, g->role);
	wire_put32(p + 44, g->desc.version);
	wire_put32(p + 48, g->desc.generation);
	wire_put64(p + 56, g->desc.offset);
	wire_put64(p + 64, g->desc.length);
	for (unsigned i = 0; i < 2; i++)
		put_direction(p + GRANT_DIR0 + i * DIR_LEN, &g->desc.dir[i]);
	if (!has_bells(g))
		return;
	wire_put32(p + 152, g->bells.bell);
	wire_put32(p + 156, g->bells.ring_page);
	wire_put32(p + 160, g->bells.ring_bell);
}

static int get_grant(struct ctrl_grant *g, const uint8_t *p, uint32_t len)
{
	g->region = wire_get64(p + 16);
	g->peer_cid = wire_get64(p + 24);
	g->peer_port = wire_get32(p + 32);
	g->local_port = wire_get32(p + 36);
	g->type = wire_get16(p + 40);
	g->role = wire_get16(p + 42);
	g->desc.version = wire_get32(p + 44);
	g->desc.generation = wire_get32(p + 48);
	g->desc.offset = wire_get64(p + 56);
	g->desc.length = wire_get64(p + 64);
	for (unsigned i = 0; i < 2; i++)
		get_direction(&g->desc.dir[i], p + GRANT_DIR0 + i * DIR_LEN);
	if (len >= LEN_GRANT_MORE) {
		g->bells.bell = wire_get32(p + 152);
		g->bells.ring_page = wire_get32(p + 156);
		g->bells.ring_bell = wire_get32(p + 160);
	}
	return g->role == SHM_ROLE_A || g->role == SHM_ROLE_B ? 0 : -EPROTO;
}

uint32_t ctrl_msg_put(void *buf, const struct ctrl_msg *m)
{
	uint32_t len =
		m->type == CTRL_GRANT && has_bells(&m->grant) ? LEN_GRANT_MORE : length_of(m->type);
	uint8_t *p = buf;

	memset(p, 0, len); /* the reserved bytes are 0 */
	ctrl_frame_put(p, ZV_CTRL_VERSION, m->type, len);
	switch (m->type) {
	case CTRL_OFFER:
		wire_put64(p + 16, m->offer.gpa);
		wire_put64(p + 24, m->offer.size);
		break;
	case CTRL_REGION:
		wire_put64(p + 16, m->region.id);
		wire_put64(p + 24, m->region.size);
		wire_put64(p + 32, m->region.gpa);
		wire_put32(p + 40, m->region.flags);
		break;
	case CTRL_REGION_ACK:
		wire_put64(p + 16, m->region_ack.id);
		wire_put32(p + 24, (uint32_t)-m->region_ack.result);
		break;
	case CTRL_GRANT:
		put_grant(p, &m->grant);
		break;
	case CTRL_RELEASE:
	case CTRL_HOLDS:
		wire_put64(p + 16, m->release.region);
		wire_put64(p + 24, m->release.offset);
		wire_put32(p + 32, m->release.generation);
		if (m->type == CTRL_HOLDS)
			wire_put32(p + 36, m->release.left);
		break;
	case CTRL_CLAIM:
		wire_put32(p + 16, m->claim.port);
		wire_put32(p + 20, m->claim.peer_port);
		wire_put64(p + 24, m->claim.peer_cid);
		wire_put16(p + 32, m->claim.type);
		wire_put16(p + 34, m->claim.what);
		break;
	default:
		break;
	}
	return len;
}

static bool region_ok(const struct ctrl_region *r)
{
	if (r->flags & CTRL_REGION_GONE)
		return true;
	return r->size && (r->gpa == CTRL_BY_FD || r->gpa + r->size > r->gpa);
}

/* 0, or -EPROTO: a value is out of its range. */
static int get_body(struct ctrl_msg *m, const uint8_t *p, uint32_t len)
{
	switch (m->type) {
	case CTRL_OFFER:
		m->offer.gpa = wire_get64(p + 16);
		m->offer.size = wire_get64(p + 24);
		return m->offer.size && m->offer.gpa + m->offer.size > m->offer.gpa ? 0 : -EPROTO;
	case CTRL_REGION:
		m->region.id = wire_get64(p + 16);
		m->region.size = wire_get64(p + 24);
		m->region.gpa = wire_get64(p + 32);
		m->region.flags = wire_get32(p + 40);
		return region_ok(&m->region) ? 0 : -EPROTO;
	case CTRL_REGION_ACK:
		m->region_ack.id = wire_get64(p + 16);
		if (wire_get32(p + 24) > CTRL_ERRNO_MAX)
			return -EPROTO;
		m->region_ack.result = -(int32_t)wire_get32(p + 24);
		return 0;
	case CTRL_GRANT:
		return get_grant(&m->grant, p, len);
	case CTRL_CLAIM:
		m->claim.port = wire_get32(p + 16);
		m->claim.peer_port = wire_get32(p + 20);
		m->claim.peer_cid = wire_get64(p + 24);
		m->claim.type = wire_get16(p + 32);
		m->claim.what = wire_get16(p + 34);
		return m->claim.what <= CTRL_CLAIM_NO_LISTEN ? 0 : -EPROTO;
	default:
		m->release.region = wire_get64(p + 16);
		m->release.offset = wire_get64(p + 24);
		m->release.generation = wire_get32(p + 32);
		m->release.left = m->type == CTRL_HOLDS ? wire_get32(p + 36) : 0;
		return 0;
	}
}

int ctrl_msg_get(struct ctrl_msg *m, const void *buf, size_t len)
{
	struct ctrl_msg got;
	uint16_t version;
	int total;

	memset(&got, 0, sizeof(got));
	total = ctrl_frame_get(buf, len, &version, &got.type);
	if (total <= 0)
		return total;
	if (!length_of(got.type) || (uint32_t)total < length_of(got.type))
		return -EPROTO;
	if (len < (size_t)total)
		return 0;
	if (get_body(&got, buf, (uint32_t)total))
		return -EPROTO;
	*m = got;
	return total;
}
