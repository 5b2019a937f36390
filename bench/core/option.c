/* SPDX-License-Identifier: BSD-3-Clause */
#include "option.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 32u

struct bench_opts bench_given;

void option_bad(const char *fmt, ...)
{
	va_list ap;

	fputs("vsock-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

uint32_t option_number(const char *name, const char *s, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (end != s && (*end == 'K' || *end == 'k'))
		v <<= 10, end++;
	else if (end != s && (*end == 'M' || *end == 'm'))
		v <<= 20, end++;
	else if (end != s && (*end == 'G' || *end == 'g'))
		v <<= 30, end++;
	if (end == s || *end || errno || *s == '-' || v < min || v > max)
		option_bad("--%s takes a number from %u to %u%s, not '%s'", name, min, max,
			   max >= 1u << 20 ? ", also written 64K or 1M" : "", s);
	return (uint32_t)v;
}

void option_join(char *buf, size_t len, const char *const *word, unsigned n)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < n && at < len; i++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s",
				       i == 0	    ? ""
				       : i + 1 == n ? " or "
						    : ", ",
				       word[i]);
}

static unsigned choice(const struct bench_option *opt, const char *s)
{
	const char *word[WORDS_MAX];
	unsigned n = 0;
	char all[200];

	for (unsigned i = 0; i < opt->names->n; i++) {
		const char *name = opt->names->name[i];

		if (name && strcmp(s, name) == 0)
			return i;
		if (name && n < WORDS_MAX)
			word[n++] = name;
	}
	option_join(all, sizeof(all), word, n);
	option_bad("--%s takes %s, not '%s'", opt->name, all, s);
}

void option_set(const struct bench_option *opt, char *arg)
{
	switch (opt->kind) {
	case OPTION_CALL:
		opt->call(arg);
		break;
	case OPTION_ON:
	case OPTION_OFF:
		*(bool *)opt->value = opt->kind == OPTION_ON;
		break;
	case OPTION_NUMBER:
		*(uint32_t *)opt->value = option_number(opt->name, arg, opt->min, opt->max);
		break;
	case OPTION_TEXT:
		*(const char **)opt->value = arg;
		break;
	case OPTION_CHOICE:
		*(unsigned *)opt->value = choice(opt, arg);
		break;
	}
}
