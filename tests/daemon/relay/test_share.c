/* SPDX-License-Identifier: BSD-3-Clause */
/* What siblings and applications may have of a queue's connections: share.h, by itself. */
#include "relay/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 1024u

static struct cfg_guest cfg;
static struct guest guest = {.cfg = &cfg};
static struct cfg_guest asker_cfg[40];
static struct guest askers[40];
static struct guest_queue queue = {.guest = &guest};

/* All that @asker gets; they go to @s. */
static unsigned all_of(const struct guest *asker, struct share **s)
{
	const struct share_asker a = share_asker(asker);
	unsigned n = 0;

	while (n < MOST && (s[n] = share_get(&queue, &a)))
		n++;
	return n;
}

static void give_back(struct share **s, unsigned n)
{
	while (n)
		share_put(&queue, s[--n]);
}

static void one_sibling_gets_a_quarter(void **state)
{
	static struct share *s[MOST];

	(void)state;
	cfg.max_conns = 1000;
	for (int i = 0; i < 3; i++) { /* what is given back can be had again */
		assert_int_equal(all_of(&askers[0], s), 250);
		give_back(s, 250);
		assert_null(queue.shares);
		assert_int_equal(queue.n_shared, 0);
	}
}

/* Whoever comes later finds something, all together have half of the table. */
static void nobody_gets_all(void **state)
{
	static struct share *s[40][MOST];
	const struct share_asker eighth = share_asker(&askers[7]);
	unsigned n[40], sum = 0;

	(void)state;
	cfg.max_conns = 1000;
	for (unsigned i = 0; i < 40; i++)
		sum += n[i] = all_of(&askers[i], s[i]);
	assert_int_equal(n[0], 250);
	assert_int_equal(n[1], 125);
	assert_true(n[7] > 0);
	assert_true(sum <= 500);
	assert_int_equal(queue.n_shared, sum);
	give_back(s[0], n[0]); /* room for those who had less */
	assert_true(share_get(&queue, &eighth) != NULL);
	share_put(&queue, s[7][--n[7]]); /* one of the eighth's, whichever */
	for (unsigned i = 1; i < 40; i++)
		give_back(s[i], n[i]);
	assert_int_equal(queue.n_shared, 1);
	share_put(&queue, s[7][0]);
	assert_null(queue.shares);
}

/* However many applications a user attaches, and whatever becomes of them. */
static void a_user_counts_once(void **state)
{
	static struct share *s[40][MOST];
	unsigned n[40] = {0};

	(void)state;
	cfg.max_conns = 1000;
	for (unsigned i = 0; i < 40; i++)
		asker_cfg[i] =
			(struct cfg_guest){.has_user = i < 39, .app_uid = i < 38 ? 54321 : 0};
	n[0] = all_of(&askers[0], s[0]);
	assert_int_equal(n[0], 250);
	for (unsigned i = 1; i < 38; i++)
		assert_int_equal(all_of(&askers[i], s[i]), 0);
	n[38] = all_of(&askers[38], s[38]); /* of another user: root */
	assert_int_equal(n[38], 125);
	n[39] = all_of(&askers[39], s[39]); /* a guest, which has no user */
	assert_int_equal(n[39], 63);
	for (unsigned i = 0; i < 40; i++)
		give_back(s[i], n[i]);
	memset(asker_cfg, 0, sizeof(asker_cfg));
}

static void small_tables(void **state)
{
	static const struct {
		uint32_t max_conns;
		unsigned one;
	} t[] = {{1, 1}, {2, 1}, {3, 1}, {4, 1}, {6, 2}, {16, 4}, {65536, MOST}};
	static struct share *s[MOST];

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		cfg.max_conns = t[i].max_conns;
		assert_int_equal(all_of(&askers[0], s), t[i].one);
		give_back(s, t[i].one);
	}
	share_put(&queue, NULL);
	assert_null(queue.shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_sibling_gets_a_quarter),
		cmocka_unit_test(nobody_gets_all),
		cmocka_unit_test(a_user_counts_once),
		cmocka_unit_test(small_tables),
	};

	for (unsigned i = 0; i < 40; i++)
		askers[i].cfg = &asker_cfg[i];
	return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
