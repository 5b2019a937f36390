/* SPDX-License-Identifier: BSD-3-Clause */
#include "unix_diag.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECV_SIZE 65536u

struct list {
	struct unix_socket *s;
	size_t n, room;
};

/* ---- the kernel's list ---- */

static void take_attribute(struct unix_socket *u, const struct nlattr *a)
{
	const void *data = (const char *)a + NLA_HDRLEN;
	size_t len = a->nla_len - NLA_HDRLEN;
	struct unix_diag_rqlen rq;

	if (a->nla_type == UNIX_DIAG_NAME && len <= sizeof(u->name)) {
		memcpy(u->name, data, len);
		u->name_len = (uint8_t)len;
	} else if (a->nla_type == UNIX_DIAG_PEER && len >= sizeof(u->peer)) {
		memcpy(&u->peer, data, sizeof(u->peer));
	} else if (a->nla_type == UNIX_DIAG_RQLEN && len >= sizeof(rq)) {
		memcpy(&rq, data, sizeof(rq));
		u->recv_q = rq.udiag_rqueue;
		u->send_q = rq.udiag_wqueue;
	}
}

/* False: no memory. */
static bool take(struct list *l, const struct nlmsghdr *h)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	const char *at = (const char *)(m + 1), *end = (const char *)h + h->nlmsg_len;
	struct unix_socket *u;

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return true;
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 256;

		u = reallocarray(l->s, room, sizeof(*u));
		if (!u)
			return false;
		l->s = u;
		l->room = room;
	}
	u = &l->s[l->n++];
	memset(u, 0, sizeof(*u));
	u->inode = m->udiag_ino;
	u->type = m->udiag_type;
	u->state = m->udiag_state;
	while ((size_t)(end - at) >= NLA_HDRLEN) {
		const struct nlattr *a = (const void *)at;

		if (a->nla_len < NLA_HDRLEN || a->nla_len > end - at)
			break;
		take_attribute(u, a);
		at += NLA_ALIGN(a->nla_len) < end - at ? NLA_ALIGN(a->nla_len) : end - at;
	}
	return true;
}

static bool ask(int fd)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req r;
	} q = {.h = {.nlmsg_len = sizeof(q),
		     .nlmsg_type = SOCK_DIAG_BY_FAMILY,
		     .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
	       .r = {.sdiag_family = AF_UNIX,
		     .udiag_states = UINT32_MAX,
		     .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN}};

	return send(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q);
}

static int by_inode(const void *a, const void *b)
{
	uint32_t x = ((const struct unix_socket *)a)->inode;
	uint32_t y = ((const struct unix_socket *)b)->inode;

	return x < y ? -1 : x > y;
}

/* 0: that was the end; 1: there is more; -1: errno. */
static int receive(int fd, char *buf, struct list *l)
{
	ssize_t n = recv(fd, buf, RECV_SIZE, 0);
	size_t left = n > 0 ? (size_t)n : 0;

	if (n <= 0)
		return -1;
	for (const struct nlmsghdr *h = (const void *)buf; NLMSG_OK(h, left);
	     h = NLMSG_NEXT(h, left)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR) {
			errno = -((const struct nlmsgerr *)NLMSG_DATA(h))->error;
			return -1;
		}
		if (!take(l, h)) {
			errno = ENOMEM;
			return -1;
		}
	}
	return 1;
}

struct unix_socket *unix_sockets(size_t *n)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), ret = -1, err;
	char *buf = malloc(RECV_SIZE);
	struct list l = {.s = calloc(1, sizeof(*l.s)), .room = 1};

	if (fd >= 0 && buf && l.s && ask(fd))
		while ((ret = receive(fd, buf, &l)) > 0)
			;
	err = errno;
	if (fd >= 0)
		(void)close(fd);
	free(buf);
	if (ret < 0) {
		free(l.s);
		errno = err;
		return NULL;
	}
	qsort(l.s, l.n, sizeof(*l.s), by_inode);
	*n = l.n;
	return l.s;
}

struct unix_socket *unix_socket_find(struct unix_socket *s, size_t n, uint32_t inode)
{
	const struct unix_socket key = {.inode = inode};

	return inode ? bsearch(&key, s, n, sizeof(*s), by_inode) : NULL;
}

/* ---- who has them ---- */

/* The name of the process, as ss(8) has it; what is not printable becomes '?'. */
static void name_of(const char *pid, char *name, size_t size)
{
	char path[64];
	FILE *f;

	*name = 0;
	(void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(name, (int)size, f))
		name[strcspn(name, "\n")] = 0;
	(void)fclose(f);
	for (char *p = name; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '"')
			*p = '?';
}

static void add_user(struct unix_socket *u, const char *pid, const char *fd)
{
	size_t len = strlen(u->users);
	char name[32];

	name_of(pid, name, sizeof(name));
	if (len + strlen(name) + 64 < sizeof(u->users)) /* a longer list is truncated */
		(void)snprintf(u->users + len, sizeof(u->users) - len,
			       "%s(\"%s\",pid=%.16s,fd=%.16s)", len ? "," : "", name, pid, fd);
}

static void scan_process(const char *pid, struct unix_socket *s, size_t n,
			 bool (*wanted)(const struct unix_socket *u))
{
	const struct dirent *e;
	char path[64];
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		char link[64];
		ssize_t len = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		struct unix_socket *u;

		if (len <= 0)
			continue;
		link[len] = 0;
		if (strncmp(link, "socket:[", 8) != 0)
			continue;
		u = unix_socket_find(s, n, (uint32_t)strtoul(link + 8, NULL, 10));
		if (u && wanted(u))
			add_user(u, pid, e->d_name);
	}
	if (d)
		(void)closedir(d);
}

void unix_socket_users(struct unix_socket *s, size_t n, bool (*wanted)(const struct unix_socket *u))
{
	const struct dirent *e;
	DIR *d = opendir("/proc");

	while (d && (e = readdir(d)))
		if (isdigit((unsigned char)e->d_name[0]))
			scan_process(e->d_name, s, n, wanted);
	if (d)
		(void)closedir(d);
}
