/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_zvd.h"

#include "proto/ctrl/hello.h"

#include <sys/socket.h>
#include <unistd.h>

#define GPA	  0x100000000ull
#define SIZE_TEXT "16M"
#define PIECE	  50u /* bytes of a message that is split */

struct ctrl {
	int fd;
	bool hello;
	uint8_t in[2 * ZV_CTRL_MAX_LEN];
	size_t n;
	struct {
		uint32_t port;
		uint16_t type;
	} listens[ZVD_PORTS];
};

struct zvd zvd;
void (*zvd_claimed)(const struct ctrl_claim *claim);
static struct ctrl ctrls[ZVD_CTRLS];
static int listen_fd = -1;
static uint64_t next_offset;
static uint32_t generation;

/* ---- saying ---- */

static void put(struct ctrl *c, const void *data, size_t len, bool split)
{
	for (size_t at = 0, n; at < len; at += n) {
		n = split && len - at > PIECE ? PIECE : len - at;
		if (send(c->fd, (const uint8_t *)data + at, n, MSG_NOSIGNAL) != (ssize_t)n) {
			assert_int_equal(errno, EPIPE); /* it has hung up */
			return;
		}
	}
}

static void say(struct ctrl *c, const struct ctrl_msg *m)
{
	uint8_t wire[CTRL_MSG_MAX];

	put(c, wire, ctrl_msg_put(wire, m), zvd.split && m->type == CTRL_GRANT);
}

static void say_hello(struct ctrl *c)
{
	const struct hello h = {.type = CTRL_HELLO_ACK,
				.version = ZV_CTRL_VERSION,
				.npairs = 1,
				.caps = ZV_CAP_CHANNEL,
				.max_pkt = 65536};
	const struct ctrl_msg m = {.type = CTRL_REGION,
				   .region = {.id = zvd.region, .size = region.size, .gpa = GPA}};
	uint8_t wire[HELLO_WIRE_LEN];

	hello_put(wire, &h);
	put(c, wire, sizeof(wire), false);
	say(c, &m);
}

/* ---- claims ---- */

static struct ctrl *listener(const struct ctrl_claim *claim)
{
	for (unsigned i = 0; i < ZVD_CTRLS; i++)
		for (unsigned p = 0; p < ZVD_PORTS && ctrls[i].fd > 0; p++)
			if (ctrls[i].listens[p].port == claim->peer_port &&
			    ctrls[i].listens[p].type == claim->type)
				return &ctrls[i];
	return NULL;
}

static void grant(struct ctrl *a, struct ctrl *b, const struct ctrl_claim *claim)
{
	struct ctrl_msg m = {.type = CTRL_GRANT,
			     .grant = {.region = zvd.region,
				       .peer_cid = claim->peer_cid,
				       .peer_port = claim->peer_port,
				       .local_port = claim->port,
				       .type = claim->type,
				       .role = SHM_ROLE_A}};
	struct shm_channel_desc *d = &m.grant.desc;

	shm_channel_desc_init(d, next_offset, ++generation);
	for (int i = 0; i < 2; i++) {
		d->dir[i].entries = 16;
		d->dir[i].cls[0] = (struct shm_slot_class){1024, 4};
		d->dir[i].cls[1] = (struct shm_slot_class){16384, 4};
	}
	d->length = shm_channel_bytes(d);
	assert_true(next_offset + d->length <= region.size);
	assert_int_equal(shm_channel_format(region.map->addr, region.size, d), 0);
	next_offset += d->length;
	say(a, &m);
	m.grant.role = SHM_ROLE_B;
	m.grant.peer_cid = KSOCK_UNIX_CID;
	m.grant.peer_port = claim->port;
	m.grant.local_port = claim->peer_port;
	say(b, &m);
	zvd.channels++;
}

static void on_listen(struct ctrl *c, const struct ctrl_claim *claim)
{
	bool add = claim->what == CTRL_CLAIM_LISTEN;

	*(add ? &zvd.listens : &zvd.no_listens) += 1;
	for (unsigned p = 0; p < ZVD_PORTS; p++) {
		if (c->listens[p].port != (add ? 0 : claim->port))
			continue;
		c->listens[p].port = add ? claim->port : 0;
		c->listens[p].type = claim->type;
		return;
	}
	fail();
}

