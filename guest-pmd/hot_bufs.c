/* SPDX-License-Identifier: BSD-3-Clause */
#include "hot_bufs.h"

#include <errno.h>
#include <stdlib.h>

int hot_tx_init(struct hot_tx *h, uint32_t size, uint32_t payload)
{
	*h = (struct hot_tx){.hot = size, .mask = size - 1, .payload = payload};
	h->deque = calloc(size, sizeof(*h->deque));
	h->cold = calloc(size, sizeof(*h->cold));
	if (!h->deque || !h->cold)
		return -ENOMEM;
	for (uint32_t i = 0; i < size; i++)
		hot_tx_append(h, (uint16_t)i);
	return 0;
}

void hot_tx_fini(struct hot_tx *h)
{
	free(h->deque);
	free(h->cold);
	h->deque = h->cold = NULL;
}

int hot_rx_init(struct hot_rx *h, uint32_t size, uint32_t payload)
{
	*h = (struct hot_rx){.hot = size, .size = size, .payload = payload};
	h->spare = calloc(size, sizeof(*h->spare));
	return h->spare ? 0 : -ENOMEM;
}

void hot_rx_fini(struct hot_rx *h)
{
	free(h->spare);
	h->spare = NULL;
}

void hot_rx_restart(struct hot_rx *h)
{
	h->hot = h->size;
	h->nspare = h->pkts = h->bytes = h->idle = 0;
}
