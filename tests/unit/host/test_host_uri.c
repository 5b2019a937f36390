/* SPDX-License-Identifier: BSD-3-Clause */
/* The `host:` URI and the claim on a socket path. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host_uri.h"
#include "sock_claim.h"
#include "transport.h"

#define S10  "/123456789"
#define S100 S10 S10 S10 S10 S10 S10 S10 S10 S10 S10

static void uris(void **state)
{
	static const struct {
		const char *uri;
		uint64_t cid;	  /* 0: refused */
		const char *text; /* refused: of the error; else the last path */
	} t[] = {
		{"/run/a,cid=3", 3, NULL},
		{"/run/a,./b,cid=3", 3, "./b"},
		{"s,/b,/run/a,cid=3,mode=server,sockmode=660", 3, "/run/a"},
		{"/a,mode=client,cid=3", 3, NULL},
		{"/a,cid=3,region=64M", 3, NULL},
		{"/a,cid=3,region=1T", 3, NULL},
		{"/a,cid=3,region=1025G", 0, "multiple of 2M"},
		{"/a,cid=3,region=99999T", 0, "multiple of 2M"},
		{"/a,cid=3,region=3M", 0, "multiple of 2M"},
		{"/a,cid=3,region=0", 0, "multiple of 2M"},
		{"/a,cid=3,region=M", 0, "multiple of 2M"},
		{"/a,cid=3,region=-2M", 0, "multiple of 2M"},
		{"/a,cid=3,region=2MB", 0, "multiple of 2M"},
		{"fd=7,cid=3,region=2M", 0, "go with a path"},
		{"/a,sockmode=0,cid=3", 3, NULL},
		{"/a,/b,/a,cid=3", 0, "named twice"},
		{"/a,b,cid=3", 0, "unknown key 'b'"},
		{"/a,cid=3,/b", 0, "unknown key '/b'"},
		{"/a,/b", 0, "missing"},
		{"/1,/2,/3,/4,/5,/6,/7,/8,/9,/10,/11,/12,/13,/14,/15,/16,cid=3", 3, "/16"},
		{"/1,/2,/3,/4,/5,/6,/7,/8,/9,/10,/11,/12,/13,/14,/15,/16,/17,cid=3", 0,
		 "more than 16"},
		{"/a,mode=,cid=3", 0, "client or server"},
		{"/a,mode=clients,cid=3", 0, "client or server"},
		{"/a,sockmode=,cid=3", 0, "in octal"},
		{"/a,sockmode=0668,cid=3", 0, "in octal"},
		{"/a,sockmode=1777,cid=3", 0, "in octal"},
		{"/a,sockmode=40000000000000000000660,cid=3", 0, "in octal"},
		{"/a,sockmode=0660,cid=3,mode=client", 0, "goes with mode=server"},
		{"a,cid=4294967294", 4294967294u, NULL},
		{S100 "1234567,cid=7", 7, NULL},
		{S100 "12345678,cid=7", 0, "108 bytes"},
		{"/a,cid=0003", 3, NULL},
		{"fd=7,cid=3", 3, NULL},
		{"fd=2,cid=2", 2, NULL},
		{"fd=7", 0, "missing"},
		{"fd=7,cid=2,name=", 0, "1 to 107 bytes"},
		{"/a,cid=3,name=x", 0, "name goes with fd"},
		{"/a,cid=3,user=1", 0, "user goes with fd"},
		{"fd=7,cid=2,user=", 0, "a UID in decimal"},
		{"fd=7,cid=2,user=root", 0, "a UID in decimal"},
		{"fd=7,cid=2,user=4294967295", 0, "a UID in decimal"},
		{"fd=,cid=3", 0, "names no descriptor"},
		{"fd=-1,cid=3", 0, "names no descriptor"},
		{"fd=1234567890,cid=3", 0, "names no descriptor"},
		{"fd=7,cid=1", 0, "or 2, an application's"},
		{"fd=7,/a,cid=3", 0, "unknown key '/a'"},
		{"/a,fd=7,cid=3", 0, "unknown key 'fd=7'"},
		{"fd=7,cid=3,mode=client", 0, "go with a path"},
		{"fd=7,cid=3,sockmode=0600", 0, "go with a path"},
		{"", 0, "empty"},
		{",cid=3", 0, "empty"},
		{"/a", 0, "missing"},
		{"/a,", 0, "unknown key"},
		{"/a,cid=", 0, "is no CID"},
		{"/a,cid=3,", 0, "unknown key"},
		{"/a,cid=3,cid=3", 0, "twice"},
		{"/a,cid=3,x=1", 0, "unknown key 'x=1'"},
		{"/a,/" S100 "1234567,cid=3", 0, "108 bytes"},
		{"/a,CID=3", 0, "unknown key"},
		{"/a,cid=0x3", 0, "is no CID"},
		{"/a,cid=-3", 0, "is no CID"},
		{"/a,cid= 3", 0, "is no CID"},
		{"/a,cid=3 ", 0, "is no CID"},
		{"/a,cid=0", 0, "cannot be a guest"},
		{"/a,cid=1", 0, "cannot be a guest"},
		{"/a,cid=2", 0, "cannot be a guest"},
		{"/a,cid=4294967295", 0, "cannot be a guest"},
		{"/a,cid=4294967296", 0, "cannot be a guest"},
		{"/a,cid=18446744073709551619", 0, "is no CID"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct host_uri u;
		int ret = host_uri_parse(&u, t[i].uri);

		if (t[i].cid) {
			assert_int_equal(ret, 0);
			assert_int_equal(u.cid, t[i].cid);
			assert_int_equal(strcspn(t[i].uri, ","), strlen(u.path[0]));
			assert_int_equal(u.fd,
					 strncmp(t[i].uri, "fd=", 3) ? -1 : t[i].uri[3] - '0');
			if (t[i].text)
				assert_string_equal(u.path[u.npaths - 1], t[i].text);
			else
				assert_int_equal(u.npaths, 1);
			assert_int_equal(u.client, strstr(t[i].uri, "client") != NULL);
			assert_int_equal(u.sockmode, strstr(t[i].uri, "660")   ? 0660
						     : strstr(t[i].uri, "=0,") ? 0
									       : -1);
			continue;
		}
		assert_int_equal(ret, -EINVAL);
		if (!strstr(zv_error_text(), t[i].text))
			fail_msg("%s: %s", t[i].uri, zv_error_text());
	}
}

