/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VIRTIO shared memory that the `host:` transport gives its frontend, with the real rte_vhost:
 * frontends that map it, that have never heard of it, and that misbehave.
 */
#include "transport_fix.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define SIZE  (4ull << 20)
#define AT    0xf0000000ull /* where the VMM has it in the guest */
#define SHMEM (0x629ull | VU_PROTOCOL_SHMEM)

static char dir[] = "/tmp/zvsock-shm-XXXXXX";
static char sock[64];

struct vmm {
	struct front f;
	int channel; /* its end */
	int shm;     /* what it was sent; -1: nothing */
};

static struct transport_dev *open_with_region(void)
{
	struct transport_dev *d = NULL;
	char rest[128];

	snprintf(rest, sizeof(rest), "%s,cid=3,region=4M", sock);
	assert_int_equal(ops->open(&d, rest, &opts), 0);
	return d;
}

/* A channel for the backend's requests, whose other end is the backend's from now on. */
static void give_channel(struct vmm *v)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	send_acked(&v->f, VU_SET_BACKEND_REQ_FD, NULL, 0, fd[1]);
	close(fd[1]);
	v->channel = fd[0];
}

static void negotiate(struct vmm *v, uint64_t protocol)
{
	uint64_t features = FEATURES;

	assert_int_equal(get_u64(&v->f, VU_GET_FEATURES) & FEATURES, FEATURES);
	assert_int_equal(get_u64(&v->f, VU_GET_PROTOCOL_FEATURES), SHMEM);
	send_msg(&v->f, VU_SET_PROTOCOL_FEATURES, 0, &protocol, sizeof(protocol), -1);
	send_acked(&v->f, VU_SET_FEATURES, &features, sizeof(features), -1);
}

