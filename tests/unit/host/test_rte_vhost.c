/* SPDX-License-Identifier: BSD-3-Clause */
/* The `host:` transport with the real rte_vhost: sessions, and frontends that misbehave. */
#include "transport_fix.h"

static char dir[] = "/tmp/zvsock-rte-XXXXXX";
static char sock_a[64], sock_b[64];
/* The channel for the backend's own requests is kept as long as the frontend is there. */
static void backend_channel(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct timeval limit = {.tv_sec = 60};
	struct front f;
	int fd[2];
	char c;

	(void)state;
	front_make(&f, sock_a, 3);
	for (int i = 0; i < 2; i++) { /* a second one takes the first one's place */
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
		setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		send_acked(&f, VU_SET_BACKEND_REQ_FD, NULL, 0, fd[1]);
		close(fd[1]);
		assert_int_equal(recv(fd[0], &c, 1, MSG_DONTWAIT), -1);
		assert_int_equal(errno, EAGAIN);
		if (i == 0)
			close(fd[0]);
	}
	set_mem(&f);
	assert_int_equal(recv(fd[0], &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	front_free(&f);
	assert_int_equal(recv(fd[0], &c, 1, 0), 0);
	close(fd[0]);
	ops->close(d);
}

/* In the control thread. */
static void look(void *ctx, enum zv_log_level level, const char *line)
{
	if (level == ZV_LOG_ERR && strstr(line, sock_a) && strstr(line, "bit 35 (IN_ORDER"))
		__atomic_store_n((uint32_t *)ctx, 1, __ATOMIC_SEQ_CST);
}

static void features_that_were_not_offered_are_named(void **state)
{
	uint64_t want = FEATURES | 1ull << 35, refused = 0;
	struct transport_dev *d = open_dev(sock_a, 3);
	uint32_t named = 0;
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3);
	zv_set_log(look, &named);
	send_msg(&f, VU_SET_FEATURES, NEED_ACK, &want, sizeof(want), -1);
	get_reply(&f, VU_SET_FEATURES, &refused, sizeof(refused));
	zv_set_log(NULL, NULL);
	assert_int_equal(refused, 1);
	assert_int_equal(__atomic_load_n(&named, __ATOMIC_SEQ_CST), 1);
	front_free(&f);
	ops->close(d);
}

static void access_platform_is_for_who_can_translate(void **state)
{
	const uint64_t platform = 1ull << 33, want = FEATURES | platform;
	/* A channel without replies, replies without a channel, neither. */
	static const uint64_t less[] = {0x20, 0x8, 0x601};
	struct transport_dev *d = open_dev(sock_a, 3);
	uint64_t refused = 0, both = 0x28;
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3); /* as User-mode Linux: features were asked for first */
	send_msg(&f, VU_SET_FEATURES, NEED_ACK, &want, sizeof(want), -1);
	get_reply(&f, VU_SET_FEATURES, &refused, sizeof(refused));
	assert_int_equal(refused, 1);
	for (unsigned i = 0; i < sizeof(less) / sizeof(less[0]); i++) {
		send_msg(&f, VU_SET_PROTOCOL_FEATURES, 0, &less[i], sizeof(less[i]), -1);
		assert_int_equal(get_u64(&f, VU_GET_FEATURES) & platform, 0);
	}
	send_msg(&f, VU_SET_PROTOCOL_FEATURES, 0, &both, sizeof(both), -1);
	assert_int_equal(get_u64(&f, VU_GET_FEATURES) & want, want);
	send_acked(&f, VU_SET_FEATURES, &want, sizeof(want), -1);
	front_free(&f);
	f.sock = dial(sock_a); /* the next one begins anew */
	assert_int_equal(get_u64(&f, VU_GET_FEATURES) & want, FEATURES);
	close(f.sock);
	ops->close(d);
}

static void translate_to_itself(struct front *f, uint64_t from, uint64_t to)
{
	struct vu_iotlb m = {
		.iova = from, .size = to - from, .uva = from, .perm = 3, .type = VU_IOTLB_UPDATE};

	send_acked(f, VU_IOTLB_MSG, &m, sizeof(m), -1);
}

