/* SPDX-License-Identifier: BSD-3-Clause */
#include "suite.h"

#include <stdlib.h>

const struct fault faults[] = {
#define F(f)                                                                                       \
	{                                                                                          \
#f, CNT(f)                                                                         \
	}
	F(rx_bad_hdr), F(rx_bad_cid),	 F(rx_bad_type),  F(rx_no_conn),  F(rx_bad_state),
	F(rx_overrun), F(rx_bad_credit), F(rx_bad_chain), F(ring_broken), F(rx_late),
#undef F
};
const unsigned n_faults = sizeof(faults) / sizeof(faults[0]);

void suite_add_tests(struct suite *s, const struct CMUnitTest *t, unsigned n)
{
	s->t = realloc(s->t, (s->n + n) * sizeof(*t));
	if (!s->t)
		abort();
	memcpy(s->t + s->n, t, n * sizeof(*t));
	s->n += n;
}

void suite_add(struct suite *s, CMUnitTestFunction run, const void *table, size_t size, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *element = (const char *)table + i * size;
		struct CMUnitTest t = {.test_func = run,
				       .initial_state = (void *)(uintptr_t)element};

		memcpy(&t.name, element, sizeof(t.name));
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
	free(s->t);
	return ret;
}
