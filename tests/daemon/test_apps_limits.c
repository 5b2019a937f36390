/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What applications of the host may not do to zvsockd: attach as a user that is not named, take all
 * places, listen on more ports than one of them may have. "test_daemon_apps_limits refused URI" is
 * an application of another user, which tries to attach; "... member URI" one that may, because of
 * a group that is not its own.
 */
#include "raw_client.h"
#include "slow_fd.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <grp.h>
#include <proto/local/client_msg.h>
#include <proto/vhost_user.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOT_NAMED  54321  /* a uid and a gid */
#define NAMED	   54322u /* a uid */
#define NAMED_TOO  54324u
#define GROUP	   54323u /* a gid that is named */
#define TRIES	   500u
#define PLACES	   64u /* for applications: docs/daemon.md */
#define FEW	   16u /* answers that one may leave unread */
#define FIRST_PORT 5000u
#define MOST_PORTS 1024u /* of an application: docs/protocol.md */
#define MOST_LEFT  64u	 /* devices of a user that still close something: docs/threat-model.md */

static struct zv_dev *app; /* of the user that runs the test */
static const char *program, *self;

static bool become(uid_t uid, gid_t other_group)
{
	gid_t others[1000];
	const size_t n = sizeof(others) / sizeof(others[0]);

	for (size_t i = 0; i < n; i++)
		others[i] = NOT_NAMED;
	others[n / 2] = other_group;
	if (setgroups(n, others) || setgid(NOT_NAMED) || setuid(uid)) {
		perror("setuid");
		return false;
	}
	return true;
}

static int be_refused(const char *uri)
{
	struct zv_dev *dev;

	if (!become(NOT_NAMED, NOT_NAMED))
		return 1;
	for (unsigned i = 0; i < TRIES; i++) {
		int ret = zv_open(&dev, uri, NULL);

		if (ret != -EACCES || !strstr(zv_error_text(), "application_users")) {
			fprintf(stderr, "try %u: %d, %s\n", i, ret, ret ? zv_error_text() : "ok");
			return 1;
		}
	}
	return 0;
}

static int be_member(const char *uri)
{
	struct zv_dev *dev;
	int ret;

	if (!become(NOT_NAMED, GROUP))
		return 1;
	ret = zv_open(&dev, uri, NULL);
	if (ret) {
		fprintf(stderr, "%d, %s\n", ret, zv_error_text());
		return 1;
	}
	zv_close(dev);
	return 0;
}

/* Connects to the client socket and asks something. -1: see stderr. */
static int ask_for_place(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct client_msg m = {0};

	memcpy(sa.sun_path, path, strnlen(path, sizeof(sa.sun_path) - 1));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		perror(path);
		return -1;
	}
	/* Nonsense would end it: this asks for a device with too many queues, and stays. */
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = UINT16_MAX;
	(void)!send(fd, &m, sizeof(m), MSG_NOSIGNAL);
	return fd;
}

static bool has_place(int fd)
{
	struct client_msg m = {0};

	return fd >= 0 && recv(fd, &m, sizeof(m), 0) == (ssize_t)sizeof(m) && m.result == -ERANGE;
}

/* True: there is a place. */
static bool take_place(const char *path)
{
	return has_place(ask_for_place(path));
}

/* Takes what one user can get. */
static unsigned be_many(const char *path, uid_t uid)
{
	unsigned n = 0;

	if (!become(uid, NOT_NAMED))
		return 0;
	while (n <= PLACES && take_place(path))
		n++;
	return n;
}

