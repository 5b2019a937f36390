/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_zvsockd.h"

#include "proto/local/dropin_msg.h"

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX  64
#define CAME 1024

static char dir[64];
static int listener[3], wake[2];
static int asks[MAX], n_asks;
static pthread_t thread;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* under the lock */
static int came[CAME], n_came, n_taken;
static unsigned withdrawn, connects, hellos;
static int decided; /* of the last non-blocking CONNECT */
static uint64_t filled, read_off;
static bool waiting[MAX]; /* asks[i] has a CONNECT without an answer */
static struct dropin_label bound[MAX];
static unsigned n_bound;
static struct dropin_msg last; /* the answer to the last CONNECT */
static uint64_t tokens, strangers;
static unsigned shutdowns;
static char shut[DROPIN_LABEL];

static const char *const names[] = {"ask", "stream", "seqpacket"};

static void make_label(struct dropin_msg *m, bool connected)
{
	struct dropin_label l = {
		.view = 'P',
		.connected = connected,
		.sock_type = m->sock_type,
		.local = m->local,
		.remote = m->remote,
		.token = {++tokens, (uint64_t)getpid()},
	};

	dropin_label_write(&l, m->label);
	if (!connected && n_bound < MAX)
		bound[n_bound++] = l;
}

static const struct dropin_label *bound_at(uint32_t port)
{
	for (unsigned i = 0; i < n_bound; i++)
		if (bound[i].local.port == port)
			return &bound[i];
	return NULL;
}

static void reply(int fd, const void *m, size_t len)
{
	(void)!send(fd, m, len, MSG_NOSIGNAL);
}

static void reply_with_descriptor(int fd, const void *m, size_t len)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} u;
	struct iovec iov = {(void *)m, len};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.space,
			   .msg_controllen = sizeof(u.space)};

	memset(&u, 0, sizeof(u));
	u.align.cmsg_len = CMSG_LEN(sizeof(int));
	u.align.cmsg_level = SOL_SOCKET;
	u.align.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&u.align), &wake[0], sizeof(int));
	(void)!sendmsg(fd, &h, MSG_NOSIGNAL);
}

/* What a port asks for. False: the socket is closed now. */
static bool answer_by_port(unsigned i, uint32_t port, struct dropin_msg *m)
{
	char big[sizeof(*m) + 1];

	if (port > 10000 && port < 10200) {
		m->result = -(int)(port - 10000);
		dropin_msg_text(m, "the port says so");
	}
	if (port == FAKE_SILENT) {
		waiting[i] = true;
		return true;
	}
	if (port == FAKE_ENDS)
		return false;
	if (port == FAKE_GARBAGE)
		m->magic++;
	if (port == FAKE_OTHER)
		m->type = DROPIN_NAMES;
	if (port == FAKE_POSITIVE)
		m->result = 7;
	if (port == FAKE_PASSES) {
		reply_with_descriptor(asks[i], m, sizeof(*m));
	} else if (port == FAKE_LONG) {
		memcpy(big, m, sizeof(*m));
		big[sizeof(*m)] = 0;
		reply(asks[i], big, sizeof(big));
	} else {
		reply(asks[i], m, port == FAKE_SHORT ? sizeof(*m) - 1 : sizeof(*m));
	}
	if (port == FAKE_FORGETS)
		n_bound--;
	return port != FAKE_FORGETS;
}

static bool on_connect(unsigned i, struct dropin_msg *m)
{
	const struct dropin_label *to;

	connects++;
	if (m->local.port == VMADDR_PORT_ANY)
		m->local.port = 49152 + connects;
	m->local.cid = VMADDR_CID_HOST;
	if (m->remote.cid == VMADDR_CID_LOCAL) {
		to = bound_at(m->remote.port);
		m->flags |= DROPIN_LOCAL;
		m->local.cid = VMADDR_CID_LOCAL;
		m->bytes = getuid();
		if (to)
			dropin_label_write(to, m->where);
		else
			m->result = -ECONNRESET;
	} else if (m->remote.cid == VMADDR_CID_HYPERVISOR) {
		m->result = -ENETUNREACH;
	} else if (m->remote.cid != FAKE_GUEST) {
		m->result = -ENODEV;
	}
	if (!m->label[0])
		make_label(m, true);
	last = *m;
	decided = -1;
	filled = read_off = 0;
	return answer_by_port(i, m->remote.port, m);
}

