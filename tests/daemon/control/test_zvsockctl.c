/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What zvsockctl prints, what it says when something is wrong, and its exit codes.
 *
 *	test_zvsockctl ZVSOCKCTL
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ctl/ctl.h"
#include "ctl_run.h"
#include "raw_client.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- tables and JSON ---- */

static void list_is_a_table(void **state)
{
	struct fake *f = *state;
	struct run r;

	fake_conns(f, 0, 0, 2);
	run_ctl(f, &r, ARGS("list"));
	assert_int_equal(r.code, CTL_OK);
	assert_string_equal(r.out,
			    "Netid  State      Recv-Q  Send-Q   Local     Peer  Guest  Queue  "
			    "Received  Sent  Credit    Age  Path  Endpoint\n"
			    "v_str  connected       0       0  2:1024  3:50000  web        0  "
			    "       0     0       0  1m01s  copy  web's 1024\n"
			    "v_seq  connected       0       0  2:1025  3:50001  web        0  "
			    "       1     0       0  1m01s  copy  -\n");
	assert_string_equal(r.err, "");
}

static void guests_is_a_table(void **state)
{
	struct fake *f = *state;
	struct run r;

	fake_conns(f, 2, 1, 12);
	run_ctl(f, &r, ARGS("guests"));
	assert_int_equal(r.code, CTL_OK);
	assert_string_equal(
		r.out,
		"Guest  CID  State  Queues up  Peer   Connections  Mode    Sockets\n"
		"web      3  up           1/2  plain            0  server  /run/a b,c/web0.sock\n"
		"db       4  up           1/2  plain            0  client  /run/a b,c/db0.sock "
		"/run/a b,c/db1.sock\n"
		"a-b      5  up           1/2  plain           12  server  /run/a b,c/a-b0.sock "
		"/run/a b,c/a-b1.sock /run/a b,c/a-b2.sock\n");
}

/* Just attached, and long ago: then what may be wrong is told. */
static void a_vmm_that_starts_no_queue_is_named(void **state)
{
	static const struct {
		uint64_t ago_s;
		bool hint;
	} cases[] = {{1, false}, {31, true}};
	struct fake *f = *state;
	struct run r;

	for (size_t i = 0; i < 2; i++) {
		uint64_t ago = cases[i].ago_s * 1000000000u;
		const json_t *guest;
		json_t *j;

		fake_attach(f, 1, now_ns() - ago);
		run_ctl(f, &r, ARGS("guests"));
		assert_int_equal(r.code, CTL_OK);
		assert_non_null(strstr(r.out, "\nweb      3  up              1/2  plain "));
		assert_non_null(strstr(r.out, "\ndb       4  attached        0/2  plain "));
		assert_int_equal(
			strstr(r.out, "\ndb: a VMM is attached, but has started no queue") != NULL,
			cases[i].hint);
		run_ctl(f, &r, ARGS("guests", "--json", "db"));
		j = json_loads(r.out, 0, NULL);
		guest = json_array_get(json_object_get(j, "guests"), 0);
		assert_string_equal(json_string_value(json_object_get(guest, "state")), "attached");
		assert_true((uint64_t)json_integer_value(json_object_get(guest, "attached_ns")) >=
			    ago);
		assert_int_equal(json_object_get(guest, "hint") != NULL, cases[i].hint);
		json_decref(j);
	}
}

static void stats_have_totals_and_queues(void **state)
{
	static const char *const lines[] = {
		"guest db, cid 4\n",
		"\ntraffic                 total  queue 0  queue 1\n",
		"\n  rx_packets             1000        0     1000  packets received\n",
		"\n  ring_broken            1048       24     1024  times a ring was declared "
		"broken\n",
		"\nendpoints: connections\n",
		"\n  guest_joined             12                    of those, joined with a local "
		"program\n",
		"  bytes of rx_memory promised to open connections, now\n",
		"\nlcores: traffic  total\n",
		"\n  rounds          2000  turns over its queues\n",
	};
	struct fake *f = *state;
	struct run r;

	run_ctl(f, &r, ARGS("stats", "db"));
	assert_int_equal(r.code, CTL_OK);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (!strstr(r.out, lines[i]))
			fail_msg("no \"%s\" in\n%s", lines[i], r.out);
	assert_null(strstr(r.out, "guest web"));
	assert_null(strstr(r.out, " \n"));
}

