/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_features.h"

#include <stdio.h>

#define TRANSLATES (VU_PROTOCOL_BACKEND_REQ | VU_PROTOCOL_REPLY_ACK)

uint64_t vu_features_for(uint64_t all, uint64_t protocol)
{
	return (protocol & TRANSLATES) == TRANSLATES ? all : all & ~VSOCK_FEATURE_ACCESS_PLATFORM;
}

void vu_features_text(uint64_t extra, char *buf, size_t size)
{
	static const struct {
		uint64_t bit;
		const char *text;
	} known[] = {
		{VSOCK_FEATURE_IN_ORDER, " (IN_ORDER: take in_order=on off the device)"},
		{VSOCK_FEATURE_RING_RESET, " (RING_RESET: give the device queue_reset=off)"},
	};
	size_t n = 0;

	*buf = 0;
	for (unsigned bit = 0; bit < 64 && n < size; bit++) {
		const char *text = "";

		if (!(extra >> bit & 1))
			continue;
		for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			text = known[i].bit == 1ULL << bit ? known[i].text : text;
		n += (size_t)snprintf(buf + n, size - n, "%s%u%s", n ? ", " : "bit ", bit, text);
	}
}