static void connect_vmm(struct vmm *v, uint64_t protocol)
{
	*v = (struct vmm){.channel = -1, .shm = -1};
	v->f.sock = dial(sock);
	v->f.nrings = NRINGS;
	guest_make(&v->f.g);
	for (unsigned i = 0; i < NRINGS; i++) {
		drv_make(&v->f.ring[i], &v->f.g, i, N);
		v->f.kick[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		v->f.call[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	}
	negotiate(v, protocol);
}

static void disconnect(struct vmm *v)
{
	front_free(&v->f);
	if (v->channel >= 0)
		close(v->channel);
	if (v->shm >= 0)
		close(v->shm);
}

static void ask_size(struct vmm *v)
{
	struct vu_shmem_config c;

	send_msg(&v->f, VU_GET_SHMEM_CONFIG, 0, NULL, 0, -1);
	get_reply(&v->f, VU_GET_SHMEM_CONFIG, &c, sizeof(c));
	assert_int_equal(c.nregions, 1);
	assert_int_equal(c.size[0], SIZE);
	for (unsigned i = 1; i < VU_SHMEM_IDS; i++)
		assert_int_equal(c.size[i], 0);
}

/* A table, with the memory if the VMM has mapped it. */
static void table(struct vmm *v, bool mapped)
{
	struct vu_mem_table m = {.nregions = 1,
				 .region = {{G_GPA, G_SIZE, G_UVA, 0}, {AT, SIZE, AT << 8, 0}}};
	uint32_t head[3] = {VU_SET_MEM_TABLE, 1 | NEED_ACK, 8 + 32 * (mapped ? 2 : 1)};
	char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec iov[2] = {{head, 12}, {&m, head[2]}};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2, .msg_control = control};
	int fd[2] = {v->f.g.fd, v->shm};
	struct cmsghdr *c;
	uint64_t answer;

	m.nregions = mapped ? 2 : 1;
	mh.msg_controllen = CMSG_SPACE(m.nregions * sizeof(int));
	c = CMSG_FIRSTHDR(&mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(m.nregions * sizeof(int));
	memcpy(CMSG_DATA(c), fd, m.nregions * sizeof(int));
	assert_int_equal(sendmsg(v->f.sock, &mh, 0), 12 + head[2]);
	get_reply(&v->f, VU_SET_MEM_TABLE, &answer, sizeof(answer));
	assert_int_equal(answer, 0);
}

/* What the backend has asked for on the channel. False: nothing. */
static bool was_sent(struct vmm *v)
{
	struct vu_msg m;
	char control[CMSG_SPACE(4 * sizeof(int))];
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(v->channel, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;
	struct stat st;

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		return false;
	}
	assert_int_equal(n, VU_HEAD_LEN + sizeof(struct vu_shmem_map));
	assert_int_equal(m.request, VU_BACKEND_SHMEM_MAP);
	assert_int_equal(m.flags, 1); /* no reply is asked for */
	assert_int_equal(m.payload.shmem_map.id, 0);
	assert_int_equal(m.payload.shmem_map.fd_offset, 0);
	assert_int_equal(m.payload.shmem_map.shm_offset, 0);
	assert_int_equal(m.payload.shmem_map.len, SIZE);
	assert_int_equal(m.payload.shmem_map.flags, 1);
	c = CMSG_FIRSTHDR(&mh);
	assert_non_null(c);
	assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
	if (v->shm >= 0)
		close(v->shm);
	memcpy(&v->shm, CMSG_DATA(c), sizeof(v->shm));
	assert_int_equal(fstat(v->shm, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(ftruncate(v->shm, 0), -1); /* it is sealed */
	return true;
}

static bool comes(struct vmm *v)
{
	struct pollfd p = {.fd = v->channel, .events = POLLIN};

	return poll(&p, 1, 10000) == 1 && was_sent(v);
}

static void start(struct vmm *v, struct transport_dev *d)
{
	pair_setup(&v->f, 0, 1);
	wait_up(ops->queue(d, 0), 1);
}

static void stop(struct vmm *v)
{
	for (unsigned i = 0; i < 2; i++)
		v->f.ring[i].seen = (uint16_t)ring_stop(&v->f, i);
}

static void it_is_sent_at_each_start_of_the_device(void **state)
{
	struct transport_dev *d = open_with_region();
	uint8_t *guest;
	struct vmm v;

	(void)state;
	connect_vmm(&v, SHMEM);
	give_channel(&v);
	ask_size(&v);
	assert_false(was_sent(&v)); /* QEMU would end by a fault */
	table(&v, false);
	assert_false(was_sent(&v)); /* it may still fail to start the rings */
	start(&v, d);
	assert_true(was_sent(&v));
	guest = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v.shm, 0);
	assert_ptr_not_equal(guest, MAP_FAILED);
	table(&v, true);
	exchange(&v.f, ops->queue(d, 0), 0, 1);
	table(&v, true); /* memory was plugged in */
	table(&v, false);
	assert_false(was_sent(&v)); /* once, while the rings run */

	/* A pause: the mapping stays. */
	stop(&v);
	table(&v, true);
	start(&v, d);
	assert_false(was_sent(&v));

	/* A reset: the frontend has forgotten it. */
	stop(&v);
	give_channel(&v); /* stopped, so not yet */
	assert_false(was_sent(&v));
	table(&v, false);
	start(&v, d);
	assert_true(was_sent(&v));
	munmap(guest, SIZE);
	disconnect(&v);
	ops->close(d);
}

static void who_does_not_know_it_is_served_without(void **state)
{
	static const uint64_t without[] = {0x629, SHMEM & ~0x20ull, SHMEM & ~0x400ull};
	struct transport_dev *d = open_with_region();
	struct vmm v;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		connect_vmm(&v, without[i]);
		give_channel(&v);
		table(&v, false);
		start(&v, d);
		assert_false(was_sent(&v));
		disconnect(&v);
		wait_up(ops->queue(d, 0), 0);
	}
	ops->close(d);
}

static void a_device_without_it_does_not_offer_it(void **state)
{
	struct transport_dev *d = open_dev(sock, 3);
	uint64_t protocol = SHMEM, refused;
	struct vmm v = {.channel = -1, .shm = -1};

	(void)state;
	front_make(&v.f, sock, 3); /* checks what is offered */
	send_msg(&v.f, VU_SET_PROTOCOL_FEATURES, NEED_ACK, &protocol, sizeof(protocol), -1);
	get_reply(&v.f, VU_SET_PROTOCOL_FEATURES, &refused, sizeof(refused));
	assert_int_equal(refused, 1);
	send_msg(&v.f, VU_GET_SHMEM_CONFIG, 0, NULL, 0, -1);
	assert_int_equal(recv(v.f.sock, &refused, 1, 0), 0); /* hung up */
	disconnect(&v);
	ops->close(d);
}

static void a_late_channel_is_used(void **state)
{
	struct transport_dev *d = open_with_region();
	struct vmm v;

	(void)state;
	connect_vmm(&v, SHMEM);
	ask_size(&v);
	table(&v, false);
	start(&v, d);
	give_channel(&v);
	assert_true(was_sent(&v));
	disconnect(&v);
	ops->close(d);
}

/* Descriptors that nobody receives are few, whatever a frontend does. */
static void one_waits_at_most(void **state)
{
	struct transport_dev *d = open_with_region();
	int kept[8];
	struct vmm v;

	(void)state;
	connect_vmm(&v, SHMEM);
	give_channel(&v);
	table(&v, false);
	start(&v, d);
	for (unsigned i = 0; i < 8; i++) { /* it resets, and never reads */
		stop(&v);
		kept[i] = v.channel;
		give_channel(&v);
		table(&v, false);
		start(&v, d);
		assert_false(was_sent(&v));
	}
	for (unsigned i = 1; i < 8; i++)
		close(kept[i]);
	close(kept[0]); /* as if it had read it */
	assert_true(comes(&v));
	disconnect(&v);
	ops->close(d);
}

/* Nothing is read from the channel, so a frontend that says something there finds it shut. */
static void what_a_frontend_says_there_is_not_heard(void **state)
{
	struct transport_dev *d = open_with_region();
	struct vu_msg nack = {.request = VU_BACKEND_SHMEM_MAP,
			      .flags = VU_VERSION | VU_FLAG_REPLY,
			      .size = 8,
			      .payload.u64 = 1};
	struct vmm v;

	(void)state;
	connect_vmm(&v, SHMEM);
	give_channel(&v);
	table(&v, false);
	start(&v, d);
	assert_true(was_sent(&v));
	assert_int_equal(send(v.channel, &nack, vu_msg_len(&nack), MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	table(&v, true);
	exchange(&v.f, ops->queue(d, 0), 0, 1);
	/* It hangs up there, and starts anew: nothing can be sent, and all else goes on. */
	close(v.channel);
	v.channel = -1;
	stop(&v);
	table(&v, false);
	start(&v, d);
	disconnect(&v);
	ops->close(d);
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(sock, sizeof(sock), "%s/a", dir);
	init(state);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_sent_at_each_start_of_the_device),
		cmocka_unit_test(who_does_not_know_it_is_served_without),
		cmocka_unit_test(a_device_without_it_does_not_offer_it),
		cmocka_unit_test(a_late_channel_is_used),
		cmocka_unit_test(one_waits_at_most),
		cmocka_unit_test(what_a_frontend_says_there_is_not_heard),
	};

	return cmocka_run_group_tests_name("VIRTIO shared memory", tests, make_dir, remove_dir);
}