static void json_is_the_answer(void **state)
{
	static const char *const cmds[][2] = {{"list", "connections"},
					      {"guests", "guests"},
					      {"stats", "lcores"},
					      {"qemu-args", "args"}};
	struct fake *f = *state;
	struct run r;
	json_t *j;

	for (size_t i = 0; i < 4; i++) {
		run_ctl(f, &r, ARGS(cmds[i][0], "--json", "web"));
		assert_int_equal(r.code, CTL_OK);
		j = json_loads(r.out, 0, NULL);
		assert_non_null(json_object_get(j, cmds[i][1]));
		assert_null(json_object_get(j, "ok"));
		json_decref(j);
	}
}

static void qemu_args_are_ready_for_a_shell(void **state)
{
	struct fake *f = *state;
	struct run r;

	run_ctl(f, &r, ARGS("qemu-args", "web"));
	assert_int_equal(r.code, CTL_OK);
	assert_string_equal(r.out,
			    "-m 512M -object memory-backend-memfd,id=zvmem,size=512M,share=on "
			    "-machine memory-backend=zvmem "
			    "-chardev 'socket,id=zvsock0,path=/run/a b,,c/web0.sock' "
			    "-device vhost-user-vsock-pci,chardev=zvsock0\n");
	assert_non_null(strstr(r.err, "--multi-queue")); /* it has two, the device carries one */
	run_ctl(f, &r, ARGS("qemu-args", "--hugepages", "--memory=2G", "db"));
	assert_string_equal(r.out,
			    "-m 2048M -object memory-backend-memfd,id=zvmem,size=2048M,share=on,"
			    "hugetlb=on,hugetlbsize=2M -machine memory-backend=zvmem "
			    "-chardev 'socket,id=zvsock0,path=/run/a b,,c/db0.sock,server=on' "
			    "-device vhost-user-vsock-pci,chardev=zvsock0 "
			    "-chardev 'socket,id=zvsock1,path=/run/a b,,c/db1.sock,server=on' "
			    "-device vhost-user-vsock-pci,chardev=zvsock1\n");
	assert_string_equal(r.err, "");
	run_ctl(f, &r, ARGS("qemu-args", "--multi-queue", "web"));
	assert_non_null(strstr(r.out, "-device vhost-user-test-device-pci,chardev=zvsock0,"
				      "virtio-id=19,num_vqs=5,vq_size=256,config_size=8,"
				      "iommu_platform=on\n"));
	assert_string_equal(r.err, "");
}

/* QEMU would take a bare number as MiB in one place and as bytes in the other. */
static void memory_has_its_unit(void **state)
{
	static const struct {
		const char *given, *printed;
	} good[] = {{"700", "700M"},   {"700M", "700M"},   {"64m", "64M"},    {"2048k", "2M"},
		    {"1.5G", "1536M"}, {"1T", "1048576M"}, {"1t", "1048576M"}};
	static const char *const bad[] = {
		"",	  "x",	  "1x", "-1G", "2GB", "1P",   "99999999999", "0",
		"1.2.3G", "0x10", ".",	"1k",  "1 ",  "1.3M", "1000001k",    "nan"};
	struct fake *f = *state;
	char text[96];
	struct run r;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		(void)snprintf(text, sizeof(text), "--memory=%s", good[i].given);
		run_ctl(f, &r, ARGS("qemu-args", text, "web"));
		assert_int_equal(r.code, CTL_OK);
		(void)snprintf(text, sizeof(text),
			       "-m %s -object memory-backend-memfd,id=zvmem,size=%s,",
			       good[i].printed, good[i].printed);
		assert_non_null(strstr(r.out, text));
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(text, sizeof(text), "--memory=%s", bad[i]);
		run_ctl(f, &r, ARGS("qemu-args", text, "web"));
		run_complains(&r, CTL_USAGE, "is no size; write 512M or 2G");
	}
	run_ctl(f, &r, ARGS("qemu-args", "--hugepages", "--memory=513M", "web"));
	run_complains(&r, CTL_USAGE, "multiple of 2M");
}

static void region_of(struct fake *f, uint32_t size, const char *path, enum cfg_region_kind kind)
{
	pthread_mutex_lock(&f->main);
	f->cfgs[0].region = size;
	strcpy(f->cfgs[0].region_path, path);
	f->cfgs[0].region_kind = kind;
	pthread_mutex_unlock(&f->main);
}