static void a_descriptor_can_have_a_name(void **state)
{
	struct host_uri u;

	(void)state;
	assert_int_equal(host_uri_parse(&u, "fd=7,cid=2,name=app1"), 0);
	assert_int_equal(u.fd, 7);
	assert_string_equal(u.path[0], "app1");
	assert_true(u.user == (uid_t)-1);
	assert_int_equal(host_uri_parse(&u, "fd=7,cid=2,name=app1,user=1000"), 0);
	assert_int_equal(u.user, 1000);
	assert_int_equal(u.npaths, 1);
}

static int listener(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static void test_a_stale_socket_is_taken_over_under_a_lock(void **state)
{
	char dir[] = "/tmp/zvsock-claim-XXXXXX", path[64], lock[80];
	int a, fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	/* free; then held, by this process or another */
	a = sock_claim(path);
	assert_true(a >= 0);
	assert_int_equal(sock_claim(path), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), path));
	sock_unclaim(path, a);
	assert_int_equal(access(lock, F_OK), -1);
	/* somebody listens, without a lock */
	fd = listener(path);
	assert_int_equal(sock_claim(path), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(access(lock, F_OK), -1);
	/* nobody does any more */
	close(fd);
	a = sock_claim(path);
	assert_true(a >= 0);
	assert_int_equal(access(path, F_OK), -1);
	sock_unclaim(path, a);
	/* no socket: left alone */
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(sock_claim(path), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
	unlink(path);
	rmdir(dir);
	assert_int_equal(sock_claim(path), -ENOENT);
}

/* open(2) would wait for 45 s, and all guests with it. */
static void a_lease_on_the_lock_file_is_not_waited_for(void **state)
{
	char dir[] = "/tmp/zvsock-lease-XXXXXX", path[64], lock[80];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	fd = open(lock, O_CREAT | O_RDONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0 && signal(SIGIO, SIG_IGN) != SIG_ERR);
	assert_int_equal(fcntl(fd, F_SETLEASE, F_RDLCK), 0);
	assert_int_equal(sock_claim(path), -EWOULDBLOCK);
	assert_non_null(strstr(zv_error_text(), lock));
	close(fd);
	fd = sock_claim(path);
	assert_true(fd >= 0);
	sock_unclaim(path, fd);
	rmdir(dir);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

/* What somebody has put in the socket's place, or the target of a link, gets no rights. */
static void rights_are_for_sockets_only(void **state)
{
	char dir[] = "/tmp/zvsock-rights-XXXXXX", path[64], file[64], link[64];
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(file, sizeof(file), "%s/file", dir);
	snprintf(link, sizeof(link), "%s/link", dir);
	fd = listener(path);
	assert_int_equal(sock_set_rights(path, 0601, (uid_t)-1, (gid_t)-1), 0);
	assert_int_equal(mode_of(path), 0601);
	assert_int_equal(sock_set_rights(path, (mode_t)-1, getuid(), getgid()), 0);
	assert_int_equal(mode_of(path), 0601);
	close(fd);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(sock_set_rights(file, 0666, (uid_t)-1, (gid_t)-1), -EADDRINUSE);
	assert_int_equal(symlink(file, link), 0);
	assert_int_equal(sock_set_rights(link, 0666, getuid(), getgid()), -EADDRINUSE);
	assert_int_equal(mode_of(file), 0600);
	unlink(link);
	assert_int_equal(symlink(path, link), 0); /* even a link to a socket */
	assert_int_equal(sock_set_rights(link, 0666, (uid_t)-1, (gid_t)-1), -EADDRINUSE);
	assert_int_equal(mode_of(path), 0601);
	unlink(link);
	assert_int_equal(sock_set_rights(link, 0666, (uid_t)-1, (gid_t)-1), -ENOENT);
	unlink(file);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uris),
		cmocka_unit_test(a_descriptor_can_have_a_name),
		cmocka_unit_test(test_a_stale_socket_is_taken_over_under_a_lock),
		cmocka_unit_test(a_lease_on_the_lock_file_is_not_waited_for),
		cmocka_unit_test(rights_are_for_sockets_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