/* What filled the program's socket is read as zvsockd does once the guest has accepted. */
static void read_filling(void)
{
	char buf[65536];
	ssize_t n = 1;

	while (n_came && read_off < filled && n > 0) {
		n = recv(came[n_came - 1], buf,
			 last.sock_type == SOCK_STREAM && filled - read_off < sizeof(buf)
				 ? (size_t)(filled - read_off)
				 : sizeof(buf),
			 MSG_DONTWAIT);
		if (n > 0)
			read_off += (uint64_t)n;
	}
}

static bool on_question(unsigned i, struct dropin_msg *m)
{
	struct dropin_label l;

	switch (m->type) {
	case DROPIN_HELLO:
		hellos++;
		m->local.cid = VMADDR_CID_HOST;
		break;
	case DROPIN_BIND:
		if (m->local.port == VMADDR_PORT_ANY)
			m->local.port = 1024 + n_bound;
		else if (bound_at(m->local.port))
			m->result = -EADDRINUSE;
		if (!m->result)
			make_label(m, false);
		return answer_by_port(i, m->local.port, m);
	case DROPIN_CONNECT:
		return on_connect(i, m);
	case DROPIN_FILLED:
		filled = m->bytes;
		break;
	case DROPIN_ERROR:
		m->error = decided < 0 ? EINPROGRESS : decided;
		break;
	case DROPIN_NAMES:
		if (dropin_label_read(&l, m->label, strlen(m->label)) &&
		    l.local.port == FAKE_FORGETS)
			m->result = -ENOENT;
		m->local = last.local;
		m->remote = last.remote;
		break;
	case DROPIN_SHUTDOWN:
		shutdowns++;
		memcpy(shut, m->label, sizeof(shut));
		break;
	}
	reply(asks[i], m, sizeof(*m));
	return true;
}

static void serve(unsigned i)
{
	struct dropin_msg m;
	ssize_t n = recv(asks[i], &m, sizeof(m), MSG_DONTWAIT);
	bool on = n > 0 || (n < 0 && errno == EAGAIN);

	if (n > 0)
		on = !dropin_msg_refused(&m, (size_t)n) && on_question(i, &m);
	if (on)
		return;
	withdrawn += waiting[i];
	close(asks[i]);
	n_asks--;
	asks[i] = asks[n_asks];
	waiting[i] = waiting[n_asks];
}

static void accept_on(unsigned i)
{
	int fd = accept4(listener[i], NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0 && i == 0 && n_asks < MAX) {
		waiting[n_asks] = false;
		asks[n_asks++] = fd;
	} else if (fd >= 0 && n_came < CAME) {
		came[n_came++] = fd;
	}
}

static void *run(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd p[4 + MAX] = {{wake[0], POLLIN, 0}};
		int n;

		for (int i = 0; i < 3; i++)
			p[1 + i] = (struct pollfd){listener[i], POLLIN, 0};
		n = n_asks;
		for (int i = 0; i < n; i++)
			p[4 + i] = (struct pollfd){asks[i], POLLIN, 0};
		if (poll(p, (nfds_t)(4 + n), -1) < 0)
			continue;
		if (p[0].revents)
			return NULL;
		pthread_mutex_lock(&lock);
		for (int i = n - 1; i >= 0; i--)
			if (p[4 + i].revents)
				serve((unsigned)i);
		for (unsigned i = 0; i < 3; i++)
			if (p[1 + i].revents)
				accept_on(i);
		pthread_mutex_unlock(&lock);
	}
}

