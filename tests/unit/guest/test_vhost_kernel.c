/* SPDX-License-Identifier: BSD-3-Clause */
/* The `vhost-kernel:` transport as far as no device is needed; tests/vm has the rest. */
#include "transport.h"
#include "vhost-kernel/vhost_kernel.h"
#include "vhost-kernel/vhost_kernel_transport.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64], path[96];

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/zv-vhost-kernel-XXXXXX"); /* where any user may look */
	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return -1;
	(void)snprintf(path, sizeof(path), "%s/vhost-vsock", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

static void cids_of_uris(void **state)
{
	static const struct {
		const char *rest;
		uint64_t cid;	  /* 0: refused */
		const char *says; /* then */
	} t[] = {
		{"cid=3", 3, NULL},
		{"cid=42", 42, NULL},
		{"cid=4294967294", 4294967294u, NULL},
		{"cid=0000000042", 42, NULL},
		{"cid=0", 0, "cannot be a guest's"},
		{"cid=2", 0, "cannot be a guest's"},
		{"cid=4294967295", 0, "cannot be a guest's"},
		{"cid=9999999999", 0, "cannot be a guest's"},
		{"cid=18446744073709551619", 0, "is no CID"}, /* 3, if it wrapped */
		{"cid=", 0, "is no CID"},
		{"cid=-3", 0, "is no CID"},
		{"cid=+3", 0, "is no CID"},
		{"cid= 3", 0, "is no CID"},
		{"cid=3 ", 0, "is no CID"},
		{"cid=0x10", 0, "is no CID"},
		{"cid=3,cid=4", 0, "is no CID"},
		{"cid=3,4", 0, "is no CID"},
		{"", 0, "write vhost-kernel:cid=N"},
		{"c", 0, "write vhost-kernel:cid=N"},
		{"42", 0, "write vhost-kernel:cid=N"},
		{"CID=42", 0, "write vhost-kernel:cid=N"},
		{"/dev/vhost-vsock", 0, "write vhost-kernel:cid=N"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint64_t cid = 0;
		int ret = vhost_kernel_parse(&cid, t[i].rest);

		assert_int_equal(ret, t[i].cid ? 0 : -EINVAL);
		assert_int_equal(cid, ret ? cid : t[i].cid);
		if (ret)
			assert_non_null(strstr(zv_error_text(), t[i].says));
	}
}

static void bad_uris_and_more_queues_open_nothing(void **state)
{
	const struct transport_ops *ops = &vhost_kernel_transport_ops;
	struct zv_opts o = {.size = sizeof(o), .queues = 2, .ring_size = 16};
	struct transport_dev *d = NULL;

	(void)state;
	o.rx_buf = o.tx_buf = 256;
	assert_int_equal(ops->open(&d, "cid=1", &o), -EINVAL);
	assert_int_equal(ops->open(&d, "cid=42", &o), -ERANGE);
	assert_non_null(strstr(zv_error_text(), "one queue pair, not 2"));
	assert_null(d);
}

/* Opens @path, which is no device: @ret, and a sentence with @says. Nothing stays open. */
static void refused(int ret, const char *says)
{
	struct vhost_kernel v;

	vhost_kernel_init(&v, path, 42);
	assert_int_equal(vhost_kernel_open(&v), ret);
	assert_non_null(strstr(zv_error_text(), says));
	assert_non_null(strstr(zv_error_text(), path));
	vhost_kernel_close(&v);
	assert_int_equal(v.fd, -1);
	assert_int_equal(v.err_fd, -1);
	vhost_kernel_close(&v);
}

static void a_missing_device_names_the_module(void **state)
{
	(void)state;
	refused(-ENOENT, "modprobe vhost_vsock");
}

static void another_file_is_no_device(void **state)
{
	(void)state;
	assert_int_equal(symlink("/dev/null", path), 0);
	refused(-ENOTTY, "is not a vhost device");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	refused(-EISDIR, "cannot open");
	assert_int_equal(rmdir(path), 0);
}

static void a_device_without_permission_says_who_may(void **state)
{
	bool root = geteuid() == 0;
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0400);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	refused(-EACCES, "no permission");
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(unlink(path), 0);
}

/* Through the whole transport, where this machine has no such device. */
static void opening_without_a_device_leaves_nothing(void **state)
{
	struct zv_opts o = {
		.size = sizeof(o), .queues = 1, .ring_size = 16, .flags = ZV_OPT_NO_HUGE};
	struct transport_dev *d = NULL;

	(void)state;
	if (access(VHOST_KERNEL_PATH, F_OK) == 0) {
		print_message("skipped: this machine has %s\n", VHOST_KERNEL_PATH);
		skip();
	}
	o.rx_buf = o.tx_buf = 256;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vhost_kernel_transport_ops.open(&d, "cid=42", &o), -ENOENT);
		assert_non_null(strstr(zv_error_text(), "modprobe vhost_vsock"));
		assert_null(d);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(cids_of_uris),
		cmocka_unit_test(bad_uris_and_more_queues_open_nothing),
		cmocka_unit_test(a_missing_device_names_the_module),
		cmocka_unit_test(another_file_is_no_device),
		cmocka_unit_test(a_device_without_permission_says_who_may),
		cmocka_unit_test(opening_without_a_device_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
