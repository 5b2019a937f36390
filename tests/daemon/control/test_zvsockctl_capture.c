/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockctl capture: how it ends, by whose hand, with what in the file.
 *
 *	test_zvsockctl_capture ZVSOCKCTL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctl/ctl.h"
#include "ctl_run.h"
#include "raw_client.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RW = 5 };

static bool all_tapped(void *f)
{
	return fake_taps(f) == FAKE_GUESTS * FAKE_QUEUES;
}

static bool none_tapped(void *f)
{
	return fake_taps(f) == 0;
}

static void packets(struct fake *f, unsigned n)
{
	const struct iovec iov = {(void *)(uintptr_t) "0123456789", 10};

	for (unsigned i = 0; i < n; i++)
		assert_true(fake_packet(&f->queues[i % 3][0], i % 2, RW, &iov, 1));
}

static void ctrl_c_ends_a_capture_well(void **state)
{
	struct fake *f = *state;
	char name[96];
	struct stat st;
	struct run r;

	(void)snprintf(name, sizeof(name), "%s/x.pcap", f->dir);
	run_start(&r, ARGS("-s", f->path, "capture", name), (struct how){.out = -1});
	assert_true(raw_wait(all_tapped, f));
	packets(f, 7);
	assert_int_equal(kill(r.pid, SIGINT), 0);
	assert_int_equal(kill(r.pid, SIGTERM), 0); /* the same wish again */
	run_finish(&r);
	assert_int_equal(r.code, CTL_OK);
	assert_non_null(strstr(r.err, "capturing 3 guests"));
	assert_non_null(strstr(r.err, "7 packets, 738 bytes written, 0 packets dropped"));
	assert_int_equal(stat(name, &st), 0);
	assert_int_equal(st.st_size, 24 + 7 * (16 + 76 + 10));
	assert_int_equal(st.st_mode & 07777, 0600);
	(void)unlink(name);
}

static void kill_9_ends_a_capture_too(void **state)
{
	struct fake *f = *state;
	struct run r;

	run_start(&r, ARGS("-s", f->path, "capture", "/dev/null"), (struct how){.out = -1});
	assert_true(raw_wait(all_tapped, f));
	assert_int_equal(kill(r.pid, SIGKILL), 0);
	run_finish(&r);
	assert_true(raw_wait(none_tapped, f));
}

static void a_capture_goes_through_a_pipe(void **state)
{
	struct fake *f = *state;
	uint8_t data[4096];
	ssize_t n, len = 0;
	struct run r;
	int p[2];

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	run_start(&r, ARGS("-s", f->path, "capture", "-", "--count=2", "--snaplen=4"),
		  (struct how){.out = p[1]});
	(void)close(p[1]);
	assert_true(raw_wait(all_tapped, f));
	packets(f, 3);
	/* It ends by itself, and the pipe with it. */
	while ((n = read(p[0], data + len, sizeof(data) - (size_t)len)) > 0)
		len += n;
	run_finish(&r);
	assert_int_equal(r.code, CTL_OK);
	assert_int_equal(len, 24 + 2 * (16 + 76 + 4));
	(void)close(p[0]);
}

static void json_of_a_capture_is_its_end(void **state)
{
	struct fake *f = *state;
	struct run r;
	json_t *j;

	run_ctl(f, &r, ARGS("capture", "/dev/null", "--json", "--duration=0.001"));
	assert_int_equal(r.code, CTL_OK);
	j = json_loads(r.out, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(j, "end")), "duration");
	assert_int_equal(json_integer_value(json_object_get(j, "bytes")), 24);
	json_decref(j);
}

static void a_disk_full_of_nothing_is_told(void **state)
{
	struct fake *f = *state;
	struct run r;

	run_ctl(f, &r, ARGS("capture", "/dev/full"));
	assert_int_equal(r.code, CTL_FAILED);
	assert_non_null(strstr(r.err, "/dev/full: No space left on device; the capture has ended"));
	run_ctl(f, &r, ARGS("capture", "/tmp/zv/no/such.pcap"));
	run_complains(&r, CTL_FAILED, "/tmp/zv/no/such.pcap: No such file or directory");
}