/* A device with translated addresses whose frontend has not set its rings up. */
static struct transport_dev *open_translated(struct front *f)
{
	const uint64_t platform = FEATURES | 1ull << 33, protocol = 0x28;
	struct transport_dev *d = open_dev(sock_a, 3);

	front_make(f, sock_a, 3);
	send_msg(f, VU_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), -1);
	(void)get_u64(f, VU_GET_FEATURES);
	send_acked(f, VU_SET_FEATURES, &platform, sizeof(platform), -1);
	return d;
}

/* Memory is plugged in when the IOTLB has long thrown the rings' own translations out. */
static void rings_go_on_in_a_new_table_untranslated(void **state)
{
	const struct vu_iotlb all = {
		.iova = G_UVA, .size = G_SIZE, .perm = 3, .type = VU_IOTLB_INVALIDATE};
	struct front f;
	struct transport_dev *d = open_translated(&f);
	struct transport_queue *q = ops->queue(d, 0);
	uint64_t sessions;

	(void)state;
	translate_to_itself(&f, G_UVA, G_UVA + G_SIZE);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	sessions = shm_load64(&q->stats.sessions);
	for (unsigned i = 0; i < 3; i++) {
		send_acked(&f, VU_IOTLB_MSG, &all, sizeof(all), -1);
		set_mem(&f);
		wait_up(q, 1);
		assert_int_equal(shm_load64(&q->stats.sessions), sessions);
		assert_int_equal(q->paused_at, 0);
	}
	front_free(&f);
	ops->close(d);
}

/* A ring in more pieces than it has pages, in a row: looking each up again and again takes long. */
static void a_ring_is_translated_in_pages(void **state)
{
	struct front f;
	struct transport_dev *d = open_translated(&f);
	struct transport_queue *q = ops->queue(d, 0);
	uint64_t at;

	(void)state;
	at = G_UVA + f.ring[1].off;
	translate_to_itself(&f, G_UVA, at + 16);
	translate_to_itself(&f, at + 16, at + 32);
	translate_to_itself(&f, at + 32, at + 48);
	translate_to_itself(&f, at + 48, G_UVA + G_SIZE);
	pair_setup(&f, 0, 1);
	assert_int_equal(q->up, 0);
	translate_to_itself(&f, G_UVA, G_UVA + G_SIZE);
	enable(&f, 0, 0);
	enable(&f, 0, 1);
	wait_up(q, 1);
	front_free(&f);
	ops->close(d);
}

static void registry(void **state)
{
	struct zv_opts many = opts;
	struct transport_dev *a = open_dev(sock_a, 3), *b = NULL;
	char rest[128];

	(void)state;
	snprintf(rest, sizeof(rest), "%s,cid=3", sock_b);
	assert_int_equal(ops->open(&b, rest, &opts), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), sock_a));
	snprintf(rest, sizeof(rest), "%s,cid=4", sock_a);
	assert_int_equal(ops->open(&b, rest, &opts), -EADDRINUSE);
	snprintf(rest, sizeof(rest), "%s,cid=4", sock_b);
	many.queues = 17;
	assert_int_equal(ops->open(&b, rest, &many), -EINVAL);
	assert_int_equal(ops->open(&b, "/nonexistent/dir/s,cid=9", &opts), -ENOENT);
	assert_null(b);
	b = open_dev(sock_b, 4);
	ops->close(a);
	assert_int_equal(access(sock_a, F_OK), -1);
	a = open_dev(sock_a, 3); /* both are free again */
	ops->close(b);
	ops->close(a);
}

