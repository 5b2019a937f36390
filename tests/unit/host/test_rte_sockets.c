/* SPDX-License-Identifier: BSD-3-Clause */
/* Ways to be connected to a VMM: as the client, over several sockets of one guest, who may connect.
 */
#include "front_fix.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The socket layer's table of its own transports; not needed here. */
const struct transport_ops *const zv_builtin_transports[] = {NULL};
const struct transport_ops *ops;

static char dir[] = "/tmp/zvsock-sockets-XXXXXX";
static char sock_a[64], sock_b[64];

static int try_open(struct transport_dev **d, unsigned queues, const char *fmt, ...)
	ZV_PRINTF(3, 4);
static int try_open(struct transport_dev **d, unsigned queues, const char *fmt, ...)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = queues};
	char rest[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rest, sizeof(rest), fmt, ap);
	va_end(ap);
	*d = NULL;
	return ops->open(d, rest, &o);
}

static int vmm_listen(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(sa.sun_path, path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

/* The backend's next connection: it tries once a second. */
static int vmm_accept(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct timeval tv = {.tv_sec = FRONT_PATIENCE_S};
	int fd;

	assert_int_equal(poll(&p, 1, FRONT_PATIENCE_S * 1000), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

static void client_mode_outlives_the_vmm(void **state)
{
	struct transport_dev *d;
	struct front f;
	struct transport_queue *q;
	int listener;
	char c;

	(void)state;
	/* before there is a VMM */
	assert_int_equal(try_open(&d, 2, "%s,cid=3,mode=client", sock_a), 0);
	q = ops->queue(d, 0);
	listener = vmm_listen(sock_a);
	for (unsigned life = 0; life < 2; life++) {
		front_on(&f, vmm_accept(listener), NRINGS, 3);
		pair_setup(&f, 0, 1);
		wait_up(q, 1);
		exchange(&f, q, 0, 1);
		if (life == 0) {
			front_free(&f);
			wait_up(q, 0);
		}
	}
	ops->close(d);
	assert_int_equal(recv(f.sock, &c, 1, 0), 0);
	front_free(&f);
	close(listener);
	assert_int_equal(unlink(sock_a), 0); /* it is the VMM's: still there */
}

static void several_sockets_are_one_guest(void **state)
{
	struct transport_dev *d, *e;
	struct front a, b;
	struct transport_queue *q0, *q1;

	(void)state;
	assert_int_equal(try_open(&d, 1, "%s,%s,cid=3", sock_a, sock_b), 0);
	assert_int_equal(d->nqueues, 2);
	q0 = ops->queue(d, 0);
	q1 = ops->queue(d, 1);
	assert_int_equal(try_open(&e, 1, "%s/c,%s,cid=4", dir, sock_b), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), sock_b));
	front_on(&b, dial(sock_b), 3, 3); /* in any order */
	pair_setup(&b, 0, 1);
	wait_up(q1, 1);
	assert_int_equal(ops->page_size(d), 4096);
	exchange(&b, q1, 0, 1);
	assert_int_equal(q0->up, 0);
	front_on(&a, dial(sock_a), 3, 3);
	pair_setup(&a, 0, 1);
	wait_up(q0, 1);
	exchange(&a, q0, 0, 1);
	exchange(&b, q1, 0, 1);
	/* each comes and goes by itself */
	front_free(&b);
	wait_up(q1, 0);
	exchange(&a, q0, 0, 1);
	front_on(&b, dial(sock_b), 3, 3);
	pair_setup(&b, 0, 1);
	wait_up(q1, 1);
	exchange(&b, q1, 0, 1);
	front_free(&a);
	front_free(&b);
	ops->close(d);
	assert_int_equal(access(sock_a, F_OK), -1);
	assert_int_equal(access(sock_b, F_OK), -1);
}

static void what_cannot_be_opened_leaves_nothing(void **state)
{
	struct transport_dev *d;

	(void)state;
	assert_int_equal(try_open(&d, 3, "%s,%s,cid=3", sock_a, sock_b), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "3 queues, but 2 sockets"));
	assert_int_equal(try_open(&d, 2, "%s,/nonexistent/dir/s,cid=3", sock_a), -ENOENT);
	assert_int_equal(access(sock_a, F_OK), -1);
	assert_int_equal(try_open(&d, 2, "%s,%s,cid=3", sock_a, sock_b), 0);
	ops->close(d);
}

static void sockmode_says_who_may_connect(void **state)
{
	struct transport_dev *d;
	struct stat st;

	(void)state;
	assert_int_equal(try_open(&d, 1, "%s,%s,cid=3,sockmode=0626", sock_a, sock_b), 0);
	assert_int_equal(stat(sock_a, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0626);
	assert_int_equal(stat(sock_b, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0626);
	ops->close(d);
}

/* Descriptors that a program would inherit, as far as the process has not been started with them.
 */
#define FDS	    128
#define PATIENCE_MS (FRONT_PATIENCE_S * 1000)
static bool before[FDS];

static bool inherited(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

/* How many there are; @say: which. */
static unsigned count_inherited(bool say)
{
	char name[32], target[128];
	unsigned more = 0;

	for (int fd = 0; fd < FDS; fd++) {
		ssize_t n;

		if (before[fd] || !inherited(fd))
			continue;
		more++;
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
		n = readlink(name, target, sizeof(target) - 1);
		if (say)
			print_message("descriptor %d: %.*s\n", fd, n < 0 ? 0 : (int)n, target);
	}
	return more;
}

/*
 * rte_vhost's own sockets are marked when it has opened them, which the control thread may be about
 * to do at any time: until then one is seen.
 */
static void check_inherited(void)
{
	unsigned more = count_inherited(false);

	for (int i = 0; i < PATIENCE_MS && more; i++) {
		usleep(1000);
		more = count_inherited(i == PATIENCE_MS - 1);
	}
	assert_int_equal(more, 0);
	assert_int_equal(fcntl(FDS, F_GETFD), -1); /* that was all of them */
}

/* Neither guest memory nor sockets nor anything else reaches a program that is executed. */
static void nothing_is_inherited(void **state)
{
	struct transport_dev *d, *e;
	struct front f, g;
	int listener;

	(void)state;
	check_inherited();
	listener = vmm_listen(sock_b);
	assert_int_equal(try_open(&d, 2, "%s,cid=3", sock_a), 0);
	assert_int_equal(try_open(&e, 2, "%s,cid=4,mode=client", sock_b), 0);
	check_inherited();
	close(vmm_accept(listener));
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(ops->queue(d, 0), 1);
	check_inherited();
	front_on(&g, vmm_accept(listener), NRINGS, 4); /* beside the first */
	check_inherited();
	front_free(&g);
	(void)ring_stop(&f, 0);
	(void)ring_stop(&f, 1);
	check_inherited();
	front_free(&f);
	close(listener);
	ops->close(d);
	ops->close(e);
	unlink(sock_b);
	check_inherited();
}

/* ---- who closes eventfds last ---- */

#define EVENTFDS 16u

static struct {
	pthread_mutex_t lock;
	unsigned n;
	long id[EVENTFDS];	      /* of the eventfds that are of interest */
	char closed_by[EVENTFDS][16]; /* the thread that was the last to close a descriptor of it */
} last = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* -1: it is none. */
static long eventfd_id(int fd)
{
	char path[64], text[512] = "";
	const char *at;
	int info;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	/* By system calls: ThreadSanitizer does not see our close(), so it must not see an open()
	 * either, or it takes whoever has the number next for a racing thread. */
	info = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return -1;
	n = syscall(SYS_read, info, text, sizeof(text) - 1);
	(void)syscall(SYS_close, info);
	text[n > 0 ? n : 0] = 0;
	at = strstr(text, "eventfd-id:");
	return at ? strtol(at + strlen("eventfd-id:"), NULL, 10) : -1;
}

/* Instead of libc's. */
int close(int fd)
{
	long id = -1;

	pthread_mutex_lock(&last.lock);
	if (last.n)
		id = eventfd_id(fd);
	for (unsigned i = 0; id >= 0 && i < last.n; i++)
		if (last.id[i] == id)
			(void)prctl(PR_GET_NAME, last.closed_by[i]);
	pthread_mutex_unlock(&last.lock);
	return (int)syscall(SYS_close, fd);
}

static bool is_open(long id)
{
	DIR *all = opendir("/proc/self/fdinfo");
	const struct dirent *e;
	bool found = false;

	assert_non_null(all);
	while (!found && (e = readdir(all)))
		found = eventfd_id(atoi(e->d_name)) == id;
	(void)closedir(all);
	return found;
}

/* Hands @fd over in a message @req about ring @ring, and has no descriptor of it any more. */
static void hand_over(struct front *f, uint32_t req, unsigned ring, int fd)
{
	pthread_mutex_lock(&last.lock);
	assert_true(last.n < EVENTFDS);
	last.id[last.n] = eventfd_id(fd);
	assert_true(last.id[last.n] >= 0);
	last.n++;
	pthread_mutex_unlock(&last.lock);
	send_fd(f, req, ring, fd);
	(void)close(fd);
}

/* The last close takes an eventfd out of all epoll sets, which may be very many: the control
 * thread, which has other sockets too, never does it. */
static void the_control_thread_closes_no_eventfd_last(void **state)
{
	static const uint32_t reqs[] = {VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR};
	struct transport_dev *d;
	struct front f;

	(void)state;
	assert_int_equal(try_open(&d, 2, "%s,cid=3", sock_a), 0);
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(ops->queue(d, 0), 1);
	for (unsigned ring = 0; ring <= EVT; ring++)
		for (unsigned i = 0; i < 3; i++)
			hand_over(&f, reqs[i], ring, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	for (unsigned i = 0; i < 2; i++) /* some are replaced, the others end with their rings */
		send_fd(&f, reqs[i], 0, f.kick[0]);
	for (unsigned ring = 1; ring <= EVT; ring++)
		(void)ring_stop(&f, ring);
	for (unsigned i = 0; i < last.n; i++) {
		while (is_open(last.id[i]))
			sched_yield();
		pthread_mutex_lock(&last.lock);
		assert_string_not_equal(last.closed_by[i], "zvsock-control");
		pthread_mutex_unlock(&last.lock);
	}
	pthread_mutex_lock(&last.lock);
	last.n = 0;
	pthread_mutex_unlock(&last.lock);
	ops->close(d);
	front_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_inherited),
		cmocka_unit_test(client_mode_outlives_the_vmm),
		cmocka_unit_test(several_sockets_are_one_guest),
		cmocka_unit_test(what_cannot_be_opened_leaves_nothing),
		cmocka_unit_test(sockmode_says_who_may_connect),
		cmocka_unit_test(the_control_thread_closes_no_eventfd_last),
	};
	const char *rest;
	int ret;

	for (int fd = 0; fd < FDS; fd++)
		before[fd] = inherited(fd);
	if (!mkdtemp(dir) || zv_host_init() < 0 || !(ops = zv_transport_find("host:", &rest)))
		return 99;
	snprintf(sock_a, sizeof(sock_a), "%s/a", dir);
	snprintf(sock_b, sizeof(sock_b), "%s/b", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	/* nothing may be left in it */
	return rmdir(dir) < 0 ? 1 : ret;
}