/* A real file system of 16 KiB, which ends in the middle of a packet. */
static void a_real_full_disk_leaves_whole_packets(void **state)
{
	struct fake *f = *state;
	char name[96];
	struct stat st;
	struct run r;

	/* In a name space of this thread, which its children get: gone when they are. */
	if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_PRIVATE, "") < 0) {
		print_message("no right to mount a small file system here: %s\n", strerror(errno));
		skip();
	}
	(void)snprintf(name, sizeof(name), "%s/disk", f->dir);
	assert_int_equal(mkdir(name, 0700), 0);
	assert_int_equal(mount("zv", name, "tmpfs", 0, "size=16k"), 0);
	(void)snprintf(name, sizeof(name), "%s/disk/x.pcap", f->dir);
	run_start(&r, ARGS("-s", f->path, "capture", name), (struct how){.out = -1});
	assert_true(raw_wait(all_tapped, f));
	pthread_mutex_lock(&f->main);
	packets(f, 300);
	pthread_mutex_unlock(&f->main);
	run_finish(&r);
	assert_int_equal(r.code, CTL_FAILED);
	assert_non_null(strstr(r.err, "No space left on device"));
	assert_int_equal(stat(name, &st), 0);
	assert_true(st.st_size > 8000);
	assert_int_equal((st.st_size - 24) % (16 + 76 + 10), 0);
	(void)snprintf(name, sizeof(name), "%s/disk", f->dir);
	assert_int_equal(umount2(name, MNT_DETACH), 0);
	(void)rmdir(name);
}

static void the_daemons_end_is_told(void **state)
{
	struct fake *f = fake_new();
	struct run r;

	(void)state;
	assert_non_null(f);
	run_start(&r, ARGS("-s", f->path, "capture", "/dev/null"), (struct how){.out = -1});
	assert_true(raw_wait(all_tapped, f));
	fake_free(f);
	run_finish(&r);
	assert_int_equal(r.code, CTL_OK);
	assert_non_null(strstr(r.err, "0 packets, 24 bytes written"));
}

/* Its word, not ours, on what the file means. */
static void tshark_dissects_a_capture(void **state)
{
	const struct iovec iov = {(void *)(uintptr_t) "hello", 5};
	struct fake *f = *state;
	char cmd[512], out[4096];
	struct run r;
	FILE *p;

	if (system("tshark --version >/dev/null 2>&1") != 0) {
		print_message("tshark is not installed\n");
		skip();
	}
	(void)snprintf(cmd, sizeof(cmd), "%s/x.pcap", f->dir);
	run_start(&r, ARGS("-s", f->path, "capture", cmd, "--count=9"), (struct how){.out = -1});
	assert_true(raw_wait(all_tapped, f));
	for (unsigned op = 1; op <= 7; op++)
		assert_true(fake_packet(&f->queues[0][0], op % 2, op, NULL, 0));
	assert_true(fake_packet(&f->queues[1][1], false, RW, &iov, 1));
	assert_true(fake_packet(&f->queues[1][1], true, RW, &iov, 1));
	run_finish(&r);
	assert_int_equal(r.code, CTL_OK);
	(void)snprintf(cmd, sizeof(cmd),
		       "tshark -r %s/x.pcap -T fields -E separator=, -e vsock.src_cid "
		       "-e vsock.dst_cid -e vsock.op -e vsock.virtio.op -e vsock.virtio.len "
		       "-e vsock.payload -e _ws.malformed 2>/dev/null",
		       f->dir);
	p = popen(cmd, "r");
	assert_non_null(p);
	out[fread(out, 1, sizeof(out) - 1, p)] = 0;
	assert_int_equal(pclose(p), 0);
	assert_string_equal(out, "2,3,1,1,0,,\n3,2,1,2,0,,\n2,3,2,3,0,,\n3,2,2,4,0,,\n"
				 "2,3,4,5,0,,\n3,2,3,6,0,,\n2,3,3,7,0,,\n"
				 "4,2,4,5,5,68656c6c6f,\n2,4,4,5,5,68656c6c6f,\n");
	(void)snprintf(cmd, sizeof(cmd), "%s/x.pcap", f->dir);
	(void)unlink(cmd);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, run_setup, run_teardown)
	const struct CMUnitTest tests[] = {
		CASE(ctrl_c_ends_a_capture_well),
		CASE(kill_9_ends_a_capture_too),
		CASE(a_capture_goes_through_a_pipe),
		CASE(json_of_a_capture_is_its_end),
		CASE(a_disk_full_of_nothing_is_told),
		CASE(a_real_full_disk_leaves_whole_packets),
		cmocka_unit_test(the_daemons_end_is_told),
		CASE(tshark_dissects_a_capture),
	};

	return run_program(argc, argv) ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}
