/* SPDX-License-Identifier: BSD-3-Clause */
/* See table.h. */
#include "table.h"

#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
	const char *align;
	size_t columns, n, room;
	char **cells;
};

struct table *table_new(const char *align)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		ctl_die(CTL_FAILED, "out of memory");
	t->align = align;
	t->columns = strlen(align);
	return t;
}

void table_add(struct table *t, const char *fmt, ...)
{
	va_list ap;

	if (t->n == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->cells = realloc(t->cells, t->room * sizeof(*t->cells));
		if (!t->cells)
			ctl_die(CTL_FAILED, "out of memory");
	}
	va_start(ap, fmt);
	if (vasprintf(&t->cells[t->n++], fmt, ap) < 0)
		ctl_die(CTL_FAILED, "out of memory");
	va_end(ap);
}

static int width(const struct table *t, size_t column)
{
	size_t w = 0;

	for (size_t i = column; i < t->n; i += t->columns)
		w = strlen(t->cells[i]) > w ? strlen(t->cells[i]) : w;
	return (int)w;
}

void table_print(struct table *t)
{
	int *widths = calloc(t->columns, sizeof(*widths)), gap = 0;

	if (!widths)
		ctl_die(CTL_FAILED, "out of memory");
	for (size_t i = 0; i < t->columns; i++)
		widths[i] = width(t, i);
	for (size_t i = 0; i < t->n; i++) {
		size_t column = i % t->columns;
		int len = (int)strlen(t->cells[i]), fill = widths[column] - len;

		/* Blanks are printed only before further text, so that no line ends with blanks. */
		gap = column ? gap + 2 : 0;
		if (t->align[column] == 'r')
			gap += fill;
		if (len)
			(void)printf("%*s%s", gap, "", t->cells[i]);
		gap = (len ? 0 : gap) + (t->align[column] == 'r' ? 0 : fill);
		if (column + 1 == t->columns)
			(void)fputc('\n', stdout);
		free(t->cells[i]);
	}
	free(widths);
	free(t->cells);
	free(t);
}
