/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VMMs that need KVM and so run in no test: what their vhost-user frontends send, message by
 * message and in their order, as read in their sources of 2026.
 *
 * Cloud Hypervisor  (--generic-vhost-user device_type=vsock) generic_vhost_user.rs and
 *                   vu_common_ctrl.rs: only bits of the ring are passed to the guest; wants an
 *                   answer to every message once REPLY_ACK is agreed; SET_VRING_NUM of all rings
 *                   first, SET_VRING_ENABLE of all last, the backend's channel behind that.
 * crosvm            (--vhost-user vsock) vhost_user_frontend/mod.rs: passes the device's bits;
 *                   wants no answers; the channel comes before the features, which are sent again
 *                   only when they have changed; GET_CONFIG has the flag "writable".
 *
 * Both hand over all the rings that GET_QUEUE_NUM says, the event queue among them, and offer
 * protocol features that we do not have.
 */
#include "raw.h"
#include "suite.h"
#include "testbed.h"

#include <endian.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))

/* Protocol features. */
#define MQ		    BIT(0)
#define LOG_SHMFD	    BIT(1)
#define REPLY_ACK	    BIT(3)
#define BACKEND_REQ	    BIT(5)
#define CONFIG		    BIT(9)
#define INFLIGHT_SHMFD	    BIT(12)
#define CONFIGURE_MEM_SLOTS BIT(15)
#define DEVICE_STATE	    BIT(19)
#define SHMEM		    BIT(20)
#define DECLINED	    (LOG_SHMFD | INFLIGHT_SHMFD | CONFIGURE_MEM_SLOTS | DEVICE_STATE | SHMEM)

/* Features. */
#define STREAM_SEQPACKET 3ull
#define LOG_ALL		 BIT(26)
#define INDIRECT	 BIT(28)
#define EVENT_IDX	 BIT(29)
#define PROTOCOL	 BIT(30)
#define VERSION_1	 BIT(32)
#define IN_ORDER	 BIT(35)
#define ORDER_PLATFORM	 BIT(36)
#define NOTIFICATION	 BIT(38)

struct vmm {
	const char *name;
	uint64_t features; /* that it would take */
	uint64_t protocol;
	bool answers;	    /* it wants one to every message */
	bool rings_at_once; /* NUM of all, the rest of each, ENABLE of all */
	bool late_channel;
	uint32_t config_flags;
	unsigned type; /* of connections that its guest can have */
};

static struct raw R;
static int channel = -1; /* our end of the backend's */

static uint32_t flags_of(const struct vmm *v)
{
	return v->answers ? 1 | RAW_NEED_REPLY : 1;
}

static void tell(const struct vmm *v, uint32_t req, const void *payload, uint32_t len, int fd)
{
	if (v->answers)
		assert_int_equal(raw_ask(&R, req, payload, len, &fd, fd >= 0), 0);
	else
		assert_true(raw_send(&R, req, payload, len, fd));
}

static uint64_t ask(const struct vmm *v, uint32_t req)
{
	uint64_t value = 0;

	assert_int_equal(raw_query_as(&R, req, flags_of(v), NULL, 0, -1, &value, 8, NULL), 8);
	return value;
}

static void give_channel(const struct vmm *v)
{
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s), 0);
	tell(v, REQ_SET_SLAVE_FD, NULL, 0, s[1]);
	close(s[1]);
	channel = s[0];
}

/* The guest's driver reads its CID: twice 32 bits. */
static void read_cid(const struct vmm *v)
{
	struct {
		uint32_t off, size, flags, value;
	} c;

	for (uint32_t i = 0; i < 2; i++) {
		c.off = 4 * i;
		c.size = 4;
		c.flags = v->config_flags;
		c.value = 0xffffffff;
		assert_int_equal(raw_query_as(&R, REQ_GET_CONFIG, flags_of(v), &c, sizeof(c), -1,
					      &c, sizeof(c), NULL),
				 sizeof(c));
		assert_int_equal(c.off, 4 * i);
		assert_int_equal(c.size, 4);
		assert_int_equal(le32toh(c.value), i ? 0 : VICTIM_CID);
	}
}

