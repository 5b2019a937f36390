/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_rules.h"

const char *vu_head_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION)
		return "its version is not 1";
	if (m->flags & VU_FLAG_REPLY)
		return "it says that it is an answer";
	return m->size > sizeof(m->payload) ? "it is longer than any message" : NULL;
}

const char *vu_answer_refused(const struct vu_msg *m)
{
	if ((m->flags & VU_FLAG_VERSION) != VU_VERSION || !(m->flags & VU_FLAG_REPLY))
		return "it is no answer of version 1";
	return m->size == sizeof(m->payload.u64) ? NULL : "its payload has the wrong size";
}

const char *vu_msg_refused(const struct vu_msg *m, unsigned nfds, unsigned nrings, uint64_t mem_max)
{
	const struct vu_message *row = vu_message_of(m->request);
	const char *why = vu_head_refused(m);
	unsigned wanted;

	if (why)
		return why;
	if (!row)
		return "a vsock device has no such request";
	if (m->size < row->size_min || m->size > row->size_max)
		return "its payload has the wrong size";
	if (row->vq && row->vq(m) >= nrings)
		return "the device has no such virtqueue";
	why = row->check ? row->check(m, mem_max) : NULL;
	if (why)
		return why;
	wanted = row->nfds ? row->nfds(m) : 0;
	if (nfds < wanted)
		return "a descriptor is missing";
	return nfds > wanted ? "more descriptors came with it than it has use for" : NULL;
}
