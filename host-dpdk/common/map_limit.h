/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the mappings that the kernel lets a process have (sysctl vm.max_map_count) are divided.
 *
 * Threads, large blocks of malloc and peers' memory all need some, and a peer decides how many
 * regions its memory has and how often it changes them. So a quarter is kept for the process
 * itself, and before peers have the rest, loans keep no former memory tables mapped any more:
 * what is left then is for the memory of those that have none yet.
 */
#ifndef ZV_MAP_LIMIT_H
#define ZV_MAP_LIMIT_H

#include <stdint.h>

/* Maximum that is divided, even if the kernel allows more: so many can be watched for truncated
 * files (api/sigbus.h). */
#define MAP_LIMIT_MAX (1u << 20)

/* Mappings of peers' memory at most. The sysctl is read once. Any thread. */
uint32_t map_limit_peers(void);
/* No former table is kept for loans when there are more. Any thread. */
uint32_t map_limit_loans(void);
/* Takes @n for what the kernel allows; 0: reads it again. For tests. */
void map_limit_set(uint32_t n);

#endif