static void session(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0), *q1 = ops->queue(d, 1);
	struct front f, late;
	uint64_t attached;
	uint32_t s;
	int third;
	uint32_t flags = 0;
	char c;

	(void)state;
	assert_null(ops->queue(d, 2));
	assert_int_equal(ops->attached(d, &flags), 0);
	front_make(&f, sock_a, 3);
	attached = ops->attached(d, &flags);
	assert_true(attached && !flags);
	/* flips right after start, as QEMU makes them; the second pair stays unused */
	pair_setup(&f, 0, 1);
	enable(&f, 0, 0);
	enable(&f, 0, 1);
	wait_up(q, 1);
	assert_int_equal(q->rx_descs, N);
	assert_int_equal(ops->page_size(d), 4096);
	exchange(&f, q, 0, 1);
	do /* shortly after the pair */
		assert_int_equal(ops->attached(d, &flags), attached);
	while (!flags);
	assert_int_equal(flags, ZV_DEV_RAN);
	flags = 0;
	s = q->session;
	assert_int_equal(q->stats.sessions, 1); /* a ring that is off and on again goes on */
	/* neither new call descriptors nor a new memory table end the session */
	send_fd(&f, VU_SET_VRING_CALL, 0, f.call[0]);
	send_fd(&f, VU_SET_VRING_CALL, 1, f.call[1]);
	exchange(&f, q, 0, 1);
	set_mem(&f);
	exchange(&f, q, 0, 1);
	assert_int_equal(q->session, s);
	/* a second frontend is turned away as soon as it speaks, and so is a third */
	late.sock = dial(sock_a);
	third = dial(sock_a);
	send_msg(&late, VU_GET_FEATURES, 0, NULL, 0, -1);
	assert_int_equal(recv(late.sock, &c, 1, 0), 0);
	close(late.sock);
	late.sock = third;
	send_msg(&late, VU_GET_FEATURES, 0, NULL, 0, -1);
	assert_int_equal(recv(third, &c, 1, 0), 0);
	close(third);
	exchange(&f, q, 0, 1);
	/* the second pair */
	assert_int_equal(q1->up, 0);
	pair_setup(&f, 3, 4);
	wait_up(q1, 1);
	exchange(&f, q1, 3, 4);
	exchange(&f, q, 0, 1);
	/* GET_VRING_BASE stops its own pair only, and tells where it stood: the session goes on
	 * there */
	assert_int_equal(ring_stop(&f, 0), drv_base(&f.ring[0], f.ring[0].seen));
	assert_int_equal(ring_stop(&f, 1), drv_base(&f.ring[1], f.ring[1].seen));
	assert_int_not_equal(q->paused_at, 0);
	exchange(&f, q1, 3, 4);
	pair_setup(&f, 0, 1);
	exchange(&f, q, 0, 1);
	assert_int_equal(q->paused_at, 0);
	assert_int_equal(q->session, s);
	assert_int_equal(ring_stop(&f, 0), drv_base(&f.ring[0], f.ring[0].seen));
	assert_int_equal(ring_stop(&f, 1), drv_base(&f.ring[1], f.ring[1].seen));
	/* again under a live driver: TRANSPORT_RESET on the event ring */
	ring_setup(&f, EVT, 0);
	drv_desc(&f.ring[EVT], 0, D, 8, VRING_DESC_F_WRITE, 0);
	drv_offer(&f.ring[EVT], 0);
	f.g.mem[G_DATA] = 0xff;
	enable(&f, EVT, 1);
	ring_setup(&f, 0, 7); /* not where it was */
	ring_setup(&f, 1, f.ring[1].seen);
	enable(&f, 0, 1);
	enable(&f, 1, 1);
	wait_up(q, 1);
	assert_int_not_equal(q->session, s);
	assert_used(&f.ring[EVT], 0, 4);
	assert_int_equal(f.g.mem[G_DATA], 0);
	assert_int_equal(ring_stop(&f, EVT), drv_base(&f.ring[EVT], 1));
	exchange(&f, q, 0, 1);
	/* the frontend goes */
	front_free(&f);
	wait_up(q, 0);
	wait_up(q1, 0);
	assert_int_equal(ops->attached(d, &flags), 0);
	/* another one comes */
	front_make(&f, sock_a, 3);
	assert_true(ops->attached(d, &flags) > attached && !flags);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	ops->close(d);
	assert_int_equal(recv(f.sock, &c, 1, 0), 0);
	front_free(&f);
	assert_int_equal(access(sock_a, F_OK), -1);
}