static int run_as_other(const char *what, const char *path)
{
	int status = -1;
	pid_t pid;

	assert_int_equal(chmod(zf_dir, 0711), 0);
	pid = fork();
	if (pid == 0) {
		execl(self, self, what, path, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void needs_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("no other user can be had without root\n");
	skip();
}

/* However its question and the answer overtake each other. */
static void who_is_turned_away_learns_why(void **state)
{
	char uri[128];

	(void)state;
	needs_root();
	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	assert_int_equal(run_as_other("refused", uri), 0);
	assert_true(zf_logged("may not attach"));
	/* Not one line each, which would push out what zvsockd has to say of itself. */
	assert_int_equal(zf_log_lines("level=warn msg=\"[0-9]+ more lines"), 0);
}

/* A user's groups are all that the process has, not only its first. */
static void a_member_of_a_group_may_attach(void **state)
{
	char uri[128];

	(void)state;
	needs_root();
	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	assert_int_equal(run_as_other("member", uri), 0);
}

/* A child that holds what @uid can get until @go is closed; *n: how many places. */
static pid_t holder(uid_t uid, const int go[2], unsigned *n)
{
	char path[128], b;
	int told[2];
	pid_t pid;

	snprintf(path, sizeof(path), "%sapps", zf_dir);
	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		unsigned got = be_many(path, uid);

		close(go[1]);
		_exit(write(told[1], &got, sizeof(got)) != sizeof(got) || read(go[0], &b, 1) != 0);
	}
	close(told[1]);
	assert_int_equal(read(told[0], n, sizeof(*n)), sizeof(*n));
	close(told[0]);
	return pid;
}

/* Nor with places of which it makes no use. */
static void one_user_takes_half_of_what_is_left(void **state)
{
	unsigned first, second;
	struct zv_dev *more[2];
	pid_t pid[2];
	int go[2];

	(void)state;
	needs_root();
	assert_int_equal(chmod(zf_dir, 0711), 0);
	assert_int_equal(pipe(go), 0);
	/* One place is that of the test. */
	pid[0] = holder(NAMED, go, &first);
	assert_int_equal(first, (PLACES - 1) / 2);
	assert_true(zf_logged("has its share of the places"));
	pid[1] = holder(NAMED_TOO, go, &second);
	assert_int_equal(second, (PLACES - 1 - first) / 2);
	for (unsigned i = 0; i < 2; i++)
		assert_non_null(more[i] = zf_app(1 + i, "apps", 1));
	close(go[0]);
	close(go[1]);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(waitpid(pid[i], NULL, 0), pid[i]);
}

/* A user who has all places that it can get closes them, and another application of his has
 * connected before. */
static void who_has_gone_has_no_place(void **state)
{
	int fd[PLACES], more, pair[2];
	char path[128], b = 0;
	unsigned n = 0;
	int status = -1;
	pid_t pid;

	(void)state;
	needs_root();
	snprintf(path, sizeof(path), "%sapps", zf_dir);
	assert_int_equal(chmod(zf_dir, 0711), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		if (!become(NAMED, NOT_NAMED))
			_exit(1);
		while (n < PLACES && has_place(fd[n] = ask_for_place(path)))
			n++;
		/* zvsockd is stopped meanwhile. */
		if (n == PLACES || write(pair[1], &b, 1) != 1 || read(pair[1], &b, 1) != 1)
			_exit(2);
		more = ask_for_place(path);
		while (n--)
			close(fd[n]);
		if (write(pair[1], &b, 1) != 1)
			_exit(3);
		_exit(has_place(more) ? 0 : 4);
	}
	close(pair[1]);
	assert_int_equal(read(pair[0], &b, 1), 1);
	zf_asleep();
	assert_int_equal(write(pair[0], &b, 1), 1);
	assert_int_equal(read(pair[0], &b, 1), 1);
	zf_awake();
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static char told[sizeof(((struct client_msg *)0)->text) + 1]; /* why attach_raw() failed */

/* Attaches with a device of its own. Its socket, or -1; *fd: the client socket. */
static int attach_raw(int *fd, uint16_t queues)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct client_msg m;
	int dev = -1;
	ssize_t n;

	*fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%sapps", zf_dir);
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = queues;
	if (connect(*fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    !raw_send(*fd, &m, sizeof(m), NULL, 0) ||
	    (dev = raw_take(*fd, &m, sizeof(m), 0, &n)) < 0 || m.result)
		memcpy(told, m.text, sizeof(m.text));
	return dev;
}

static bool say_raw(int dev, uint32_t request, uint64_t value)
{
	const struct vu_msg m = {.request = request,
				 .flags = VU_VERSION,
				 .size = request == VU_SET_OWNER ? 0 : sizeof(value),
				 .payload.u64 = value};

	return raw_send(dev, &m, vu_msg_len(&m), NULL, 0);
}

/* Hands over a table with one region of @bytes, which cost nothing. True: it is taken. */
static bool table_raw(int dev, uint64_t bytes)
{
	struct vu_msg m = {
		.request = VU_SET_MEM_TABLE,
		.flags = VU_VERSION | VU_FLAG_NEED_REPLY,
		.size = VU_TABLE_HEAD + sizeof(struct vu_region),
		.payload.mem = {.nregions = 1, .region = {{1ull << 32, bytes, 1ull << 40, 0}}},
	};
	int fd = memfd_create("sparse", MFD_CLOEXEC);
	bool sent = fd >= 0 && ftruncate(fd, (off_t)bytes) == 0 &&
		    raw_send(dev, &m, vu_msg_len(&m), &fd, 1);

	close(fd);
	return sent && recv(dev, &m, sizeof(m), 0) == VU_HEAD_LEN + 8 && m.payload.u64 == 0;
}

/* Of zvsockd's address space. */
static void memory_is_limited(void **state)
{
	int fd, dev = attach_raw(&fd, 1);

	(void)state;
	assert_true(dev >= 0);
	assert_true(say_raw(dev, VU_SET_OWNER, 0) &&
		    say_raw(dev, VU_SET_FEATURES, VU_FEATURE_PROTOCOL) &&
		    say_raw(dev, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_REPLY_ACK));
	assert_true(table_raw(dev, 32ull << 30)); /* of 64 GiB: one map for the queue as well */
	assert_false(table_raw(dev, 33ull << 30));
	assert_true(zf_logged("SET_MEM_TABLE .* was refused: its regions have more bytes"));
	close(dev);
	close(fd);
}

/* True: a ring of so many descriptors is taken. */
static bool ring_raw(int dev, unsigned ring, uint32_t num)
{
	struct vu_msg m = {
		.request = VU_SET_VRING_NUM,
		.flags = VU_VERSION | VU_FLAG_NEED_REPLY,
		.size = sizeof(struct vu_vring_state),
		.payload.state = {.index = ring, .num = num},
	};

	return raw_send(dev, &m, vu_msg_len(&m), NULL, 0) &&
	       recv(dev, &m, sizeof(m), 0) == VU_HEAD_LEN + 8 && m.payload.u64 == 0;
}

/* zvsockd has memory for each of their descriptors. */
static void rings_are_limited(void **state)
{
	struct zv_opts o = {.size = sizeof(o), .queues = ZV_QUEUES_MAX, .ring_size = 8192};
	int fd, dev = attach_raw(&fd, ZV_QUEUES_MAX);
	struct zv_dev *too_large;
	char uri[sizeof(zf_dir) + 16];

	(void)state;
	assert_true(dev >= 0);
	assert_true(say_raw(dev, VU_SET_OWNER, 0) &&
		    say_raw(dev, VU_SET_FEATURES, VU_FEATURE_PROTOCOL) &&
		    say_raw(dev, VU_SET_PROTOCOL_FEATURES, VU_PROTOCOL_REPLY_ACK));
	for (unsigned i = 0; i < 2 * ZV_QUEUES_MAX; i++)
		assert_true(ring_raw(dev, i, 4096));
	assert_false(ring_raw(dev, 0, 8192));
	assert_true(zf_logged("SET_VRING_NUM .* was refused: an application"));
	close(dev);
	close(fd);
	/* Who uses the library learns it at once. */
	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	assert_int_equal(zv_open(&too_large, uri, &o), -ERANGE);
	assert_non_null(strstr(zv_error_text(), "choose 4096 or less"));
}

/* Descriptors on their way to somebody who takes none are among those that all others need. */
static void who_reads_no_answer_is_hung_up_on(void **state)
{
	struct client_msg m;
	int fd, dev = attach_raw(&fd, 1);
	const struct timeval patience = {.tv_sec = RAW_PATIENCE_MS / 1000};
	unsigned answers = 0, asked = 0;
	ssize_t n;

	(void)state;
	assert_true(dev >= 0);
	client_msg_init(&m, CLIENT_BELLS);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	while (asked < TRIES && send(fd, &m, sizeof(m), MSG_NOSIGNAL) == (ssize_t)sizeof(m))
		asked++;
	/* What it has asked since is unread: ECONNRESET first. */
	while ((n = recv(fd, &m, sizeof(m), 0)) > 0 || (n < 0 && errno == ECONNRESET))
		answers += n > 0;
	assert_int_equal(n, 0);
	assert_true(answers > 0 && answers <= FEW);
	close(dev);
	close(fd);
}

/*
 * Attaches, leaves a descriptor that takes an hour to close in the device's socket, unread because
 * so many answers are not, and goes. False: it was not attached. *end: as of slow_fd().
 */
static bool leave_slow(int *end)
{
	const struct vu_msg ask = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};
	socklen_t len = sizeof(int);
	int fd, slow, size, dev;

	/* We may be quicker than zvsockd closes what it has given us, which is no limit. Seldom:
	 * each refusal is a line in the log. */
	while ((dev = attach_raw(&fd, 1)) < 0 && strstr(told, "try again")) {
		close(fd);
		usleep(200000);
	}
	if (dev < 0) {
		close(fd);
		return false;
	}
	assert_int_equal(getsockopt(dev, SOL_SOCKET, SO_SNDBUF, &size, &len), 0);
	/* More than the answers that fit, and fewer than two times as many: each takes 768 bytes.
	 */
	for (int n = size / 512; n; n--)
		assert_true(raw_send(dev, &ask, vu_msg_len(&ask), NULL, 0));
	slow = slow_fd(end);
	assert_true(raw_send(dev, &ask, vu_msg_len(&ask), &slow, 1));
	slow_close(slow);
	close(dev);
	close(fd);
	return true;
}

static void ends_are_shut(const int *end, unsigned n)
{
	while (n)
		close(end[--n]);
}

/* Each is a thread and descriptors of zvsockd, for as long as it likes. */
static void what_devices_leave_is_limited(void **state)
{
	int end[2 * MOST_LEFT], fd, dev;
	char uri[128];
	unsigned n = 0;

	(void)state;
	while (n < 2 * MOST_LEFT && leave_slow(&end[n]))
		n++;
	assert_true(n >= MOST_LEFT && n < 2 * MOST_LEFT);
	assert_non_null(strstr(told, "take long to close"));
	assert_true(zf_logged("gets no device: .* take long to close"));
	if (geteuid() == 0) { /* others are served */
		snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
		assert_int_equal(run_as_other("member", uri), 0);
	}
	ends_are_shut(end, n);
	while ((dev = attach_raw(&fd, 1)) < 0)
		close(fd);
	close(dev);
	close(fd);
}

/* What it asks for is memory of zvsockd, and time of whoever looks for a port. */
static void ports_are_limited(void **state)
{
	uint32_t n = 0;

	(void)state;
	while (n <= MOST_PORTS && zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0) == 0)
		n++;
	assert_int_equal(n, MOST_PORTS);
	assert_int_equal(zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0), -ENOSPC);
	assert_non_null(strstr(zv_error_text(), "1024 ports"));
	assert_int_equal(zv_unlisten(app, FIRST_PORT), 0);
	assert_int_equal(zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen(app, FIRST_PORT, ZV_STREAM, 0), -ENOSPC);
	for (uint32_t i = 1; i <= n; i++)
		assert_int_equal(zv_unlisten(app, FIRST_PORT + i), 0);
}

