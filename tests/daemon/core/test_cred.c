/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may connect to a Unix socket, by mode bits and ACLs: what cred_may_connect() says of a
 * process is compared with what the kernel says to it. Permissions and users are drawn at random;
 * needs root, as a process takes on other users.
 */
#include "core/cred.h"

#include <endian.h>
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#define DRAWS 400
#define IDS   4u /* users and groups FIRST, FIRST + 1... */
#define FIRST 54321u

static char dir[] = "/tmp/zvd-cred.XXXXXX";
static char inner[64], path[96];
static uint64_t seed = 1;

static unsigned draw(unsigned n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % n;
}

static unsigned id(void)
{
	return FIRST + draw(IDS);
}

/* ---- permissions ---- */

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} entry[4 + 2 * IDS];
};

static unsigned n_entries;

static void add(struct acl *a, uint16_t tag, uint32_t of)
{
	a->entry[n_entries].tag = htole16(tag);
	a->entry[n_entries].perm = htole16((uint16_t)draw(8));
	a->entry[n_entries++].id = htole32(of);
}

/* 0; -EOPNOTSUPP: there are none in this file system. */
static int set_acl(const char *of)
{
	struct acl a = {.version = htole32(2)};

	n_entries = 0;
	add(&a, 0x01, UINT32_MAX);
	for (unsigned i = 0; i < IDS; i++)
		if (draw(2))
			add(&a, 0x02, FIRST + i);
	add(&a, 0x04, UINT32_MAX);
	for (unsigned i = 0; i < IDS; i++)
		if (draw(2))
			add(&a, 0x08, FIRST + i);
	add(&a, 0x10, UINT32_MAX);
	add(&a, 0x20, UINT32_MAX);
	return setxattr(of, "system.posix_acl_access", &a, 4 + n_entries * sizeof(a.entry[0]), 0)
		       ? -errno
		       : 0;
}

static int set_rights(const char *of, bool with_acl)
{
	assert_int_equal(chown(of, id(), id()), 0);
	if (with_acl)
		return set_acl(of);
	(void)removexattr(of, "system.posix_acl_access");
	return chmod(of, draw(01000));
}

/* ---- users ---- */

static struct sockaddr_un address(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	return sa;
}

/* Becomes a user with some groups for as long as it takes to connect to @path and to make a socket
 * pair, whose ends know each other as that user: *pair. What the kernel has said. */
static bool as_somebody(int pair[2])
{
	const gid_t groups[] = {id(), id()}, gid = id();
	const struct sockaddr_un sa = address();
	const uid_t uid = id();
	bool may;
	int fd;

	assert_int_equal(setgroups(draw(3), groups), 0);
	assert_int_equal(setresgid(gid, gid, 0), 0);
	assert_int_equal(setresuid(uid, uid, 0), 0);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	may = connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0;
	assert_true(may || errno == EACCES);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(setresuid(0, 0, 0), 0);
	assert_int_equal(setresgid(0, 0, 0), 0);
	assert_int_equal(setgroups(0, NULL), 0);
	close(fd);
	return may;
}

static void compare(bool with_acls)
{
	unsigned allowed = 0;

	if (geteuid())
		skip();
	for (unsigned i = 0; i < DRAWS; i++) {
		struct ucred cred;
		int pair[2], err;
		bool may;

		err = set_rights(inner, with_acls && draw(2));
		if (err == 0)
			err = set_rights(path, with_acls);
		if (err == -EOPNOTSUPP) {
			print_message("no ACLs in the file system of %s\n", dir);
			skip();
		}
		assert_int_equal(err, 0);
		may = as_somebody(pair);
		assert_true(cred_of(pair[0], &cred));
		if (cred_may_connect(path, pair[0], &cred) != may)
			fail_msg("draw %u: the kernel says %d", i, may);
		allowed += may;
		close(pair[0]);
		close(pair[1]);
	}
	assert_true(allowed > DRAWS / 20 && allowed < DRAWS);
}

static void mode_bits(void **state)
{
	(void)state;
	compare(false);
}

static void access_lists(void **state)
{
	(void)state;
	compare(true);
}

static int up(void **state)
{
	struct sockaddr_un sa;
	int fd;

	(void)state;
	if (geteuid()) {
		print_message("no other user can be had without root\n");
		return 0;
	}
	if (!mkdtemp(dir) || chmod(dir, 0711))
		return -1;
	(void)snprintf(inner, sizeof(inner), "%s/inner", dir);
	(void)snprintf(path, sizeof(path), "%s/socket", inner);
	sa = address();
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return mkdir(inner, 0755) || bind(fd, (struct sockaddr *)&sa, sizeof(sa));
}

static int down(void **state)
{
	(void)state;
	if (geteuid())
		return 0;
	return unlink(path) || rmdir(inner) || rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mode_bits),
		cmocka_unit_test(access_lists),
	};

	return cmocka_run_group_tests(tests, up, down);
}