/* A new connection may be seen before the end of the old one, which it follows. */
static void successor(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	struct front f, next;
	int silent;
	char c;

	(void)state;
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	next.sock = dial(sock_a);
	exchange(&f, q, 0, 1);
	front_free(&f);
	front_on(&next, next.sock, NRINGS, 3);
	pair_setup(&next, 0, 1);
	wait_up(q, 1);
	exchange(&next, q, 0, 1);
	front_free(&next);
	wait_up(q, 0);
	/* one that says nothing makes way for one that does, and is not heard any more */
	silent = dial(sock_a);
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	next.sock = silent;
	send_msg(&next, VU_GET_FEATURES, 0, NULL, 0, -1);
	assert_int_equal(recv(silent, &c, 1, 0), 0);
	close(silent);
	exchange(&f, q, 0, 1);
	front_free(&f);
	ops->close(d);
}

/* A broken ring stays down until it is started again; loans are returned by a stop. */
static void broken(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	struct vsock_hdr rw = {3, 2, 1024, 80, 4, 1, VSOCK_OP_RW, 0, 65536, 0};
	struct front f;
	struct rx_pkt p[4];
	uint32_t s;

	(void)state;
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	s = q->session;
	drv_desc(&f.ring[1], 0, G_GPA + G_SIZE, VSOCK_HDR_LEN, 0, 0);
	drv_offer(&f.ring[1], 0);
	front_enter(q);
	assert_int_equal(q->ops->rx_burst(q, p, 4), 0);
	quiesce_leave(&q->qs);
	assert_int_equal(q->up, 0);
	assert_int_equal(q->session, s + 1);
	assert_int_equal(q->stats.ring_broken, 1);
	/* messages that change nothing do not revive it */
	enable(&f, 0, 1);
	send_fd(&f, VU_SET_VRING_CALL, 0, f.call[0]);
	assert_int_equal(q->up, 0);
	/* a driver that resets the device does */
	(void)ring_stop(&f, 0);
	(void)ring_stop(&f, 1);
	drv_make(&f.ring[0], &f.g, 0, N);
	drv_make(&f.ring[1], &f.g, 1, N);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* a packet on loan while the ring is stopped */
	vsock_hdr_put(f.g.mem + G_DATA, &rw);
	memcpy(f.g.mem + G_DATA + VSOCK_HDR_LEN, "data", 4);
	drv_desc(&f.ring[1], 2, D, VSOCK_HDR_LEN + 4, 0, 0);
	drv_offer(&f.ring[1], 2);
	front_enter(q);
	assert_int_equal(q->ops->rx_burst(q, p, 4), 1);
	quiesce_leave(&q->qs);
	assert_int_equal(ring_stop(&f, 1), drv_base(&f.ring[1], 2));
	assert_used(&f.ring[1], 2, 0);
	memset(f.g.mem + G_DATA + VSOCK_HDR_LEN, 'd', 4);
	assert_memory_equal(p[0].seg[0].base, "data", 4); /* private now */
	p[0].seg[0].base[0] = 'x';
	assert_int_equal(f.g.mem[G_DATA + VSOCK_HDR_LEN], 'd');
	front_enter(q);
	q->ops->rx_release(q, p[0].token);
	quiesce_leave(&q->qs);
	front_free(&f);
	ops->close(d);
}

/* A packet of the guest's, taken and not given back. */
static uint32_t hold_one(struct front *f, struct transport_queue *q)
{
	struct vsock_hdr rw = {3, 2, 1024, 80, 4, 1, VSOCK_OP_RW, 0, 65536, 0};
	struct rx_pkt p[4];

	vsock_hdr_put(f->g.mem + G_DATA, &rw);
	drv_desc(&f->ring[1], 0, D, VSOCK_HDR_LEN + 4, 0, 0);
	drv_offer(&f->ring[1], 0);
	front_enter(q);
	assert_int_equal(q->ops->rx_burst(q, p, 4), 1);
	quiesce_leave(&q->qs);
	return p[0].token;
}

