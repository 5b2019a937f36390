/* SPDX-License-Identifier: BSD-3-Clause */
/* Which vhost-user messages pass, and which do not, with the reason. */
#include "ring/vhost_ring.h"
#include "vhost-user/vu_features.h"
#include "vhost-user/vu_rules.h"
#include "vu_limits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define RINGS	9u
#define MEM_MAX (1ull << 40)

static const char *no_wrap(struct vhost_ring_pos pos, uint32_t size)
{
	(void)size;
	return pos.v > UINT16_MAX ? "16 bits" : NULL;
}

/* Wrap counters in bits 15 and 31, indices below 300. */
static const char *wrap(struct vhost_ring_pos pos, uint32_t size)
{
	(void)size;
	return (pos.v & 0x7fff) >= 300 || (pos.v >> 16 & 0x7fff) >= 300 ? "beyond the ring" : NULL;
}

/* Rings of these sizes and positions: what a layout says is what is accepted. */
static const struct vhost_ring_layout plain = {.name = "plain", .pos_refused = no_wrap};
static const struct vhost_ring_layout loose = {
	.name = "loose", .feature = 1, .any_size = true, .pos_refused = wrap};

static struct vu_terms terms = {
	.nrings = RINGS, .ring_max = VU_VRING_SIZE_MAX, .mem_max = MEM_MAX, .layout = &plain};

static struct vu_msg message(uint32_t request, uint32_t size)
{
	return (struct vu_msg){.request = request, .flags = VU_VERSION, .size = size};
}

static struct vu_msg state(uint32_t request, uint32_t ring, uint32_t num)
{
	struct vu_msg m = message(request, 8);

	m.payload.state = (struct vu_vring_state){.index = ring, .num = num};
	return m;
}

static struct vu_msg word(uint32_t request, uint64_t value)
{
	struct vu_msg m = message(request, 8);

	m.payload.u64 = value;
	return m;
}

static struct vu_msg table(uint32_t regions)
{
	struct vu_msg m = message(VU_SET_MEM_TABLE, 8 + 32 * regions);

	m.payload.mem.nregions = regions;
	for (uint32_t i = 0; i < regions && i < VU_MSG_FDS; i++) {
		m.payload.mem.region[i].gpa = i * 0x100000ull;
		m.payload.mem.region[i].uva = 0x7f0000000000ull + i * 0x100000ull;
		m.payload.mem.region[i].size = 0x100000;
		m.payload.mem.region[i].offset = 0;
	}
	return m;
}

static struct vu_msg config(uint32_t request, uint32_t offset, uint32_t size)
{
	struct vu_msg m = message(request, 12 + size);

	m.payload.config.offset = offset;
	m.payload.config.size = size;
	return m;
}

static void passes(const struct vu_msg *m, unsigned nfds)
{
	const char *why = vu_msg_refused(m, nfds, &terms);

	if (why)
		fail_msg("request %u with %u descriptors: %s", m->request, nfds, why);
}

static void refused(const struct vu_msg *m, unsigned nfds, const char *part)
{
	const char *why = vu_msg_refused(m, nfds, &terms);

	if (!why || !strstr(why, part))
		fail_msg("request %u with %u descriptors: \"%s\", not \"%s\"", m->request, nfds,
			 why ? why : "passes", part);
}

static void what_qemu_sends_passes(void **unused)
{
	struct vu_msg m;

	(void)unused;
	m = message(VU_GET_FEATURES, 0), passes(&m, 0);
	m = message(VU_GET_PROTOCOL_FEATURES, 0), passes(&m, 0);
	m = word(VU_SET_PROTOCOL_FEATURES, 0x629), passes(&m, 0);
	m = message(VU_GET_QUEUE_NUM, 0), passes(&m, 0);
	m = message(VU_SET_OWNER, 0), passes(&m, 0);
	m = message(VU_SET_BACKEND_REQ_FD, 0), passes(&m, 1);
	m = config(VU_GET_CONFIG, 0, 8), passes(&m, 0);
	m = word(VU_SET_FEATURES, 0x160000000), m.flags |= VU_FLAG_NEED_REPLY, passes(&m, 0);
	m = table(2), m.flags |= VU_FLAG_NEED_REPLY, passes(&m, 2);
	m = state(VU_SET_VRING_NUM, 0, 128), passes(&m, 0);
	m = state(VU_SET_VRING_BASE, 0, 65535), passes(&m, 0);
	m = message(VU_SET_VRING_ADDR, 40), m.payload.addr.index = 8, passes(&m, 0);
	m = word(VU_SET_VRING_KICK, 0), passes(&m, 1);
	m = word(VU_SET_VRING_CALL, 8 | VU_VRING_NO_FD), passes(&m, 0);
	m = state(VU_SET_VRING_ENABLE, 1, 1), passes(&m, 0);
	m = state(VU_GET_VRING_BASE, 1, 0), passes(&m, 0);
}

