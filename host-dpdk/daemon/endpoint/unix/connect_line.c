/* SPDX-License-Identifier: BSD-3-Clause */
#include "connect_line.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

static const char word[] = "CONNECT";
#define WORD_LEN (sizeof(word) - 1)

/* White space of ASCII, except for the newline, which ends the line. */
static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static size_t skip_blanks(const char *data, size_t i, size_t end)
{
	while (i < end && is_blank(data[i]))
		i++;
	return i;
}

int connect_line_parse(const char *data, size_t len, uint32_t *port)
{
	size_t seen = len < CONNECT_LINE_MAX ? len : CONNECT_LINE_MAX, i, begin;
	const char *end = memchr(data, '\n', seen);
	uint64_t value = 0;

	if (end)
		seen = (size_t)(end - data);
	/* Garbage is refused as soon as it is seen, not at the end of the line. */
	i = skip_blanks(data, 0, seen);
	if (strncasecmp(data + i, word, seen - i < WORD_LEN ? seen - i : WORD_LEN) != 0)
		return -EINVAL;
	if (!end)
		return len < CONNECT_LINE_MAX ? 0 : -EINVAL;
	i += WORD_LEN;
	if (i >= seen || !is_blank(data[i]))
		return -EINVAL;
	i = begin = skip_blanks(data, i, seen);
	for (; i < seen && data[i] >= '0' && data[i] <= '9'; i++) {
		value = value * 10 + (uint64_t)(data[i] - '0');
		if (value > UINT32_MAX)
			return -EINVAL;
	}
	if (i == begin || skip_blanks(data, i, seen) < seen)
		return -EINVAL;
	*port = (uint32_t)value;
	return (int)seen + 1;
}