const char *fake_begin(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	snprintf(dir, sizeof(dir), "/tmp/zvsock-dropin-XXXXXX");
	if (!mkdtemp(dir) || pipe2(wake, O_CLOEXEC))
		abort();
	n_asks = n_came = n_taken = 0;
	withdrawn = connects = hellos = n_bound = shutdowns = 0;
	for (int i = 0; i < 3; i++) {
		listener[i] =
			socket(AF_UNIX, (i == 1 ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0);
		snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", dir, names[i]);
		if (bind(listener[i], (struct sockaddr *)&un, sizeof(un)) ||
		    listen(listener[i], 64))
			abort();
	}
	if (pthread_create(&thread, NULL, run, NULL))
		abort();
	return dir;
}

void fake_end(void)
{
	char path[96];

	(void)!write(wake[1], "", 1);
	pthread_join(thread, NULL);
	while (n_asks)
		close(asks[--n_asks]);
	while (n_came > n_taken)
		close(came[--n_came]);
	for (int i = 0; i < 3; i++) {
		close(listener[i]);
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	close(wake[0]);
	close(wake[1]);
	rmdir(dir);
}

/* Until @done, which is called under the lock. */
#define UNTIL(done)                                                                                \
	do {                                                                                       \
		pthread_mutex_lock(&lock);                                                         \
		while (!(done)) {                                                                  \
			pthread_mutex_unlock(&lock);                                               \
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                   \
			pthread_mutex_lock(&lock);                                                 \
		}                                                                                  \
		pthread_mutex_unlock(&lock);                                                       \
	} while (0)

int fake_took(void)
{
	UNTIL(n_came > n_taken);
	return came[n_taken++];
}

void fake_decide(int err)
{
	UNTIL(filled && n_came > n_taken);
	pthread_mutex_lock(&lock);
	decided = err;
	if (!err)
		read_filling();
	else
		close(came[--n_came]);
	pthread_mutex_unlock(&lock);
}

unsigned fake_withdrawn(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = withdrawn;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned fake_connects(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = connects;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned fake_hellos(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = hellos;
	pthread_mutex_unlock(&lock);
	return n;
}

unsigned fake_shutdowns(char label[static 100])
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = shutdowns;
	memcpy(label, shut, sizeof(shut));
	pthread_mutex_unlock(&lock);
	return n;
}

pid_t fake_fork(void)
{
	pid_t pid;

	pthread_mutex_lock(&lock);
	pid = fork();
	pthread_mutex_unlock(&lock);
	return pid;
}

static socklen_t abstract(struct sockaddr_un *un, const char *text)
{
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + 1, text, strlen(text));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
}

static int connect_from(uint32_t port, const struct dropin_label *from)
{
	const struct dropin_label *to;
	char text[DROPIN_LABEL];
	struct sockaddr_un un;
	int fd;

	pthread_mutex_lock(&lock);
	to = bound_at(port);
	pthread_mutex_unlock(&lock);
	if (!to)
		return -1;
	fd = socket(AF_UNIX, to->sock_type | SOCK_CLOEXEC, 0);
	if (from) {
		dropin_label_write(from, text);
		if (bind(fd, (struct sockaddr *)&un, abstract(&un, text)))
			abort();
	}
	dropin_label_write(to, text);
	if (connect(fd, (struct sockaddr *)&un, abstract(&un, text))) {
		close(fd);
		return -1;
	}
	return fd;
}

int fake_guest_connects(uint32_t port, uint32_t from)
{
	struct dropin_label l = {
		.view = 'Z',
		.connected = true,
		.sock_type = SOCK_STREAM,
		.local = {VMADDR_CID_HOST, port},
		.remote = {FAKE_GUEST, from},
		.token = {1, from},
	};

	return connect_from(port, &l);
}

int fake_stranger_connects(uint32_t port, char view)
{
	struct dropin_label l = {
		.view = view,
		.connected = true,
		.sock_type = SOCK_STREAM,
		.local = {FAKE_GUEST, 7},
		.remote = {VMADDR_CID_HOST, port},
		.token = {2, ++strangers},
	};

	if (view == 'Z') {
		l.local = (struct dropin_addr){VMADDR_CID_HOST, port};
		l.remote = (struct dropin_addr){FAKE_GUEST, 7};
	}
	return connect_from(port, view ? &l : NULL);
}

int fake_program_connects(uint32_t cid, uint32_t port, uint32_t from)
{
	const struct dropin_label l = {
		.view = 'P',
		.connected = true,
		.sock_type = SOCK_STREAM,
		.local = {cid, from},
		.remote = {cid, port},
		.token = {3, from},
	};

	return connect_from(port, &l);
}
