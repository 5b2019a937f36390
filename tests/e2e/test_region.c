/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The region of a device without a VM, from the driver's offer to payload: the host's side imports
 * it, grants the driver one end of a channel in it and takes the other itself. The two libraries as
 * they are installed, both ends in this process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <shm_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_broker.h>
#include <zvsock_host.h>

#define SIZE	 0x400000ull /* of the region: a multiple of both page sizes */
#define RAM_GPA	 0x40000000ull
#define ID	 77u
#define PORT	 5000u
#define PATIENCE 120 /* s */

static char dir[] = "/tmp/zvsock-region-XXXXXX";
static char host_uri[96], guest_uri[96];
static struct zv_dev *host, *guest;
static struct zv_queue *hq, *gq;

static void poll_both(struct zv_event *of_host, int *n)
{
	struct zv_event ignored[4];

	*n = zv_poll(hq, of_host, 1);
	assert_true(zv_poll(gq, ignored, 4) >= 0);
}

/* The next that the driver says. */
static struct zv_broker_msg news(void)
{
	time_t end = time(NULL) + PATIENCE;
	struct zv_broker_msg m = {0};
	struct zv_event ev;
	int n;

	while (time(NULL) < end) {
		poll_both(&ev, &n);
		if (zv_broker_recv(hq, &m) == 1)
			return m;
	}
	fail_msg("the driver says nothing");
	return m;
}

static void open_both(const char *option)
{
	/* Both are this thread, which may get no CPU for seconds. */
	struct zv_opts o = {.size = sizeof(o),
			    .connect_timeout_ns = PATIENCE * 1000000000ull,
			    .hello_timeout_ns = PATIENCE * 1000000000ull};
	char uri[128];

	o.flags = ZV_OPT_BROKER;
	assert_int_equal(zv_open(&host, host_uri, &o), 0);
	hq = zv_queue(host, 0);
	assert_int_equal(zv_listen_all(host, 0, 16), 0);
	(void)snprintf(uri, sizeof(uri), "%s%s", guest_uri, option);
	o.flags = 0;
	assert_int_equal(zv_open(&guest, uri, &o), 0);
	gq = zv_queue(guest, 0);
	assert_int_equal(news().what, ZV_BROKER_HELLO);
}

static void close_both(void)
{
	if (guest)
		assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
	guest = host = NULL;
}

/* The region that the driver offers, imported. */
static struct zv_host_region *offered(struct zv_host_region_info *info)
{
	struct zv_broker_msg m = news();
	struct zv_host_region *r = NULL;

	assert_int_equal(m.what, ZV_BROKER_OFFER);
	assert_int_equal(m.size, SIZE);
	assert_int_equal(zv_host_region_import(host, 0, m.gpa, m.size, &r), 0);
	zv_host_region_get_info(r, info);
	assert_int_equal(info->size, SIZE);
	assert_int_equal(info->gpa, m.gpa);
	assert_int_equal(info->fd_offset, 0);
	assert_int_equal(info->state, 0);
	assert_true(info->fd >= 0);
	return r;
}

/* A driver that has been told of a region answers. */
static int announced(uint64_t id, uint64_t gpa, uint64_t size)
{
	struct zv_region region = {.id = id, .size = size, .gpa = gpa};
	struct zv_broker_msg m;

	assert_int_equal(zv_region_announce(hq, &region), 0);
	m = news();
	assert_int_equal(m.what, ZV_BROKER_REGION);
	assert_int_equal(m.id, id);
	return m.result;
}

/* The guest connects, and the request is answered with one end of a channel at @offset. */
static struct zv_conn *connect_granted(const struct shm_channel_desc *d, uint64_t region)
{
	struct zv_grant g = {.region = region, .desc = *d, .role = SHM_ROLE_A};
	time_t end = time(NULL) + PATIENCE;
	struct zv_event ev = {.conn = NULL};
	struct zv_conn *c, *h;
	int n = 0, ret;

	assert_int_equal(zv_connect(gq, 2, PORT, ZV_STREAM, &c), 0);
	do {
		poll_both(&ev, &n);
		ret = zv_accept(hq, ZV_PORT_ANY, &h);
	} while (ret == -EAGAIN && time(NULL) < end);
	assert_int_equal(ret, 0);
	assert_int_equal(zv_conn_grant(h, &g), 0);
	assert_int_equal(zv_conn_answer(h, 0), 0);
	return c;
}

static void send_hello(struct zv_conn *c)
{
	time_t end = time(NULL) + PATIENCE;
	struct zv_event ev;
	ssize_t sent;
	int n;

	do {
		poll_both(&ev, &n);
		sent = zv_send(c, "by the channel", 14, 0);
	} while ((sent == -EAGAIN || sent == -EINPROGRESS || sent == -ENOTCONN) &&
		 time(NULL) < end);
	assert_int_equal(sent, 14);
}