static void the_vm_is_given_its_region(void **state)
{
	struct fake *f = *state;
	struct run r;

	region_of(f, 64u << 20, "/dev/hugepages/a b,c", CFG_NVDIMM);
	run_ctl(f, &r, ARGS("qemu-args", "web"));
	assert_int_equal(r.code, CTL_OK);
	assert_non_null(strstr(r.out, "-m 512M,slots=1,maxmem=576M -object "));
	assert_non_null(strstr(r.out, "-machine memory-backend=zvmem,nvdimm=on "
				      "-object 'memory-backend-file,id=zvregion,"
				      "mem-path=/dev/hugepages/a b,,c,share=on,size=64M' "
				      "-device nvdimm,memdev=zvregion -chardev"));
	run_ctl(f, &r, ARGS("qemu-args", "--memory=2G", "web"));
	assert_non_null(strstr(r.out, "-m 2048M,slots=1,maxmem=2112M "));
	region_of(f, 128u << 20, "/dev/shm/r", CFG_IVSHMEM);
	run_ctl(f, &r, ARGS("qemu-args", "web"));
	assert_non_null(strstr(r.out, "-m 512M -object "));
	assert_non_null(strstr(r.out, "-machine memory-backend=zvmem -object memory-backend-file,"
				      "id=zvregion,mem-path=/dev/shm/r,share=on,size=128M "
				      "-device ivshmem-plain,memdev=zvregion -chardev"));
	region_of(f, 64u << 20, "", CFG_VIRTIO); /* the daemon's, through the generic device */
	run_ctl(f, &r, ARGS("qemu-args", "web"));
	assert_null(strstr(r.out, "zvregion"));
	assert_non_null(strstr(r.out, "-m 512M -object "));
	assert_non_null(strstr(r.out, "-device vhost-user-test-device-pci,chardev=zvsock0,"));
	run_ctl(f, &r, ARGS("qemu-args", "db"));
	assert_null(strstr(r.out, "zvregion"));
	assert_null(strstr(r.out, "vhost-user-test-device-pci"));
}

/* What zvsockd drives as a guest is in the same table; its VMM is none of this machine's business.
 */
static void a_device_is_in_the_table(void **state)
{
	struct fake *f = *state;
	struct run r;

	pthread_mutex_lock(&f->main);
	f->cfgs[0].role = CFG_AS_GUEST;
	strcpy(f->cfgs[0].scheme, "vfio");
	strcpy(f->cfgs[0].devices[0], "0000:00:02.0");
	pthread_mutex_unlock(&f->main);
	run_ctl(f, &r, ARGS("guests", "web"));
	assert_int_equal(r.code, CTL_OK);
	assert_non_null(strstr(r.out, "device  vfio:0000:00:02.0\n"));
	run_ctl(f, &r, ARGS("stats", "web"));
	assert_non_null(strstr(r.out, "device web, cid 3\n"));
	run_ctl(f, &r, ARGS("qemu-args", "web"));
	run_complains(&r, CTL_FAILED, "web is a device that zvsockd drives in this guest");
}

/* ---- what can be wrong ---- */

static void wrong_use_is_one_line(void **state)
{
	static const struct {
		const char *args[4];
		const char *part;
	} cases[] = {
		{{NULL},
		 "a command is needed: list, ss, guests, stats, regions, capture, connect "
		 "or qemu-args"},
		{{"frobnicate"}, "no such command"},
		{{"list", "web", "db"}, "one argument too many"},
		{{"capture"}, "name of a file"},
		{{"capture", "x", "web", "y"}, "one argument too many"},
		{{"qemu-args"}, "name of a guest"},
		{{"list", "--count=3"}, "--count is no option of list"},
		{{"capture", "x", "--memory=3"}, "--memory is no option of capture"},
		{{"capture", "x", "--count=0"}, "--count 0"},
		{{"capture", "x", "--count=-3"}, "--count -3"},
		{{"capture", "x", "--snaplen=1048577"}, "--snaplen"},
		{{"capture", "x", "--snaplen=1k"}, "--snaplen 1k"},
		{{"capture", "x", "--duration=nan"}, "--duration nan"},
		{{"capture", "x", "--duration=0"}, "--duration 0"},
	};
	struct run r;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *args[5] = {0};

		memcpy(args, cases[i].args, sizeof(cases[i].args));
		run_start(&r, args, (struct how){.out = -1});
		run_finish(&r);
		run_complains(&r, CTL_USAGE, cases[i].part);
	}
}

static void an_option_that_does_not_exist_is_named(void **state)
{
	struct run r;

	(void)state;
	run_start(&r, ARGS("--nonsense"), (struct how){.out = -1});
	run_finish(&r);
	assert_int_equal(r.code, CTL_USAGE);
	assert_ptr_equal(strstr(r.err, "zvsockctl: unrecognized option '--nonsense'\n"), r.err);
}