static void give_back(struct transport_queue *q, uint32_t token)
{
	front_enter(q);
	q->ops->rx_release(q, token);
	quiesce_leave(&q->qs);
}

/* Loans of former sessions keep a pair down until they come back; the frontend has nothing to do.
 */
static void starts_when_loans_come_back(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	uint32_t token[VHOST_RETIRED], n = 0;
	struct front f;

	(void)state;
	while (n < VHOST_RETIRED) {
		front_make(&f, sock_a, 3);
		pair_setup(&f, 0, 1);
		wait_up(q, 1);
		token[n++] = hold_one(&f, q);
		front_free(&f);
		wait_up(q, 0);
	}
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	assert_int_equal(q->up, 0);
	give_back(q, token[--n]);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* one that goes while it waits is forgotten */
	token[n++] = hold_one(&f, q);
	front_free(&f);
	wait_up(q, 0);
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	assert_int_equal(q->up, 0);
	front_free(&f);
	while (n)
		give_back(q, token[--n]);
	front_make(&f, sock_a, 3);
	assert_int_equal(q->up, 0);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	front_free(&f);
	ops->close(d);
}

/* To import a table is quicker than to unmap one: who sends many has to wait. */
static void tables_wait_for_those_before_them(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	int fd = memfd_create("large", MFD_CLOEXEC);
	struct mem_msg m = {1, 0, {G_GPA, 64ull << 30, G_UVA, 0}};
	uint32_t most = 0;
	struct front f;

	(void)state;
	assert_int_equal(ftruncate(fd, 64ll << 30), 0);
	front_make(&f, sock_a, 3);
	for (unsigned i = 0; i < 500; i++) {
		send_acked(&f, VU_SET_MEM_TABLE, &m, sizeof(m), fd);
		most = guest_mem_maps() > most ? guest_mem_maps() : most;
	}
	assert_true(most <= 8);
	front_free(&f);
	ops->close(d);
	(void)close(fd);
}

/* Rings outside guest memory, a table that drops them, nonsense: refused, and nobody falls over. */
static void bad_frontend(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	struct vu_vring_addr a = {
		.index = 1, .desc = G_UVA + G_SIZE - 16, .avail = G_UVA, .used = G_UVA + 1};
	struct mem_msg m = {1, 0, {G_GPA, 0x4000, G_UVA, 0}};
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3);
	ring_setup(&f, 0, 0);
	ring_setup(&f, 1, 0);
	send_acked(&f, VU_SET_VRING_ADDR, &a, sizeof(a), -1);
	enable(&f, 0, 1);
	enable(&f, 1, 1);
	assert_int_equal(q->up, 0);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* the new table covers ring 0 only */
	send_acked(&f, VU_SET_MEM_TABLE, &m, sizeof(m), f.g.fd);
	wait_up(q, 0);
	set_mem(&f);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	/* a message that is none */
	send_msg(&f, 200, 0, NULL, 0, -1);
	wait_up(q, 0);
	front_free(&f);
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	front_free(&f);
	ops->close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init),
		cmocka_unit_test(features_that_were_not_offered_are_named),
		cmocka_unit_test(access_platform_is_for_who_can_translate),
		cmocka_unit_test(a_ring_is_translated_in_pages),
		cmocka_unit_test(rings_go_on_in_a_new_table_untranslated),
		cmocka_unit_test(registry),
		cmocka_unit_test(backend_channel),
		cmocka_unit_test(session),
		cmocka_unit_test(successor),
		cmocka_unit_test(broken),
		cmocka_unit_test(starts_when_loans_come_back),
		cmocka_unit_test(bad_frontend),
		cmocka_unit_test(tables_wait_for_those_before_them),
	};
	int ret;

	if (!mkdtemp(dir))
		return 99;
	snprintf(sock_a, sizeof(sock_a), "%s/a", dir);
	snprintf(sock_b, sizeof(sock_b), "%s/b", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	/* nothing may be left in it */
	return rmdir(dir) < 0 ? 1 : ret;
}