static void requests_of_other_devices_are_refused(void **unused)
{
	(void)unused;
	for (uint32_t request = 0; request < 70; request++) {
		struct vu_msg m = message(request, 0);

		if (!vu_rule_of(request))
			refused(&m, 0, "no such request");
	}
	for (uint32_t request = 31; request; request <<= 1) {
		struct vu_msg m = message(request | 0x80000000u, 0);

		refused(&m, 0, "no such request");
	}
	assert_null(vu_rule_of(6));  /* SET_LOG_BASE */
	assert_null(vu_rule_of(28)); /* POSTCOPY_ADVISE: a userfaultfd over this process */
	assert_null(vu_rule_of(31)); /* GET_INFLIGHT_FD: memory without a bound */
}

static void the_header_must_be_that_of_a_request(void **unused)
{
	struct vu_msg m = message(VU_GET_FEATURES, 0);

	(void)unused;
	m.flags = 0, refused(&m, 0, "version");
	m.flags = 2, refused(&m, 0, "version");
	m.flags = VU_VERSION | VU_FLAG_REPLY, refused(&m, 0, "answer");
	m = message(VU_GET_FEATURES, 8), refused(&m, 0, "size");
	m = message(VU_SET_FEATURES, 0), refused(&m, 0, "size");
	m = message(VU_SET_FEATURES, 16), refused(&m, 0, "size");
	m = message(VU_SET_MEM_TABLE, UINT32_MAX), refused(&m, 0, "longer");
	m = message(77, sizeof(m.payload.config)), assert_null(vu_head_refused(&m)); /* answered */
	m.size++, assert_non_null(vu_head_refused(&m));
	assert_null(vu_head_refused(&(struct vu_msg){.request = 3, .flags = VU_VERSION}));
}

/* Every row: a payload that is larger than the structure it is read into would overrun it. */
static void no_payload_is_larger_than_a_message(void **unused)
{
	(void)unused;
	for (uint32_t request = 0; request < 256; request++) {
		const struct vu_rule *r = vu_rule_of(request);

		if (!r)
			continue;
		assert_true(r->size_min <= r->size_max);
		assert_true(r->size_max <= sizeof(((struct vu_msg *)0)->payload));
	}
}

static void rings_that_the_device_does_not_have_are_refused(void **unused)
{
	static const uint32_t by_state[] = {VU_SET_VRING_NUM, VU_SET_VRING_BASE, VU_GET_VRING_BASE,
					    VU_SET_VRING_ENABLE};
	static const uint32_t by_word[] = {VU_SET_VRING_KICK, VU_SET_VRING_CALL, VU_SET_VRING_ERR};
	struct vu_msg m;

	(void)unused;
	for (size_t i = 0; i < sizeof(by_state) / sizeof(by_state[0]); i++) {
		m = state(by_state[i], RINGS - 1, 1), passes(&m, 0);
		m = state(by_state[i], RINGS, 1), refused(&m, 0, "no such virtqueue");
		m = state(by_state[i], UINT32_MAX, 1), refused(&m, 0, "no such virtqueue");
	}
	for (size_t i = 0; i < sizeof(by_word) / sizeof(by_word[0]); i++) {
		m = word(by_word[i], RINGS - 1), passes(&m, 1);
		m = word(by_word[i], RINGS), refused(&m, 1, "no such virtqueue");
		m = word(by_word[i], VU_VRING_NO_FD | 0xff), refused(&m, 0, "no such virtqueue");
	}
	m = message(VU_SET_VRING_ADDR, 40);
	m.payload.addr.index = UINT32_MAX;
	refused(&m, 0, "no such virtqueue");
}

