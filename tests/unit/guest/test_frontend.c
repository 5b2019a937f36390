/* SPDX-License-Identifier: BSD-3-Clause */
/* The handshake against a scripted backend. */
#include "fake_backend.h"
#include "proto/vsock/vsock_device.h"
#include "transport.h"
#include "vhost-user/frontend.h"
#include "vsock_rings.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "zv-frontend-XXXXXX"); /* in the working directory: socket paths are short */
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

/* The whole handshake for one pair. */
static int shake(struct frontend *f, unsigned pairs)
{
	const struct virtq_layout *l = vsock_rings_split.layout;
	struct virtq_areas areas;
	struct virtq vq;
	int mem = memfd_create("test", MFD_CLOEXEC), call = eventfd(0, 0), kick = eventfd(0, 0),
	    ret;
	void *addr;

	assert_int_equal(ftruncate(mem, 1 << 16), 0);
	addr = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, mem, 0);
	assert_true(addr != MAP_FAILED);
	assert_true(l->bytes(16) < 1 << 16);
	assert_int_equal(virtq_init(&vq, addr, 16), 0);
	l->reset(&vq, true);
	l->areas(&vq, &areas);
	ret = frontend_connect(f);
	if (ret == 0)
		ret = frontend_negotiate(f, pairs);
	if (ret == 0)
		ret = frontend_set_memory(
			f, &(struct frontend_mem){mem, addr, 1 << 16, {0x40000000}, 0}, 1);
	if (ret == 0)
		ret = frontend_start_ring(f, 1, &areas, call, kick);
	if (ret == 0)
		ret = frontend_barrier(f);
	virtq_fini(&vq);
	munmap(addr, 1 << 16);
	close(mem);
	close(call);
	close(kick);
	return ret;
}

static void test_handshake(void **state)
{
	struct fake_backend b;
	struct frontend f;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	assert_int_equal(frontend_init(&f, path, -1), 0);
	assert_int_equal(shake(&f, 4), 0);
	assert_true(fake_wait_ready(&b, 1));
	assert_int_equal(f.guest_cid, 42);
	/* what is offered and wanted, nothing else */
	assert_int_equal(b.acked, VSOCK_FEATURE_VERSION_1 | VU_FEATURE_PROTOCOL |
					  VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_STREAM |
					  VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_INDIRECT_DESC);
	assert_int_equal(b.acked_protocol, 0x209);
	assert_int_equal(b.requests[VU_SET_OWNER], 1);
	assert_int_equal(b.mem.gpa, 0x40000000);
	assert_int_equal(b.mem.size, 1 << 16);
	assert_int_equal(b.mem.offset, 0);
	assert_int_equal(b.ring[1].num, 16);
	assert_int_equal(b.ring[1].base, 0);
	assert_int_equal(b.ring[1].enabled, 1);
	assert_int_equal(b.ring[1].addr.flags, 0);
	assert_non_null(fake_user_va(&b, b.ring[1].addr.desc, 256));
	assert_non_null(fake_user_va(&b, b.ring[1].addr.avail, 38));
	assert_non_null(fake_user_va(&b, b.ring[1].addr.used, 134));
	assert_true(b.ring[1].call_fd > 0 && b.ring[1].kick_fd > 0);
	assert_true(frontend_event_idx(&f));
	assert_true(frontend_wants_events(&f));
	assert_false(frontend_may_return_unwritten(&f));
	/* the CID may change while connected */
	atomic_store(&b.cid, 77);
	assert_int_equal(frontend_read_cid(&f), 0);
	assert_int_equal(f.guest_cid, 77);
	frontend_disconnect(&f);
	fake_stop(&b);
}

/* A backend like vhost-device-vsock: 3 queues, STREAM only, without its bit. */
static void test_plain_backend(void **state)
{
	struct fake_backend b;
	struct frontend f;

	(void)state;
	fake_init(&b, path);
	b.features = 0x161000000;
	b.protocol = 0x209;
	b.queues = 3;
	fake_start(&b);
	assert_int_equal(frontend_init(&f, path, -1), 0);
	assert_int_equal(shake(&f, 1), 0);
	assert_int_equal(b.acked, 0x160000000);
	assert_false(frontend_wants_events(&f));
	assert_true(frontend_may_return_unwritten(&f));
	frontend_disconnect(&f);
	/* without MQ there is nothing to ask; without REPLY_ACK no answer to wait for */
	while (atomic_load(&b.disconnects) < 1)
		usleep(1000);
	memset(b.requests, 0, sizeof(b.requests));
	b.features = 0x140000000;
	b.protocol = 0x200;
	assert_int_equal(shake(&f, 1), 0);
	assert_false(frontend_event_idx(&f));
	assert_int_equal(b.requests[VU_GET_QUEUE_NUM], 0);
	assert_int_equal(b.requests[VU_GET_FEATURES], 2);
	frontend_disconnect(&f);
	fake_stop(&b);
}

static void expect_failure(struct fake_backend *b, unsigned pairs, int err, const char *text)
{
	struct frontend f;

	fake_start(b);
	assert_int_equal(frontend_init(&f, path, -1), 0);
	/* Waited out only when there will be no answer. */
	f.timeout_ms = b->trick == FAKE_SILENT ? 300 : 20000;
	assert_int_equal(shake(&f, pairs), err);
	if (!strstr(zv_error_text(), text) || !strstr(zv_error_text(), path))
		fail_msg("the text '%s' has no '%s'", zv_error_text(), text);
	frontend_disconnect(&f);
	fake_stop(b);
}

