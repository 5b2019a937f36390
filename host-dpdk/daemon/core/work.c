/* SPDX-License-Identifier: BSD-3-Clause */
#include "work.h"

bool work_may(struct guest_queue *gq)
{
	uint64_t round = lcore_round(gq->lc);

	if (gq->round != round) {
		gq->round = round;
		gq->left = WORK_ROUND;
	}
	return gq->left > 0;
}

uint32_t work_done(struct guest_queue *gq, uint32_t bytes)
{
	uint32_t work = work_of(bytes);

	gq->left -= work;
	return work;
}