static void payload_goes_through_the_region(void **state)
{
	struct zv_host_region_info info;
	struct zv_host_region *r, *same;
	struct shm_channel_desc d;
	struct shm_channel *ch;
	struct shm_msg m;
	struct zv_conn *c;
	time_t end;

	(void)state;
	open_both(",region=4M");
	r = offered(&info);
	assert_int_equal(zv_host_region_import(host, 0, info.gpa, info.size, &same), 0);
	assert_ptr_equal(same, r);
	zv_host_region_put(same);
	assert_int_equal(announced(ID, info.gpa, info.size), 0);
	shm_channel_desc_init(&d, 0x10000, 1);
	d.length = shm_channel_bytes(&d);
	assert_int_equal(shm_channel_format(info.addr, info.size, &d), 0);
	assert_int_equal(shm_channel_attach(&ch, info.addr, info.size, &d, SHM_ROLE_B, NULL), 0);
	c = connect_granted(&d, ID);
	send_hello(c);
	for (end = time(NULL) + PATIENCE; shm_channel_recv(ch, &m, 1) != 1;)
		assert_true(time(NULL) < end);
	assert_int_equal(m.len, 14);
	assert_memory_equal(m.data, "by the channel", 14);
	shm_channel_release(ch, &m, 1);
	shm_channel_detach(ch);
	zv_conn_close(c);
	/* The driver's process has gone; what we hold stays, and says so. */
	assert_int_equal(zv_close(guest), 0);
	guest = NULL;
	for (end = time(NULL) + PATIENCE; time(NULL) < end && !(info.state & ZV_HOST_REGION_GONE);)
		zv_host_region_get_info(r, &info);
	assert_int_equal(info.state, ZV_HOST_REGION_GONE);
	memset(info.addr, 1, info.size);
	zv_host_region_put(r);
	close_both();
}

/* A driver maps the part of its region that it is told of, and nothing else. */
static void a_part_can_be_announced(void **state)
{
	struct zv_host_region_info info;
	struct zv_host_region *r;

	(void)state;
	open_both(",region=4M");
	r = offered(&info);
	assert_int_equal(announced(1, info.gpa + 0x1000, SIZE - 0x1000), 0);
	assert_int_equal(announced(2, info.gpa + 0x1000, SIZE), -ENXIO);
	assert_int_equal(announced(3, info.gpa - 0x1000, 0x1000), -ENXIO);
	assert_int_equal(announced(4, info.gpa + SIZE, 0x1000), -ENXIO);
	assert_int_equal(announced(5, RAM_GPA, 0x1000), -ENXIO);
	zv_host_region_put(r);
	close_both();
}

static void what_is_no_region_is_not_imported(void **state)
{
	struct zv_host_region_info info;
	struct zv_host_region *r, *no = NULL;

	(void)state;
	open_both(",region=4M");
	r = offered(&info);
	assert_int_equal(zv_host_region_import(host, 0, RAM_GPA, 0x1000, &no), -EPERM);
	assert_non_null(strstr(zv_error_text(), "RAM"));
	assert_int_equal(zv_host_region_import(host, 0, info.gpa, SIZE + 1, &no), -ENXIO);
	assert_int_equal(zv_host_region_import(host, 0, info.gpa + 1, UINT64_MAX, &no), -ENXIO);
	assert_int_equal(zv_host_region_import(host, 0, 12345, 1, &no), -ENXIO);
	assert_int_equal(zv_host_region_import(host, 1, info.gpa, SIZE, &no), -EINVAL);
	assert_int_equal(zv_host_region_import(guest, 0, info.gpa, SIZE, &no), -EOPNOTSUPP);
	assert_int_equal(zv_host_region_import(NULL, 0, info.gpa, SIZE, &no), -EINVAL);
	assert_null(no);
	zv_host_region_put(r);
	close_both();
	zv_host_region_put(NULL);
}

static void without_a_region_nothing_is_offered(void **state)
{
	static const char *const option[] = {"", ",region=none"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		open_both(option[i]);
		/* What was said before the answer to this would have come before it. */
		assert_int_equal(announced(1, RAM_GPA, 0x1000), -ENXIO);
		close_both();
	}
}

static void an_option_that_means_nothing_fails(void **state)
{
	static const char *const option[] = {
		"region=auto",
		"region=",
		"region=12",
		"region=4m",
		"region=4MB",
		"region=-4M",
		"region=999999999999T",
		"region=18446744073709551617",
		"region=2T",
		"region=dax0.0",
		"region=4M,region=4M",
		"second,region=4M",
	};
	struct zv_dev *d;
	char uri[160];

	(void)state;
	for (unsigned i = 0; i < sizeof(option) / sizeof(option[0]); i++) {
		(void)snprintf(uri, sizeof(uri), "%s,%s", guest_uri, option[i]);
		assert_int_equal(zv_open(&d, uri, NULL), -EINVAL);
		assert_non_null(strstr(zv_error_text(), "region="));
	}
}

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(host_uri, sizeof(host_uri), "host:%s/s,cid=3", dir);
	(void)snprintf(guest_uri, sizeof(guest_uri), "vhost-user:%s/s", dir);
	return zv_host_init();
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(payload_goes_through_the_region),
		cmocka_unit_test(a_part_can_be_announced),
		cmocka_unit_test(what_is_no_region_is_not_imported),
		cmocka_unit_test(without_a_region_nothing_is_offered),
		cmocka_unit_test(an_option_that_means_nothing_fails),
	};

	return cmocka_run_group_tests_name("region", tests, make_dir, remove_dir);
}