static void a_guest_that_is_not_there_is_named_with_those_that_are(void **state)
{
	struct fake *f = *state;
	char name[] = "/tmp/zv-precious-XXXXXX";
	int fd = mkstemp(name);
	struct stat st;
	struct run r;

	run_ctl(f, &r, ARGS("list", "wbe"));
	run_complains(&r, CTL_FAILED, "no guest or device \"wbe\" here; there are: web, db, a-b");
	/* And no file is emptied for it. */
	assert_int_equal(write(fd, "data", 4), 4);
	run_ctl(f, &r, ARGS("capture", name, "wbe"));
	run_complains(&r, CTL_FAILED, "no guest");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 4);
	(void)close(fd);
	(void)unlink(name);
}

static void without_a_daemon_it_says_so(void **state)
{
	struct run r;
	char path[200];

	(void)state;
	run_start(&r, ARGS("-s", "/tmp/zv/no/such.sock", "list"), (struct how){.out = -1});
	run_finish(&r);
	run_complains(&r, CTL_NO_DAEMON,
		      "/tmp/zv/no/such.sock: no daemon listens here; start zvsockd with "
		      "\"control = /tmp/zv/no/such.sock\"");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = 0;
	run_start(&r, ARGS("-s", path, "list"), (struct how){.out = -1});
	run_finish(&r);
	run_complains(&r, CTL_USAGE, "longer than");
}

static void without_permission_it_says_who_has_it(void **state)
{
	struct fake *f = *state;
	struct run r;

	assert_int_equal(chmod(f->dir, 0711), 0);
	assert_int_equal(chmod(f->path, geteuid() == 0 ? 0660 : 0060), 0);
	run_start(&r, ARGS("-s", f->path, "list"),
		  (struct how){.out = -1, .nobody = geteuid() == 0});
	run_finish(&r);
	run_complains(&r, CTL_NO_DAEMON, "permission denied; be root, or in group");
}

/* Something that takes one connection, says @text to the first bytes, and leaves. */
static void against(const char *text, struct run *r)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c;
	char buf[4096];

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/tmp/zv-other-%d.sock", (int)getpid());
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	run_start(r, ARGS("-s", sa.sun_path, "list"), (struct how){.out = -1});
	c = accept(fd, NULL, NULL);
	assert_true(read(c, buf, sizeof(buf)) > 0);
	assert_true(raw_send_line(c, text));
	(void)close(c);
	run_finish(r);
	(void)close(fd);
	(void)unlink(sa.sun_path);
}

static void another_daemon_is_not_misunderstood(void **state)
{
	struct run r;

	(void)state;
	against("{\"v\":2,\"daemon\":\"9.9\",\"ok\":false,\"code\":\"version\",\"error\":\"x\"}\n",
		&r);
	run_complains(&r, CTL_VERSION, "and the daemon (9.9) speak different versions");
	against("{\"v\":2,\"daemon\":\"9.9\",\"ok\":true,\"connections\":[]}\n", &r);
	run_complains(&r, CTL_VERSION, "9.9");
	against("220 mail.example.org ESMTP\n", &r);
	run_complains(&r, CTL_NO_DAEMON, "is not zvsockd");
	against("{\"v\":1,", &r);
	run_complains(&r, CTL_NO_DAEMON, "closed the connection");
}

static void a_full_standard_output_is_an_error(void **state)
{
	struct fake *f = *state;
	struct run r;
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	run_start(&r, ARGS("-s", f->path, "guests"), (struct how){.out = full});
	run_finish(&r);
	run_complains(&r, CTL_FAILED, "standard output: No space left on device");
	(void)close(full);
}

int main(int argc, char **argv)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, run_setup, run_teardown)
	const struct CMUnitTest tests[] = {
		CASE(list_is_a_table),
		CASE(guests_is_a_table),
		CASE(a_vmm_that_starts_no_queue_is_named),
		CASE(stats_have_totals_and_queues),
		CASE(json_is_the_answer),
		CASE(qemu_args_are_ready_for_a_shell),
		CASE(memory_has_its_unit),
		CASE(the_vm_is_given_its_region),
		cmocka_unit_test(wrong_use_is_one_line),
		CASE(a_device_is_in_the_table),
		CASE(an_option_that_does_not_exist_is_named),
		CASE(a_guest_that_is_not_there_is_named_with_those_that_are),
		cmocka_unit_test(without_a_daemon_it_says_so),
		CASE(without_permission_it_says_who_has_it),
		cmocka_unit_test(another_daemon_is_not_misunderstood),
		CASE(a_full_standard_output_is_an_error),
	};

	return run_program(argc, argv) ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
}
