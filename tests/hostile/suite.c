/* SPDX-License-Identifier: BSD-3-Clause */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>

const struct fault faults[] = {
#define F(f)                                                                                       \
	{                                                                                          \
#f, CNT(f)                                                                         \
	}
	F(rx_bad_hdr),	 F(rx_bad_cid), F(rx_bad_type),	  F(rx_no_conn),
	F(rx_bad_state), F(rx_overrun), F(rx_bad_credit), F(rx_bad_chain),
	F(ring_broken),	 F(rx_late),	F(dgram_dropped), F(dgram_unbound),
#undef F
};
const unsigned n_faults = sizeof(faults) / sizeof(faults[0]);

static void *bigger(void *p, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p)
		abort();
	return p;
}

void suite_add_tests(struct suite *s, const struct CMUnitTest *t, unsigned n)
{
	s->t = bigger(s->t, (s->n + n) * sizeof(*t));
	memcpy(s->t + s->n, t, n * sizeof(*t));
	s->n += n;
}

/* @prefix and @name, for as long as the suite lives. */
static const char *joined(struct suite *s, const char *prefix, const char *name)
{
	size_t len = strlen(prefix) + strlen(name) + 1;
	char *text = bigger(NULL, len);

	(void)snprintf(text, len, "%s%s", prefix, name);
	s->names = bigger(s->names, (s->n_names + 1) * sizeof(*s->names));
	s->names[s->n_names++] = text;
	return text;
}

void suite_add(struct suite *s, CMUnitTestFunction run, const char *prefix, const void *table,
	       size_t size, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *element = (const char *)table + i * size;
		struct CMUnitTest t = {.test_func = run,
				       .initial_state = (void *)(uintptr_t)element};
		const char *name;

		memcpy(&name, element, sizeof(name));
		t.name = joined(s, prefix, name);
		suite_add_tests(s, &t, 1);
	}
}

int suite_run(struct suite *s, const char *name, int argc, char **argv, CMFixtureFunction setup,
	      CMFixtureFunction teardown)
{
	int ret;

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	ret = _cmocka_run_group_tests(name, s->t, s->n, setup, teardown);
	for (unsigned i = 0; i < s->n_names; i++)
		free(s->names[i]);
	free(s->names);
	free(s->t);
	return ret;
}
