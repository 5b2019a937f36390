/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vsock-bench cost: instructions per message, with many connections or queues.
 *
 * Theory of operation
 * -------------------
 * Driver and device are two devices of this process, and one thread works for both. So nothing
 * polls in vain, and the count is the same each time. On each queue a batch of 64-byte messages is
 * sent with the copying calls: on one connection after the other ("active"), or always on the
 * first connection of the queue while the others are open and idle ("idle"). Then each queue of
 * the host is polled until nothing is left, then each queue of the guest. The result is the
 * user-space instructions of both sides, divided by the messages.
 *
 * The CPU's counter is used where the kernel provides it (perf_event_open). Otherwise
 * compare/cost.py runs this program under callgrind, which counts within cost_messages().
 */
#include "cost.h"

#include "io/peer/program.h"
#include "measure/cpu.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_host.h>

#define PORT	  5200u
#define SIZE	  64u
#define BATCH	  32u
#define CONNS_MAX 50000u
#define UNDER_WAY 256u /* connects: the backlog has room for them */
#define EVENTS	  64u
#define OPEN_NS	  60000000000ull
#define CALLGRIND "ZV_BENCH_CALLGRIND"

struct cost {
	unsigned queues, conns, messages;
	bool active;
	struct zv_dev *host, *guest;
	struct zv_conn **conn;		 /* the guest's; number i is on queue i % queues */
	unsigned turn[BENCH_QUEUES_MAX]; /* whose is next, of the connections of a queue */
	uint64_t got, bytes;		 /* by the host: connections, payload */
	unsigned connected;
	bool failed;
};

/* Takes what has come to queue @i of the host. True: something had. */
static bool host_poll(struct cost *k, unsigned i)
{
	struct zv_queue *q = zv_queue(k->host, i);
	uint64_t before = k->got + k->bytes;
	unsigned char buf[SIZE]; /* a message a call, however many there are */
	struct zv_event ev[EVENTS];
	struct zv_conn *zc;
	int n = zv_poll(q, ev, EVENTS);

	for (int e = 0; e < n; e++) {
		ssize_t len;

		if (!ev[e].conn) {
			while (zv_accept(q, PORT, &zc) == 0)
				k->got++;
			continue;
		}
		while ((len = zv_recv(ev[e].conn, buf, sizeof(buf), NULL)) > 0)
			k->bytes += (uint64_t)len;
		k->failed |= len != -EAGAIN;
	}
	k->failed |= n < 0;
	return k->got + k->bytes > before;
}

/* Credit comes in, and connects end. */
static void guest_poll(struct cost *k, unsigned i)
{
	struct zv_event ev[EVENTS];
	int n = zv_poll(zv_queue(k->guest, i), ev, EVENTS);

	for (int e = 0; e < n; e++) {
		if (!ev[e].conn)
			continue;
		if (ev[e].events & ZV_EV_CONNECT) {
			k->connected += !ev[e].err;
			zv_set_events(ev[e].conn, ZV_EV_IN); /* that there is room needs no event */
		}
		k->failed |= (ev[e].events & (ZV_EV_ERR | ZV_EV_HUP)) || ev[e].err;
	}
	k->failed |= n < 0;
}

static void poll_all(struct cost *k)
{
	for (unsigned i = 0; i < k->queues; i++)
		while (host_poll(k, i))
			;
	for (unsigned i = 0; i < k->queues; i++)
		guest_poll(k, i);
}

/* The connection of queue @i whose turn it is. */
static struct zv_conn *next_conn(struct cost *k, unsigned i)
{
	unsigned at = k->turn[i] * k->queues + i;

	if (!k->active)
		return k->conn[i];
	k->turn[i] = at + k->queues < k->conns ? k->turn[i] + 1 : 0;
	return k->conn[at];
}

/* Waits for room by polling. */
static inline void send_one(struct cost *k, struct zv_conn *zc, size_t len)
{
	static const unsigned char message[SIZE] = {1};
	ssize_t n;

	while ((n = zv_send(zc, message, len, 0)) == -EAGAIN && !k->failed)
		poll_all(k);
	k->failed |= n != (ssize_t)len;
}

/* A name of its own, for callgrind; @messages: how many. */
__attribute__((noinline)) void cost_messages(struct cost *k, unsigned messages);
void cost_messages(struct cost *k, unsigned messages)
{
	for (unsigned sent = 0; sent < messages && !k->failed;) {
		for (unsigned i = 0; i < k->queues; i++) {
			struct zv_conn *zc = next_conn(k, i);

			for (unsigned b = 0; b < BATCH; b++, sent++)
				send_one(k, zc, SIZE);
		}
		poll_all(k);
	}
}

/* ---- the CPU's counter ---- */