static void ring_sizes_are_powers_of_two(void **unused)
{
	struct vu_msg m;

	(void)unused;
	m = state(VU_SET_VRING_NUM, 0, 1), passes(&m, 0);
	m = state(VU_SET_VRING_NUM, 0, 32768), passes(&m, 0);
	m = state(VU_SET_VRING_NUM, 0, 0), refused(&m, 0, "power of two");
	m = state(VU_SET_VRING_NUM, 0, 100), refused(&m, 0, "power of two");
	m = state(VU_SET_VRING_NUM, 0, 65536), refused(&m, 0, "power of two");
	terms.ring_max = 4096; /* an application's */
	m = state(VU_SET_VRING_NUM, 0, 4096), passes(&m, 0);
	m = state(VU_SET_VRING_NUM, 0, 8192), refused(&m, 0, "smaller rings");
	terms.ring_max = VU_VRING_SIZE_MAX;
	m = state(VU_SET_VRING_BASE, 0, 65536), refused(&m, 0, "16 bits");
	m = state(VU_SET_VRING_ENABLE, 0, 2), refused(&m, 0, "enabled by 1");
}

static void what_was_negotiated_decides_on_sizes_and_positions(void **unused)
{
	struct vu_msg m;

	(void)unused;
	terms.layout = &loose;
	m = state(VU_SET_VRING_NUM, 0, 100), passes(&m, 0);
	m = state(VU_SET_VRING_NUM, 0, 32768), passes(&m, 0);
	m = state(VU_SET_VRING_NUM, 0, 0), refused(&m, 0, "1 to 32768");
	m = state(VU_SET_VRING_NUM, 0, 32769), refused(&m, 0, "1 to 32768");
	m = state(VU_SET_VRING_BASE, 0, 0x812b812b), passes(&m, 0);
	m = state(VU_SET_VRING_BASE, 0, 0x812c812b), refused(&m, 0, "beyond the ring");
	terms.layout = &plain;
	m = state(VU_SET_VRING_NUM, 0, 100), refused(&m, 0, "power of two");
	m = state(VU_SET_VRING_BASE, 0, 0x812b812b), refused(&m, 0, "16 bits");
}

static void memory_tables_must_add_up(void **unused)
{
	struct vu_msg m;

	(void)unused;
	m = table(1), passes(&m, 1);
	m = table(8), passes(&m, 8);
	m = table(1), m.payload.mem.nregions = 0, refused(&m, 0, "no region");
	m = table(1), m.payload.mem.nregions = 9, refused(&m, 8, "no region, or more");
	m = table(1), m.payload.mem.nregions = 2, refused(&m, 2, "does not fit its number");
	m = table(2), m.payload.mem.nregions = 1, m.payload.mem.region[1].size = 0;
	passes(&m, 1); /* what does not count is not looked at */
	m = table(2), m.size -= 8, refused(&m, 2, "does not fit its number");
	m = table(1), m.size += 8, refused(&m, 1, "does not fit its number");
	m = table(2), m.payload.mem.region[1].size = 0, refused(&m, 2, "empty");
	m = table(2), m.payload.mem.region[1].gpa = UINT64_MAX - 0xffffe;
	refused(&m, 2, "past the end");
	m.payload.mem.region[1].gpa = UINT64_MAX - 0xfffff; /* its last byte is the last of all */
	passes(&m, 2);
	m = table(1), m.payload.mem.region[0].uva = UINT64_MAX, refused(&m, 1, "past the end");
	m = table(1), m.payload.mem.region[0].offset = 1ull << 63, refused(&m, 1, "any file");
	m = table(1), m.payload.mem.region[0].offset = INT64_MAX - 0x100000;
	passes(&m, 1);
	m.payload.mem.region[0].offset++;
	refused(&m, 1, "any file");
}

static void a_guest_has_so_many_bytes_at_most(void **unused)
{
	struct vu_msg m = table(2);

	(void)unused;
	m.payload.mem.region[0].size = MEM_MAX - 0x100000;
	passes(&m, 2);
	m.payload.mem.region[0].size++;
	refused(&m, 2, "more bytes");
	m.payload.mem.region[0].size = 1ull << 62;
	m.payload.mem.region[1].size = 1ull << 62;
	refused(&m, 2, "more bytes");
}

