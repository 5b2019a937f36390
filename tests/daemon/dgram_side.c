/* SPDX-License-Identifier: BSD-3-Clause */
#include "dgram_side.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

char dg_payload[ZV_DGRAM_MAX];

bool dg_ready(void *dev)
{
	/* No port of it is bound: nothing is sent, and the error tells how far HELLO is. */
	const struct zv_dgram_addr from_nobody = {
		.peer_cid = ZV_CID_HOST, .local_port = 1, .peer_port = 1};

	for (unsigned i = 0; i < zv_nqueues(dev); i++)
		if (zv_dgram_send(zv_queue(dev, i), &from_nobody, "", 1, 0) == -EAGAIN)
			return false;
	return true;
}

bool dg_away(void *dev)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	return zv_dev_info(dev, &info) == 0 && !info.queues_up;
}

bool dg_back(void *dev)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	return zv_dev_info(dev, &info) == 0 && info.queues_up == info.queues && dg_ready(dev);
}

uint32_t dg_bind(struct zv_dev *dev, uint32_t port)
{
	assert_int_equal(zv_dgram_bind(dev, &port, 0), 0);
	return port;
}

ssize_t dg_send(struct zv_dev *dev, uint32_t port, uint64_t cid, uint32_t peer_port,
		const void *data, size_t len)
{
	const struct zv_dgram_addr to = {
		.peer_cid = cid, .local_port = port, .peer_port = peer_port};

	return zv_dgram_send(zv_queue(dev, 0), &to, data, len, 0);
}

bool dg_arrived(void *arg)
{
	struct dg_wait *w = arg;

	for (unsigned i = 0; i < zv_nqueues(w->dev); i++) {
		w->len = zv_dgram_recv(zv_queue(w->dev, i), w->port, dg_payload, sizeof(dg_payload),
				       NULL, &w->from);
		if (w->len >= 0)
			return true;
	}
	return false;
}

struct zv_dgram_addr dg_expect(struct zv_dev *dev, uint32_t port, const void *data, size_t len)
{
	struct dg_wait w = {.dev = dev, .port = port};

	assert_true(zf_until(dg_arrived, &w));
	assert_int_equal(w.len, len);
	assert_memory_equal(dg_payload, data, len);
	return w.from;
}
