/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_connect.h"

#include "core/clock.h"
#include "core/log.h"

#include <errno.h>

/* What the queue's stock has become by @now. */
static void refill(struct guest_queue *gq, uint64_t now)
{
	const int64_t most = (int64_t)(CONNECT_STOCK_NS / gq->guest->n_queues);
	uint64_t more = (now - gq->connect_ns) / CONNECT_SHARE / gq->guest->n_queues;

	gq->connect_ns = now;
	gq->connect_left = more < CONNECT_STOCK_NS ? gq->connect_left + (int64_t)more : most;
	if (gq->connect_left > most)
		gq->connect_left = most;
}

int net_connect(struct guest_queue *gq, int fd, const struct sockaddr *addr, socklen_t len)
{
	uint64_t start, took;
	int ret;

	refill(gq, now_ns());
	if (gq->connect_left <= 0) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "its connections take the kernel too long, probably because most local "
			 "ports to their address are in use (sysctl net.ipv4.ip_local_port_range); "
			 "refusing some");
		return -EADDRNOTAVAIL;
	}
	/* CPU time: the lcore may have lost its CPU meanwhile. */
	start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	ret = connect(fd, addr, len) < 0 ? -errno : 0;
	took = clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
	if (took > CONNECT_USUAL_NS)
		gq->connect_left -= (int64_t)(took - CONNECT_USUAL_NS);
	return ret;
}
