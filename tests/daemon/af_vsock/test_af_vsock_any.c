/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any questions in any order, of any type of socket, with labels that were given for another: each
 * is answered, and the daemon goes on. What is asked is the same in each run.
 */
#include "dropin_side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define QUESTIONS 3000u
#define PROGRAMS  4u
#define LABELS	  32u

static const char *program;
static uint32_t seed = 1;

static int up(void **state)
{
	(void)state;
	return ds_up(program) ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	return ds_down() ? 0 : -1;
}

static uint32_t any(uint32_t below)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 8) % below;
}

#define ONE_OF(list) ((list)[any(sizeof(list) / sizeof((list)[0]))])

static void ask_any(struct dropin_msg *m, char labels[static LABELS][DROPIN_LABEL])
{
	static const uint32_t cids[] = {3, 3, 1, 2, UINT32_MAX, 99, 0};
	static const uint32_t ports[] = {80, 81, UINT32_MAX, 1023, 5000, 6003, 0};
	static const uint16_t types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM, 0};
	static const uint64_t sizes[] = {0, 1, 4096, UINT64_MAX};
	unsigned n_types = 1;

	while (dropin_type_name(n_types))
		n_types++;
	dropin_msg_init(m, (enum dropin_type)(1 + any(n_types - 1)));
	m->sock_type = ONE_OF(types);
	m->local = (struct dropin_addr){ONE_OF(cids), ONE_OF(ports)};
	m->remote = (struct dropin_addr){ONE_OF(cids), ONE_OF(ports)};
	m->flags = any(4);
	m->timeout_ms = any(2);
	m->bytes = ONE_OF(sizes);
	m->messages = (uint32_t)ONE_OF(sizes);
	if (any(4))
		memcpy(m->label, labels[any(LABELS)], sizeof(m->label));
}

static void any_question_is_answered(void **state)
{
	static char labels[LABELS][DROPIN_LABEL];
	int ask[PROGRAMS], fd[LABELS];
	unsigned granted = 0;

	(void)state;
	for (unsigned i = 0; i < PROGRAMS; i++)
		ask[i] = ds_ask();
	for (unsigned i = 0; i < LABELS; i++)
		fd[i] = -1;
	for (unsigned i = 0; i < QUESTIONS; i++) {
		unsigned k = any(PROGRAMS), place;
		struct dropin_msg m;
		uint16_t type;

		ask_any(&m, labels);
		type = m.sock_type;
		assert_true(ds_question(ask[k], &m));
		if (m.result || !m.label[0] || (m.type != DROPIN_BIND && m.type != DROPIN_CONNECT))
			continue;
		granted++;
		place = any(LABELS);
		if (fd[place] >= 0)
			close(fd[place]);
		memcpy(labels[place], m.label, sizeof(m.label));
		fd[place] = any(4) ? ds_socket(type, m.label) : -1;
		if (fd[place] >= 0 && m.type == DROPIN_CONNECT && any(2))
			(void)ds_join(fd[place], type);
	}
	assert_true(granted > LABELS);
	for (unsigned i = 0; i < LABELS; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	for (unsigned i = 0; i < PROGRAMS; i++)
		close(ask[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_question_is_answered, up, down),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
