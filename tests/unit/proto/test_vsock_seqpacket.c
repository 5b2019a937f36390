/* SPDX-License-Identifier: BSD-3-Clause */
/* SEQPACKET framing: EOM, EOR, and what a peer cannot make grow. */
#include "proto_test.h"

#include "proto/vsock/vsock_seqpacket.h"

#define MAX 1000u

static void test_message_of_one_packet(void **state)
{
	struct seq_rx s = {0, 0};

	(void)state;
	assert_true(seq_rx_packet(&s, 100, VSOCK_SEQ_EOM, MAX));
	assert_int_equal(s.msgs, 1);
	assert_int_equal(s.partial, 0);
}

static void test_message_of_many_packets(void **state)
{
	struct seq_rx s = {0, 0};

	(void)state;
	for (unsigned i = 1; i <= 9; i++) {
		assert_true(seq_rx_packet(&s, 100, 0, MAX));
		assert_int_equal(s.partial, i * 100);
		assert_int_equal(s.msgs, 0);
	}
	assert_true(seq_rx_packet(&s, 100, VSOCK_SEQ_EOM, MAX)); /* exactly MAX in all */
	assert_int_equal(s.msgs, 1);
	assert_int_equal(s.partial, 0);
}

static void test_message_without_eom_is_bounded(void **state)
{
	struct seq_rx s = {0, 0};
	unsigned n = 0;

	(void)state;
	while (seq_rx_packet(&s, 64, 0, MAX))
		assert_true(++n < 100);
	assert_int_equal(n, MAX / 64);
	/* Refused, and nothing has changed: not by EOM either, and what still fits still does. */
	assert_int_equal(s.partial, n * 64);
	assert_false(seq_rx_packet(&s, 64, VSOCK_SEQ_EOM, MAX));
	assert_int_equal(s.partial, n * 64);
	assert_int_equal(s.msgs, 0);
	assert_true(seq_rx_packet(&s, MAX - n * 64, VSOCK_SEQ_EOM, MAX));
	assert_int_equal(s.msgs, 1);
}

static void test_length_does_not_wrap(void **state)
{
	struct seq_rx s = {0, 0};

	(void)state;
	assert_false(seq_rx_packet(&s, UINT32_MAX, 0, MAX));
	assert_true(seq_rx_packet(&s, 1, 0, MAX));
	assert_false(seq_rx_packet(&s, UINT32_MAX, VSOCK_SEQ_EOM, MAX));
	assert_false(seq_rx_packet(&s, UINT32_MAX - 1, 0, MAX));
	assert_int_equal(s.partial, 1);
	assert_true(seq_rx_packet(&s, UINT32_MAX - 1, 0, UINT32_MAX));
	assert_false(seq_rx_packet(&s, 1, 0, UINT32_MAX));
}

static void test_empty_messages_are_bounded(void **state)
{
	struct seq_rx s = {0, 0};

	(void)state;
	/* They cost the peer no credit, so credit does not stop them. */
	for (unsigned i = 0; i < MAX; i++)
		assert_true(seq_rx_packet(&s, 0, VSOCK_SEQ_EOM, MAX));
	assert_false(seq_rx_packet(&s, 0, VSOCK_SEQ_EOM, MAX));
	assert_int_equal(s.msgs, MAX);
	seq_rx_consumed(&s);
	assert_true(seq_rx_packet(&s, 0, VSOCK_SEQ_EOM, MAX));
}

static void test_eor_counts_only_with_eom(void **state)
{
	struct seq_rx s = {0, 0};

	(void)state;
	assert_true(seq_rx_packet(&s, 10, VSOCK_SEQ_EOR, MAX));
	assert_int_equal(s.msgs, 0);
	assert_int_equal(s.partial, 10);
	assert_true(seq_rx_packet(&s, 10, VSOCK_SEQ_EOM | VSOCK_SEQ_EOR, MAX));
	assert_int_equal(s.msgs, 1);
	assert_int_equal(s.partial, 0);
	assert_true(seq_rx_packet(&s, 10, 0xfffffffc, MAX)); /* unknown bits end nothing */
	assert_int_equal(s.msgs, 1);
}

static void test_consumed_never_goes_below_zero(void **state)
{
	struct seq_rx s = {2, 5};

	(void)state;
	seq_rx_consumed(&s);
	seq_rx_consumed(&s);
	assert_int_equal(s.msgs, 0);
	seq_rx_consumed(&s);
	assert_int_equal(s.msgs, 0);
	assert_int_equal(s.partial, 5); /* the message in progress is not concerned */
}

/* What the sender's half cuts, the receiver's half puts together, whatever the packet size. */
static void test_sender_and_receiver_agree(void **state)
{
	(void)state;
	for (uint32_t total = 0; total <= 300; total++) {
		for (uint32_t part = 1; part <= 301; part += 50) {
			struct seq_rx s = {0, 0};
			uint32_t end = 0, eors = 0;

			do {
				uint32_t len = total - end < part ? total - end : part;
				uint32_t flags = seq_tx_flags(end + len, total, total & 1);

				assert_int_equal(s.msgs, 0);
				end += len;
				assert_true(seq_rx_packet(&s, len, flags, 300));
				eors += !!(flags & VSOCK_SEQ_EOR);
			} while (end < total);
			assert_int_equal(s.msgs, 1);
			assert_int_equal(s.partial, 0);
			assert_int_equal(eors, total & 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message_of_one_packet),
		cmocka_unit_test(test_message_of_many_packets),
		cmocka_unit_test(test_message_without_eom_is_bounded),
		cmocka_unit_test(test_length_does_not_wrap),
		cmocka_unit_test(test_empty_messages_are_bounded),
		cmocka_unit_test(test_eor_counts_only_with_eom),
		cmocka_unit_test(test_consumed_never_goes_below_zero),
		cmocka_unit_test(test_sender_and_receiver_agree),
	};

	return cmocka_run_group_tests_name("proto: SEQPACKET framing", tests, NULL, NULL);
}