/* What it does as it starts. The features that its guest gets. */
static uint64_t begin(const struct vmm *v)
{
	struct vmm early = *v; /* REPLY_ACK is not agreed yet */
	uint64_t features, protocol;

	early.answers = false;
	tell(&early, REQ_SET_OWNER, NULL, 0, -1);
	features = ask(&early, REQ_GET_FEATURES);
	assert_int_equal(features & (LOG_ALL | IN_ORDER | NOTIFICATION), 0);
	features &= v->features;
	assert_true(features & PROTOCOL);
	protocol = ask(&early, REQ_GET_PROTOCOL);
	assert_int_equal(protocol & DECLINED, 0);
	protocol &= v->protocol;
	assert_true(protocol & MQ && protocol & REPLY_ACK);
	tell(&early, REQ_SET_PROTOCOL, &protocol, sizeof(protocol), -1);
	if (protocol & BACKEND_REQ && !v->late_channel)
		give_channel(v);
	assert_int_equal(ask(v, REQ_GET_QUEUE_NUM), RAW_RINGS);
	if (protocol & CONFIG)
		read_cid(v);
	return features;
}

/* ---- the guest's driver has set the device up ---- */

static void memory_table(const struct vmm *v)
{
	struct {
		uint32_t n, pad;
		struct raw_region r[2];
	} m = {2,
	       0,
	       {{RAW_A, RAW_A_SIZE, RAW_UVA, 0},
		{RAW_B, RAW_B_SIZE, RAW_UVA + RAW_B_OFF, RAW_B_OFF}}};
	int fds[2] = {R.memfd, R.memfd};

	if (v->answers)
		assert_int_equal(raw_ask(&R, REQ_SET_MEM_TABLE, &m, sizeof(m), fds, 2), 0);
	else
		assert_true(
			raw_send_as(&R, REQ_SET_MEM_TABLE, 1, sizeof(m), &m, sizeof(m), fds, 2));
}

static void state(const struct vmm *v, uint32_t req, uint32_t ring, uint32_t num)
{
	const uint32_t s[2] = {ring, num};

	tell(v, req, s, sizeof(s), -1);
}

static uint64_t uva(const void *p)
{
	return RAW_UVA + (uint64_t)((const uint8_t *)p - R.mem);
}

static void addr_base_fds(const struct vmm *v, uint32_t i)
{
	const struct raw_ring *g = &R.ring[i];
	const struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {i, 0, uva(g->desc), uva(g->used), uva(g->avail), 0};
	const uint64_t no = i;

	tell(v, REQ_SET_VRING_ADDR, &a, sizeof(a), -1);
	state(v, REQ_SET_VRING_BASE, i, 0);
	tell(v, REQ_SET_VRING_CALL, &no, sizeof(no), g->call);
	tell(v, REQ_SET_VRING_KICK, &no, sizeof(no), g->kick);
}

static void activate(const struct vmm *v)
{
	raw_rings_reset(&R);
	memory_table(v);
	for (uint32_t i = 0; i < RAW_RINGS && v->rings_at_once; i++)
		state(v, REQ_SET_VRING_NUM, i, RAW_N);
	for (uint32_t i = 0; i < RAW_RINGS; i++) {
		if (!v->rings_at_once)
			state(v, REQ_SET_VRING_NUM, i, RAW_N);
		addr_base_fds(v, i);
		if (!v->rings_at_once)
			state(v, REQ_SET_VRING_ENABLE, i, 1);
	}
	for (uint32_t i = 0; i < RAW_RINGS && v->rings_at_once; i++)
		state(v, REQ_SET_VRING_ENABLE, i, 1);
	if (v->late_channel && v->protocol & BACKEND_REQ && channel < 0)
		give_channel(v);
}

static void deactivate(const struct vmm *v)
{
	for (uint32_t i = 0; i < RAW_RINGS; i++) {
		uint32_t s[2] = {i, 0};

		state(v, REQ_SET_VRING_ENABLE, i, 0);
		assert_int_equal(raw_query_as(&R, REQ_GET_VRING_BASE, flags_of(v), s, sizeof(s), -1,
					      s, sizeof(s), NULL),
				 sizeof(s));
		assert_int_equal(s[0], i);
	}
}

