/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shm-ring between two processes: a small message and a large one, and sleeping until there is
 * something to receive. The child inherits the region here; a process that does not gets its
 * descriptor over a Unix socket, and opens it with shm_region_open().
 *
 * usage: shm_ring_pair
 */
#include <shm_ring.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
	if (ok)
		return;
	(void)fprintf(stderr, "shm_ring_pair: %s\n", what);
	exit(1);
}

/* The next message; sleeps on @fd, which the peer makes readable, while there is none. */
static void receive(struct shm_channel *ch, int fd, struct shm_msg *m)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	eventfd_t n;

	for (;;) {
		int rc = shm_channel_recv(ch, m, 1);

		must(rc >= 0, "the peer has broken the channel");
		if (rc)
			return;
		if (shm_channel_arm(ch, SHM_WANT_DATA, 0) == 0 && poll(&p, 1, 5000) == 1)
			(void)eventfd_read(fd, &n);
		shm_channel_disarm(ch);
	}
}

/* Answers one message that lies in the ring and one in a slot, and goes. */
static void child(const struct shm_region *r, const struct shm_channel_desc *d, const int fd[2])
{
	struct shm_channel_opts opts = {.size = sizeof(opts), .wake_fd = fd[0]};
	struct shm_channel *ch;
	struct shm_msg m, answer = {.data = (void *)"got both", .len = 8};

	must(!shm_channel_attach(&ch, r->addr, r->size, d, SHM_ROLE_B, &opts), "child: attach");
	for (int i = 0; i < 2; i++) {
		receive(ch, fd[1], &m);
		printf("child: %u bytes, \"%.20s\"\n", m.len, (const char *)m.data);
		must(!shm_channel_release(ch, &m, 1), "child: release");
	}
	must(shm_channel_send(ch, &answer, 1) == 1, "child: send");
	shm_channel_notify(ch);
	shm_channel_detach(ch);
	exit(0);
}

int main(void)
{
	int fd[2] = {eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		     eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	struct shm_channel_opts opts = {.size = sizeof(opts), .wake_fd = fd[1]};
	struct shm_msg small = {.data = (void *)"a small one", .len = 12}, large, m;
	struct shm_channel_desc d;
	struct shm_region r;
	struct shm_channel *ch;
	int status;
	pid_t pid;

	must(fd[0] >= 0 && fd[1] >= 0, "eventfd");
	shm_channel_desc_init(&d, 0, 1);
	must(!shm_region_create(&r, "example", (size_t)d.length, 0), "no memory for a region");
	must(!shm_channel_format(r.addr, r.size, &d), "format");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid)
		child(&r, &d, fd);

	must(!shm_channel_attach(&ch, r.addr, r.size, &d, SHM_ROLE_A, &opts), "attach");
	must(shm_channel_send(ch, &small, 1) == 1, "send");
	must(shm_channel_alloc(ch, &large, 1, 50000) == 1, "no slot");
	memset(large.data, 'x', 50000);
	large.len = 50000;
	must(shm_channel_send(ch, &large, 1) == 1, "send");
	shm_channel_notify(ch);
	receive(ch, fd[0], &m);
	printf("parent: %.*s\n", (int)m.len, (const char *)m.data);
	shm_channel_release(ch, &m, 1);
	must(waitpid(pid, &status, 0) == pid && status == 0, "the child failed");
	shm_channel_detach(ch);
	shm_region_destroy(&r);
	return 0;
}