static int testbed_start(void **state)
{
	char conf[128];

	(void)state;
	snprintf(conf, sizeof(conf),
		 "applications = @apps\napplications_mode = 0666\napplication_users = %u, %u, %u\n"
		 "application_groups = %u\n",
		 (unsigned)geteuid(), NAMED, NAMED_TOO, GROUP);
	zf_keep_log = true;
	if (!zf_start(program, conf, 1) || !zf_logged("zvsockd .* is up"))
		return -1;
	app = zf_app(0, "apps", 1);
	return app ? 0 : -1;
}

static int testbed_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		/* First: who is turned away fills the log. */
		cmocka_unit_test(one_user_takes_half_of_what_is_left),
		cmocka_unit_test(who_has_gone_has_no_place),
		cmocka_unit_test(who_is_turned_away_learns_why),
		cmocka_unit_test(a_member_of_a_group_may_attach),
		cmocka_unit_test(ports_are_limited),
		cmocka_unit_test(memory_is_limited),
		cmocka_unit_test(rings_are_limited),
		cmocka_unit_test(who_reads_no_answer_is_hung_up_on),
		cmocka_unit_test(what_devices_leave_is_limited),
	};

	if (argc == 3 && strcmp(argv[1], "refused") == 0)
		return be_refused(argv[2]);
	if (argc == 3 && strcmp(argv[1], "member") == 0)
		return be_member(argv[2]);
	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	self = argv[0];
	program = argv[1];
	return cmocka_run_group_tests_name("apps_limits", tests, testbed_start, testbed_end);
}
