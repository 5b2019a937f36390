/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by guest_mem.c (the memory of a guest) and guest_mem_space.c (the address space of all).
 */
#ifndef ZV_GUEST_MEM_INT_H
#define ZV_GUEST_MEM_INT_H

#include "guest_mem.h"

/* As mmap(2), of @len bytes at @start of the file, within the limits. What it sleeps is charged to
 * mem_payer(). */
void *guest_mem_space_map(int fd, uint64_t start, uint64_t len);
/* munmap(2), in pieces, so that others who need mmap_lock get it between them. What it sleeps is
 * charged to @pays. @waits: nobody waits for the calling thread, so it rests as long as that peer.
 */
void guest_mem_space_unmap(uint8_t *addr, size_t len, struct mem_account *pays, bool waits);
/* The same for what nobody has touched, which is quick. */
void guest_mem_space_drop(void *addr, size_t len);

#endif
