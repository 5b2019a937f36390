/* SPDX-License-Identifier: BSD-3-Clause */
#include "connect_line.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static const char word[] = "CONNECT";
#define WORD_LEN (sizeof(word) - 1)

int connect_line_parse(const char *data, size_t len, uint32_t *port)
{
	size_t seen = len < CONNECT_LINE_MAX ? len : CONNECT_LINE_MAX, i = WORD_LEN, digits;
	const char *end = memchr(data, '\n', seen);
	uint64_t value = 0;

	/* Garbage is refused as soon as it is seen, not when the line is over. */
	if (strncasecmp(data, word, seen < WORD_LEN ? seen : WORD_LEN) != 0)
		return -EINVAL;
	if (!end)
		return len < CONNECT_LINE_MAX ? 0 : -EINVAL;
	seen = (size_t)(end - data);
	if (seen <= WORD_LEN || data[i] != ' ')
		return -EINVAL;
	while (i < seen && data[i] == ' ')
		i++;
	for (digits = i; i < seen && data[i] >= '0' && data[i] <= '9'; i++) {
		value = value * 10 + (uint64_t)(data[i] - '0');
		if (value > UINT32_MAX)
			return -EINVAL;
	}
	digits = i - digits;
	while (i < seen && (data[i] == ' ' || (data[i] == '\r' && i + 1 == seen)))
		i++;
	if (!digits || i < seen)
		return -EINVAL;
	*port = (uint32_t)value;
	return (int)seen + 1;
}
