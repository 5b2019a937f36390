/* SPDX-License-Identifier: BSD-3-Clause */
/* The bytes of a capture file, one by one, and what each operation is called in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/pcap_vsock.h"

#include <string.h>

static void the_file_header_is_little_endian_with_nanoseconds(void **state)
{
	static const uint8_t want[PCAP_FILE_BYTES] = {
		0x4d,	  0x3c, 0xb2, 0xa1, 2,	  0,	4, 0,
		0,	  0,	0,    0,    0,	  0,	0, 0, /* magic, 2.4 */
		76 + 100, 0,	0,    0,    0x0f, 0x01, 0, 0, /* snaplen, 271 */
	};
	uint8_t got[PCAP_FILE_BYTES];

	(void)state;
	pcap_file_header(got, 100);
	assert_memory_equal(got, want, sizeof(want));
}

/* A virtio-vsock header with another value in every byte, but for op. */
static void header(uint8_t h[PCAP_VIRTIO_BYTES], uint16_t op)
{
	for (unsigned i = 0; i < PCAP_VIRTIO_BYTES; i++)
		h[i] = (uint8_t)(i + 1);
	h[30] = (uint8_t)op;
	h[31] = (uint8_t)(op >> 8);
}

static void a_packet_has_its_three_headers(void **state)
{
	static const uint8_t want[PCAP_RECORD_BYTES + PCAP_VSOCKMON_BYTES] = {
		0x15,	 0xcd, 0x5b, 0x07, 0xb1,    0x68, 0xde, 0x3a, /* 123456789.987654321 s */
		76 + 10, 0,    0,    0,	   76 + 44, 1,	  0,	0,    /* 10 of 300 bytes */
		1,	 2,    3,    4,	   5,	    6,	  7,	8,
		9,	 10,   11,   12,   13,	    14,	  15,	16, /* CIDs */
		17,	 18,   19,   20,   21,	    22,	  23,	24,
		4,	 0,    2,    0,	   44,	    0,	  0,	0, /* ports, op, virtio */
	};
	uint8_t h[PCAP_VIRTIO_BYTES], got[PCAP_PACKET_BYTES];

	(void)state;
	header(h, 5);
	pcap_packet_header(got, UINT64_C(123456789987654321), h, 10, 300);
	assert_memory_equal(got, want, sizeof(want));
	assert_memory_equal(got + sizeof(want), h, sizeof(h));
	assert_int_equal(pcap_record_bytes(got), PCAP_PACKET_BYTES + 10);
}

static void operations_are_named_as_linux_names_them(void **state)
{
	static const uint8_t want[] = {0, 1, 1, 2, 2, 4, 3, 3, 0};
	uint8_t h[PCAP_VIRTIO_BYTES], got[PCAP_PACKET_BYTES];

	(void)state;
	for (uint16_t op = 0; op < sizeof(want); op++) {
		header(h, op);
		pcap_packet_header(got, 0, h, 0, 0);
		assert_int_equal(got[PCAP_RECORD_BYTES + 24], want[op]);
		assert_int_equal(got[PCAP_RECORD_BYTES + 25], 0);
	}
	header(h, 0x0105); /* both bytes count */
	pcap_packet_header(got, 0, h, 0, 0);
	assert_int_equal(got[PCAP_RECORD_BYTES + 24], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_file_header_is_little_endian_with_nanoseconds),
		cmocka_unit_test(a_packet_has_its_three_headers),
		cmocka_unit_test(operations_are_named_as_linux_names_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
