/* SPDX-License-Identifier: BSD-3-Clause */
/* Text in a message between programs of one machine (client_msg.h, dropin_msg.h). */
#ifndef ZV_LOCAL_TEXT_H
#define ZV_LOCAL_TEXT_H

#include <stddef.h>
#include <string.h>

/*
 * Fills the @size bytes at @out with @text, cut to fit, and zeros. A byte that is not printable
 * ASCII becomes '?'.
 */
static inline void local_text_copy(char *out, size_t size, const char *text)
{
	size_t i;

	for (i = 0; i < size - 1 && text[i]; i++)
		out[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	memset(out + i, 0, size - i);
}

#endif