/* Packets both ways on a connection of the guest's, and on one of the host's. */
static void works(const struct vmm *v)
{
	uint32_t mark = raw_mark(&R), at = mark;

	assert_true(testbed_wait_up(true));
	assert_true(
		raw_connect(&R, 0, v->type == VSOCK_TYPE_STREAM ? PORT_ECHO : PORT_SEQ, v->type));
	assert_true(raw_echo(&R, "from such a guest", 17));
	testbed_connect(77);
	for (uint64_t end = raw_now_ms() + RAW_PATIENCE_MS; raw_now_ms() < end; testbed_idle()) {
		raw_pump(&R);
		for (at = mark; at != R.npkts && R.log[at % RAW_LOG].h.op != VSOCK_OP_REQUEST;)
			at++;
		if (at != R.npkts)
			break;
	}
	assert_int_not_equal(at, R.npkts);
	R.sport = 77;
	R.dport = R.log[at % RAW_LOG].h.src_port;
	R.type = VSOCK_TYPE_STREAM;
	assert_true(raw_pkt(&R, VSOCK_OP_RESPONSE, NULL, 0));
	assert_int_equal(testbed_connect_result(), 0);
	assert_int_equal(R.bad_used, 0);
}

static bool dial(void)
{
	raw_close(&R);
	return raw_dial(&R, testbed_victim, VICTIM_CID, 0) && raw_memory(&R);
}

static void run(void **arg)
{
	const struct vmm *v = *arg;
	uint64_t features;

	assert_true(testbed_wait_up(false));
	assert_true(dial());
	features = begin(v);
	tell(v, REQ_SET_FEATURES, &features, sizeof(features), -1);
	activate(v);
	works(v);
	/* The guest reboots, or binds its driver anew. */
	deactivate(v);
	if (v->answers)
		tell(v, REQ_SET_FEATURES, &features, sizeof(features), -1);
	activate(v);
	works(v);
	raw_close(&R);
	if (channel >= 0)
		close(channel);
	channel = -1;
	assert_null(testbed_bystander_fault());
}

#define CLOUD                                                                                      \
	.features = INDIRECT | EVENT_IDX | VERSION_1 | IN_ORDER | ORDER_PLATFORM | NOTIFICATION |  \
		    PROTOCOL | LOG_ALL,                                                            \
	.answers = true, .rings_at_once = true, .late_channel = true, .type = VSOCK_TYPE_STREAM
#define CLOUD_PROTOCOL                                                                             \
	(MQ | CONFIGURE_MEM_SLOTS | REPLY_ACK | INFLIGHT_SHMFD | LOG_SHMFD | DEVICE_STATE |        \
	 BACKEND_REQ)
#define CROSVM                                                                                     \
	.features = STREAM_SEQPACKET | INDIRECT | EVENT_IDX | VERSION_1 | PROTOCOL,                \
	.config_flags = 1, .type = VSOCK_TYPE_SEQPACKET
#define CROSVM_PROTOCOL (MQ | BACKEND_REQ | DEVICE_STATE | SHMEM | REPLY_ACK)

static const struct vmm vmms[] = {
	{"Cloud Hypervisor", CLOUD, .protocol = CLOUD_PROTOCOL | CONFIG},
	{"Cloud Hypervisor that reads no configuration", CLOUD, .protocol = CLOUD_PROTOCOL},
	{"crosvm", CROSVM, .protocol = CROSVM_PROTOCOL | CONFIG},
	{"crosvm that reads no configuration", CROSVM, .protocol = CROSVM_PROTOCOL},
};

int main(int argc, char **argv)
{
	struct suite s = {0};

	raw_init(&R);
	testbed_program = argv[0];
	if (testbed_start(true))
		return 99;
	SUITE_TABLE(&s, run, "", vmms, sizeof(vmms) / sizeof(vmms[0]));
	return suite_run(&s, "frontends of other VMMs", argc, argv, NULL, testbed_group_end);
}
