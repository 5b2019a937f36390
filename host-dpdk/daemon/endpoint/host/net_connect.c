/* SPDX-License-Identifier: BSD-3-Clause */
#include "net_connect.h"

#include "base/clock.h"
#include "core/log.h"

#include <errno.h>

int net_connect(struct guest_queue *gq, int fd, const struct sockaddr *addr, socklen_t len)
{
	static uint64_t fastest_ns;
	static const struct cpu_limit all = {CONNECT_USUAL_NS, CONNECT_STOCK_NS, CONNECT_SHARE,
					     &fastest_ns};
	const struct cpu_limit limit = cpu_limit_part(&all, gq->guest->n_queues);
	uint64_t start;
	int ret;

	if (!cpu_stock_may(&gq->connects, &limit)) {
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "its connections take the kernel too long, probably because most local "
			 "ports to their address are in use (sysctl net.ipv4.ip_local_port_range); "
			 "refusing some");
		return -EADDRNOTAVAIL;
	}
	start = cpu_ns();
	ret = connect(fd, addr, len) < 0 ? -errno : 0;
	cpu_stock_took(&gq->connects, &limit, cpu_ns() - start);
	return ret;
}