static void test_lacking_backend(void **state)
{
	struct fake_backend b;

	(void)state;
	fake_init(&b, path);
	b.queues = 5;
	expect_failure(&b, 3, -ERANGE, "queues=2");
	b.queues = 2;
	expect_failure(&b, 1, -ERANGE, "at least 3");
	b.queues = UINT64_MAX;
	b.features &= ~VSOCK_FEATURE_VERSION_1;
	expect_failure(&b, 1, -EPROTONOSUPPORT, "VERSION_1");
	b.features |= VSOCK_FEATURE_VERSION_1;
	b.features &= ~VU_FEATURE_PROTOCOL;
	expect_failure(&b, 1, -EPROTONOSUPPORT, "protocol features");
	b.features |= VU_FEATURE_PROTOCOL;
	b.protocol &= ~VU_PROTOCOL_CONFIG;
	expect_failure(&b, 1, -EPROTONOSUPPORT, "CONFIG");
	b.protocol = 0x208; /* no MQ: one pair at most */
	b.queues = 33;
	expect_failure(&b, 2, -ERANGE, "queues=1");
	b.protocol = 0x209;
	atomic_store(&b.cid, 2);
	expect_failure(&b, 1, -EPROTO, "reserved");
}

static void test_misbehaviour(void **state)
{
	static const uint32_t at[] = {VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES, VU_GET_QUEUE_NUM,
				      VU_GET_CONFIG, VU_SET_MEM_TABLE};
	static const struct {
		enum fake_trick trick;
		const char *text;
	} tricks[] = {
		{FAKE_EOF, "closed the connection"},	   {FAKE_SILENT, "did not answer"},
		{FAKE_WRONG_ID, "another request"},	   {FAKE_NOT_REPLY, "not a reply"},
		{FAKE_SHORT_SIZE, "wrong size"},	   {FAKE_HUGE_SIZE, "wrong size"},
		{FAKE_TRUNCATED, "closed the connection"},
	};
	struct fake_backend b;
	struct frontend f;

	(void)state;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		fake_init(&b, path);
		b.trick_at = at[i];
		for (size_t t = 0; t < sizeof(tricks) / sizeof(tricks[0]); t++) {
			b.trick = tricks[t].trick;
			expect_failure(&b, 1, -EPROTO, tricks[t].text);
		}
		/* slow, and in pieces, but right */
		b.trick = FAKE_DRIBBLE;
		fake_start(&b);
		assert_int_equal(frontend_init(&f, path, -1), 0);
		assert_int_equal(shake(&f, 1), 0);
		frontend_disconnect(&f);
		fake_stop(&b);
	}
	fake_init(&b, path);
	b.trick_at = VU_SET_MEM_TABLE;
	b.trick = FAKE_REFUSE;
	expect_failure(&b, 1, -EPROTO, "cannot map");
	/* a reply of the right size that does not carry the bytes */
	b.trick_at = VU_GET_CONFIG;
	b.trick = FAKE_REFUSE; /* overwrites offset and size */
	expect_failure(&b, 1, -EPROTO, "configuration bytes");
	/* a ring that the backend does not know (it lied about their number): it hangs up */
	fake_init(&b, path);
	b.queues = 3;
	b.rings = 1;
	expect_failure(&b, 1, -EPROTO, "closed the connection");
}

static void test_cancel(void **state)
{
	struct fake_backend b;
	struct frontend f;
	int cancel = eventfd(1, 0);

	(void)state;
	fake_init(&b, path);
	b.trick_at = VU_GET_CONFIG;
	b.trick = FAKE_SILENT;
	fake_start(&b);
	assert_int_equal(frontend_init(&f, path, cancel), 0);
	f.timeout_ms = 1 << 30;
	assert_int_equal(shake(&f, 1), -ECANCELED);
	frontend_disconnect(&f);
	fake_stop(&b);
	close(cancel);
}

static void test_connect_errors(void **state)
{
	struct fake_backend b;
	struct frontend f;
	char name[256];
	int fd;

	(void)state;
	assert_int_equal(frontend_init(&f, "", -1), -EINVAL);
	memset(name, 'x', sizeof(name));
	name[108] = 0;
	assert_int_equal(frontend_init(&f, name, -1), -ENAMETOOLONG);
	name[107] = 0;
	assert_int_equal(frontend_init(&f, name, -1), 0);
	assert_int_equal(frontend_init(&f, path, -1), 0);
	assert_int_equal(frontend_connect(&f), -ENOENT);
	assert_non_null(strstr(zv_error_text(), path));
	/* a socket that nobody listens on */
	fake_init(&b, path);
	fake_start(&b);
	assert_int_equal(frontend_connect(&f), 0);
	assert_true(fcntl(f.fd, F_GETFD) & FD_CLOEXEC);
	frontend_disconnect(&f);
	(void)snprintf(name, sizeof(name), "%s.old", path);
	assert_int_equal(rename(path, name), 0);
	fake_stop(&b);
	assert_int_equal(rename(name, path), 0);
	assert_int_equal(frontend_connect(&f), -ECONNREFUSED);
	assert_non_null(strstr(zv_error_text(), path));
	if (geteuid() != 0) {
		assert_int_equal(chmod(path, 0), 0);
		assert_int_equal(frontend_connect(&f), -EACCES);
		assert_non_null(strstr(zv_error_text(), path));
	}
	assert_int_equal(unlink(path), 0);
	/* no socket at all */
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_true(frontend_connect(&f) < 0);
	close(fd);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_handshake),	cmocka_unit_test(test_plain_backend),
		cmocka_unit_test(test_lacking_backend), cmocka_unit_test(test_misbehaviour),
		cmocka_unit_test(test_cancel),		cmocka_unit_test(test_connect_errors),
	};

	return cmocka_run_group_tests_name("frontend", tests, make_dir, remove_dir);
}