/* A descriptor, or -1. */
static int counter_open(void)
{
	struct perf_event_attr a = {.size = sizeof(a),
				    .type = PERF_TYPE_HARDWARE,
				    .config = PERF_COUNT_HW_INSTRUCTIONS,
				    .disabled = 1,
				    .exclude_kernel = 1,
				    .exclude_hv = 1};

	return getenv(CALLGRIND)
		       ? -1
		       : (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Instructions of so many messages; 0: nobody counts, or callgrind does. */
static uint64_t counted(struct cost *k, int counter)
{
	uint64_t v = 0;

	if (counter >= 0)
		ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
	cost_messages(k, k->messages);
	if (counter >= 0 && (ioctl(counter, PERF_EVENT_IOC_DISABLE, 0) < 0 ||
			     read(counter, &v, sizeof(v)) != sizeof(v)))
		v = 0;
	return v;
}

/* ---- a cell ---- */

static int fail(const char *what, int rc)
{
	const char *text = zv_error_text();

	fprintf(stderr, "vsock-bench: cost: %s: %s\n", what,
		text && text[0] ? text : zv_strerror(rc));
	return 1;
}

static int connect_all(struct cost *k)
{
	uint64_t deadline = cpu_now_ns() + OPEN_NS;
	unsigned begun = 0;

	while ((k->connected < k->conns || k->got < k->conns) && !k->failed) {
		while (begun < k->conns && begun - k->connected < UNDER_WAY) {
			int rc = zv_connect(zv_queue(k->guest, begun % k->queues), ZV_CID_HOST,
					    PORT, ZV_STREAM, &k->conn[begun]);

			if (rc == -EAGAIN)
				break;
			if (rc < 0)
				return fail("zv_connect", rc);
			begun++;
		}
		poll_all(k);
		if (cpu_now_ns() > deadline)
			return fail("connects", -ETIMEDOUT);
	}
	return k->failed ? fail("connects", -EIO) : 0;
}

static int devices_open(struct cost *k, const char *dir)
{
	struct zv_opts zo = {.size = sizeof(zo), .queues = k->queues};
	struct zv_dev_info info = {.size = sizeof(info)};
	uint64_t deadline = cpu_now_ns() + OPEN_NS;
	char uri[160];
	int rc = zv_host_init();

	snprintf(uri, sizeof(uri), "host:%s/s.sock,cid=3", dir);
	if (rc == 0)
		rc = zv_open(&k->host, uri, &zo);
	snprintf(uri, sizeof(uri), "vhost-user:%s/s.sock", dir);
	if (rc == 0)
		rc = zv_open(&k->guest, uri, &zo);
	if (rc == 0)
		rc = zv_listen(k->host, PORT, ZV_STREAM, 1024);
	if (rc < 0)
		return fail("the devices", rc);
	do {
		poll_all(k);
		rc = zv_dev_info(k->guest, &info);
	} while (rc == 0 && !k->failed && cpu_now_ns() < deadline &&
		 (info.queues_up < k->queues || info.peer == ZV_PEER_UNKNOWN));
	return rc < 0 || k->failed || info.queues_up < k->queues ? fail("the devices", -ETIMEDOUT)
								 : 0;
}

static int cell(struct cost *k, const char *dir)
{
	int rc = devices_open(k, dir), counter = counter_open();
	uint64_t instructions = 0, before;

	if (rc == 0)
		rc = connect_all(k);
	/* The first message of a connection makes what later ones find. */
	for (unsigned i = 0; rc == 0 && i < k->conns; i++)
		send_one(k, k->conn[i], 1);
	poll_all(k);
	before = k->bytes;
	if (rc == 0)
		instructions = counted(k, counter);
	poll_all(k);
	if (rc == 0 && (k->failed || k->bytes - before < (uint64_t)k->messages * SIZE))
		rc = fail("messages were lost", -EIO);
	if (rc == 0)
		printf("{\"queues\": %u, \"conns\": %u, \"mode\": \"%s\", \"messages\": %llu, "
		       "\"instructions\": %llu, \"counter\": \"%s\"}\n",
		       k->queues, k->conns, k->active ? "active" : "idle",
		       (unsigned long long)((k->bytes - before) / SIZE),
		       (unsigned long long)instructions,
		       instructions	   ? "cpu"
		       : getenv(CALLGRIND) ? "callgrind"
					   : "none");
	if (counter >= 0)
		close(counter);
	return rc;
}

static bool number(const char *s, unsigned least, unsigned most, unsigned *v)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s, &end, 10);
	*v = (unsigned)n;
	return end != s && !*end && !errno && *s != '-' && n >= least && n <= most;
}

int cost_cell(int argc, char **argv)
{
	struct cost k = {0};
	struct proc_err err;
	char dir[96];
	int rc;

	if (argc != 6 || !number(argv[2], 1, BENCH_QUEUES_MAX, &k.queues) ||
	    !number(argv[3], k.queues, CONNS_MAX, &k.conns) ||
	    !number(argv[5], 1, 100000000, &k.messages) ||
	    (strcmp(argv[4], "active") != 0 && strcmp(argv[4], "idle") != 0)) {
		fprintf(stderr, "vsock-bench: cost-cell QUEUES CONNECTIONS active|idle MESSAGES\n");
		return 2;
	}
	k.active = argv[4][0] == 'a';
	k.conn = calloc(k.conns, sizeof(struct zv_conn *));
	if (!k.conn || bench_dir_make(dir, sizeof(dir), &err) < 0) {
		fprintf(stderr, "vsock-bench: cost: %s\n", k.conn ? err.text : "no memory");
		return 1;
	}
	rc = cell(&k, dir);
	if (k.guest)
		zv_close(k.guest);
	if (k.host)
		zv_close(k.host);
	bench_dir_remove(dir);
	free(k.conn);
	return rc;
}