static void config_stays_within_its_space(void **unused)
{
	struct vu_msg m;

	(void)unused;
	m = config(VU_GET_CONFIG, 0, 256), passes(&m, 0);
	m = config(VU_GET_CONFIG, 256, 0), passes(&m, 0);
	m = config(VU_SET_CONFIG, 248, 8), passes(&m, 0);
	m = config(VU_GET_CONFIG, 249, 8), refused(&m, 0, "beyond");
	m = config(VU_GET_CONFIG, UINT32_MAX, 8), refused(&m, 0, "beyond");
	m = config(VU_GET_CONFIG, 0, 8), m.payload.config.size = 9, refused(&m, 0, "beyond");
	m = config(VU_GET_CONFIG, 0, 8), m.payload.config.size = UINT32_MAX;
	refused(&m, 0, "beyond");
}

static void descriptors_are_as_many_as_the_message_uses(void **unused)
{
	struct vu_msg m;

	(void)unused;
	m = message(VU_SET_OWNER, 0), refused(&m, 1, "more descriptors");
	m = word(VU_SET_FEATURES, 0), refused(&m, 8, "more descriptors");
	m = table(2), refused(&m, 1, "missing"), refused(&m, 3, "more descriptors");
	m = word(VU_SET_VRING_CALL, 0), refused(&m, 0, "missing"), refused(&m, 2, "more");
	m = word(VU_SET_VRING_CALL, VU_VRING_NO_FD), refused(&m, 1, "more descriptors");
	m = message(VU_SET_BACKEND_REQ_FD, 0), refused(&m, 0, "missing");
}

static void shared_memory_is_for_a_device_that_has_some(void **unused)
{
	const struct vu_terms with = {.nrings = 3, .shmem = 1 << 21}, *none = &terms;
	struct vu_msg m = word(VU_SET_PROTOCOL_FEATURES, 0x629 | VU_PROTOCOL_SHMEM);

	(void)unused;
	assert_null(vu_msg_refused(&m, 0, &with));
	assert_non_null(strstr(vu_msg_refused(&m, 0, none), "not offered"));
	/* rte_vhost would refuse a bit that it does not know. */
	assert_int_equal(vu_rule_of(m.request)->hide, VU_PROTOCOL_SHMEM);
	m = message(VU_GET_SHMEM_CONFIG, 0);
	assert_null(vu_msg_refused(&m, 0, &with));
	assert_non_null(strstr(vu_msg_refused(&m, 0, none), "no shared memory"));
	assert_non_null(strstr(vu_msg_refused(&m, 1, &with), "more descriptors"));
	m = message(VU_GET_SHMEM_CONFIG, sizeof(struct vu_shmem_config));
	assert_non_null(strstr(vu_head_refused(&m), "longer than any"));
	m = message(VU_GET_SHMEM_CONFIG, 8);
	assert_non_null(strstr(vu_msg_refused(&m, 0, &with), "wrong size"));
}

static void unoffered_features_are_named(void **state)
{
	char text[400], tiny[8];

	(void)state;
	vu_features_text(1ull << 40, text, sizeof(text));
	assert_string_equal(text, "bit 40 (RING_RESET: give the device queue_reset=off)");
	vu_features_text(1ull << 35 | 1ull << 5 | 1ull << 63, text, sizeof(text));
	assert_string_equal(text, "bit 5, 35 (IN_ORDER: take in_order=on off the device), 63");
	vu_features_text(UINT64_MAX, text, sizeof(text)); /* fits, or is cut */
	assert_in_range(strlen(text), 200, sizeof(text) - 1);
	vu_features_text(UINT64_MAX, tiny, sizeof(tiny));
	assert_string_equal(tiny, "bit 0, ");
	vu_features_text(0, text, sizeof(text));
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_qemu_sends_passes),
		cmocka_unit_test(requests_of_other_devices_are_refused),
		cmocka_unit_test(the_header_must_be_that_of_a_request),
		cmocka_unit_test(no_payload_is_larger_than_a_message),
		cmocka_unit_test(rings_that_the_device_does_not_have_are_refused),
		cmocka_unit_test(ring_sizes_are_powers_of_two),
		cmocka_unit_test(what_was_negotiated_decides_on_sizes_and_positions),
		cmocka_unit_test(memory_tables_must_add_up),
		cmocka_unit_test(a_guest_has_so_many_bytes_at_most),
		cmocka_unit_test(config_stays_within_its_space),
		cmocka_unit_test(descriptors_are_as_many_as_the_message_uses),
		cmocka_unit_test(shared_memory_is_for_a_device_that_has_some),
		cmocka_unit_test(unoffered_features_are_named),
	};

	return cmocka_run_group_tests_name("vu_rules", tests, NULL, NULL);
}