static void on_claim(struct ctrl *c, const struct ctrl_claim *claim)
{
	struct ctrl *to = listener(claim);

	if (claim->what == CTRL_CLAIM_LISTEN || claim->what == CTRL_CLAIM_NO_LISTEN) {
		on_listen(c, claim);
	} else if (claim->what == CTRL_CLAIM_NO_CONNECT) {
		zvd.no_connects++;
	} else {
		zvd.connects++;
		if (zvd.grants && to)
			grant(c, to, claim);
	}
	if (zvd_claimed)
		zvd_claimed(claim);
}

/* ---- hearing ---- */

static int on_hello(struct ctrl *c)
{
	struct hello h;
	int len = hello_get(&h, c->in, c->n);

	if (len <= 0)
		return len;
	assert_int_equal(h.type, CTRL_HELLO);
	assert_int_equal(h.pair, 0);
	assert_int_equal(h.npairs, 1);
	assert_int_equal(h.caps, ZV_CAP_CHANNEL);
	c->hello = true;
	say_hello(c);
	return len;
}

static int on_message(struct ctrl *c)
{
	struct ctrl_msg m;
	int len = ctrl_msg_get(&m, c->in, c->n);

	if (len <= 0)
		return len;
	switch (m.type) {
	case CTRL_OFFER:
		assert_true(m.offer.gpa == GPA && m.offer.size == region.size);
		zvd.offers++;
		break;
	case CTRL_REGION_ACK:
		assert_int_equal(m.region_ack.result, 0);
		zvd.mapped++;
		break;
	case CTRL_RELEASE:
		zvd.releases++;
		break;
	default:
		assert_int_equal(m.type, CTRL_CLAIM);
		on_claim(c, &m.claim);
	}
	return len;
}

static void hang_up(struct ctrl *c)
{
	close(c->fd);
	*c = (struct ctrl){0};
	zvd.ctrls--;
}

static void hear(struct ctrl *c)
{
	for (;;) {
		ssize_t n = recv(c->fd, c->in + c->n, sizeof(c->in) - c->n, MSG_DONTWAIT);
		int len;

		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			hang_up(c);
			return;
		}
		c->n += n > 0 ? (size_t)n : 0;
		while ((len = c->hello ? on_message(c) : on_hello(c)) > 0) {
			c->n -= (size_t)len;
			memmove(c->in, c->in + len, c->n);
		}
		assert_int_equal(len, 0);
		if (n < 0)
			return;
	}
}

static void answer(void)
{
	uint32_t cid, port;
	int fd;

	while ((fd = ksock_net_unix.accept(listen_fd, &cid, &port)) >= 0) {
		struct ctrl *c = ctrls;

		if (zvd.away) {
			zvd.refused++;
			close(fd);
			continue;
		}
		assert_in_range(port, 512, 1023);
		zvd.low_port = port;
		while (c->fd > 0)
			c++;
		assert_true(c < ctrls + ZVD_CTRLS);
		*c = (struct ctrl){.fd = fd};
		zvd.ctrls++;
	}
}

void zvd_work(void)
{
	if (zvd.deaf)
		return;
	answer();
	for (unsigned i = 0; i < ZVD_CTRLS; i++)
		if (ctrls[i].fd > 0)
			hear(&ctrls[i]);
}

void zvd_hang_up(unsigned n)
{
	for (unsigned i = 0; i < ZVD_CTRLS && n; i++) {
		if (ctrls[i].fd <= 0)
			continue;
		hang_up(&ctrls[i]);
		n--;
	}
}

void zvd_forget_channels(void)
{
	next_offset = 0;
}

/* ---- the fixture ---- */

static void before_connect(uint32_t port)
{
	(void)port;
	zvd_work(); /* GRANT comes before the connection is there */
}

void zvd_ready(void)
{
	RUN(zvd.mapped >= 2);
}

int zvd_set_up(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .flags = ZV_OPT_NO_HUGE};

	zvd = (struct zvd){.grants = true, .region = ZVD_REGION};
	next_offset = 0;
	ksock_unix_unprivileged = false;
	ksock_unix_connecting = before_connect;
	if (own_region_make(&region, "kunix", SIZE_TEXT, (struct gpa){GPA}, &o))
		return -1;
	listen_fd = ksock_net_unix.socket(SOCK_STREAM);
	assert_int_equal(ksock_net_unix.bind(listen_fd, ZV_PROC_PORT), 0);
	assert_int_equal(listen(listen_fd, 8), 0);
	return set_up(state);
}

int zvd_tear_down(void **state)
{
	int ret = tear_down(state);

	ksock_unix_connecting = NULL;
	zvd_hang_up(ZVD_CTRLS);
	close(listen_fd);
	own_region_release(&region);
	return ret;
}
