/* SPDX-License-Identifier: BSD-3-Clause */
#include "target/targets.h"

/*
 * What counts is what arrived, in the time that the receiver needed for it. A message that was sent
 * and did not arrive, or arrived and was not sent, is an error even when each that came was right.
 */
void result_from_sides(struct bench_result *res, const struct side_stats *tx,
		       const struct side_stats *rx, unsigned queues)
{
	res->bytes = rx->bytes;
	res->errors = rx->errors + tx->errors;
	res->elapsed_ns = rx->last_ns - rx->first_ns;
	res->messages = 0;
	for (unsigned i = 0; i < queues; i++) {
		res->per_queue[i] = rx->msgs[i];
		res->messages += rx->msgs[i];
		if (rx->msgs[i] != tx->msgs[i])
			res->errors++;
	}
	res->valid = true;
}
