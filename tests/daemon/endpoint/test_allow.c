/* SPDX-License-Identifier: BSD-3-Clause */
/* What the rules of tcp_allow have, and SOCKS5 messages, whole and broken: pure functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "endpoint/tcp_out/allow.h"
#include "endpoint/tcp_out/socks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static struct allow_rule rules[8];
static unsigned n_rules;

static void set(const char *a, const char *b)
{
	n_rules = 0;
	assert_true(allow_read(&rules[n_rules++], a));
	if (b)
		assert_true(allow_read(&rules[n_rules++], b));
}

static struct allow_addr addr(const char *text)
{
	uint8_t b[16];

	if (inet_pton(AF_INET, text, b) == 1)
		return allow_addr_make(b, 4);
	assert_int_equal(inet_pton(AF_INET6, text, b), 1);
	return allow_addr_make(b, 16);
}

static bool has(const char *text, uint16_t port)
{
	struct allow_addr a = addr(text);

	return allow_address(rules, n_rules, &a, port);
}

static bool leads(const char *text, uint16_t port)
{
	struct allow_addr a = addr(text);

	return allow_resolved(rules, n_rules, &a, port);
}

static void networks_and_ports(void **state)
{
	(void)state;
	set("10.0.0.0/8:443", "[fd00::]/8:*");
	assert_true(has("10.0.0.1", 443) && has("10.255.255.255", 443));
	assert_false(has("10.0.0.1", 80) || has("11.0.0.1", 443) || has("9.255.255.255", 443));
	assert_true(has("fd12::1", 1) && has("fdff::", 65535));
	assert_false(has("fe00::1", 1) || has("::1", 1));
	assert_true(has("::ffff:10.1.2.3", 443)); /* an IPv4 address, however it is written */
	set("192.0.2.7:8000-8010", NULL);
	assert_true(has("192.0.2.7", 8000) && has("192.0.2.7", 8010));
	assert_false(has("192.0.2.7", 7999) || has("192.0.2.7", 8011) || has("192.0.2.6", 8000));
	set("10.1.2.3/8:1", "[fd00::1/64]:2");
	assert_true(has("10.9.9.9", 1) && has("fd00::9", 2));
	assert_false(has("fd00:0:0:1::", 2));
	set("192.0.2.128/25:1", NULL);
	assert_true(has("192.0.2.255", 1));
	assert_false(has("192.0.2.127", 1));
	n_rules = 0;
	assert_false(has("10.0.0.1", 443) || allow_name(rules, 0, "a", 1));
}

/* Everything, but for what nobody means by it. */
static void special_addresses_need_rules_of_their_own(void **state)
{
	static const char *const specials[] = {"127.0.0.1",
					       "127.9.9.9",
					       "0.0.0.0",
					       "0.1.2.3",
					       "169.254.169.254",
					       "224.0.0.1",
					       "255.255.255.255",
					       "::1",
					       "::",
					       "fe80::1",
					       "ff02::1",
					       "::ffff:127.0.0.1",
					       "100.100.100.200",
					       "168.63.129.16",
					       "fd00:ec2::254",
					       "fd20:ce::254",
					       "fd00:c1::a9fe:a9fe",
					       "192.0.0.192",
					       "64:ff9b:1::c000:201"};

	(void)state;
	set("0.0.0.0/0:*", "[::]/0:*");
	assert_true(has("192.0.2.1", 1) && has("2001:db8::1", 1));
	for (unsigned i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
		if (has(specials[i], 80) || leads(specials[i], 80))
			fail_msg("%s", specials[i]);
	set("[::]/0:*", NULL);
	assert_false(has("192.0.2.1", 1)); /* IPv6 alone */
	set("127.0.0.1:80", "[::1]:80");
	assert_true(has("127.0.0.1", 80) && has("::1", 80) && has("::ffff:127.0.0.1", 80));
	assert_false(has("127.0.0.2", 80) || has("127.0.0.1", 81));
	set("127.0.0.0/8:80", "169.254.169.254:80");
	assert_true(has("127.1.2.3", 80) && has("169.254.169.254", 80));
	assert_false(has("169.254.169.253", 80));
	set("[fd00::]/8:80", "[fd00:ec2::254]:81");
	assert_true(has("fd00:ec3::1", 80) && has("fd00:ec2::254", 81));
	assert_false(has("fd00:ec2::254", 80));
	set("126.0.0.0/7:80", NULL); /* more than the loopback */
	assert_true(has("126.0.0.1", 80));
	assert_false(has("127.0.0.1", 80));
}

/* IPv6 addresses that a gateway or a tunnel translates to an IPv4 address. */
static void special_addresses_in_others(void **state)
{
	static const struct {
		const char *special, *ordinary, *rule;
	} of[] = {
		{"64:ff9b::127.0.0.1", "64:ff9b::192.0.2.1", "[64:ff9b::127.0.0.0]/104:80"},
		{"64:ff9b::169.254.169.254", "64:ff9b::10.0.0.1", "[64:ff9b::169.254.0.0]/112:80"},
		{"64:ff9b::0.0.0.0", "64:ff9b::8.8.8.8", "[64:ff9b::]/104:80"},
		{"64:ff9b::100.100.100.200", "64:ff9b::100.100.100.201",
		 "[64:ff9b::100.100.100.200]:80"},
		{"::ffff:0:127.0.0.1", "::ffff:0:192.0.2.1", "[::ffff:0:127.0.0.0]/104:80"},
		{"::127.0.0.1", "::192.0.2.1", "[::127.0.0.0]/104:80"},
		{"2002:7f00:1::1", "2002:c000:201::1", "[2002:7f00::]/24:80"},
		{"2002:a9fe:a9fe::a9fe:a9fe", "2002:a9fd::1", "[2002:a9fe::]/32:80"},
		/* Teredo: the server, and the client, which is inverted (127.0.0.1) */
		{"2001:0:7f00:1::3fff:fdfe", "2001:0:c000:201::3fff:fdfe", "[2001:0:7f00::]/40:80"},
		{"2001:0:c000:201::80ff:fffe", "2001:0:c000:202::3fff:fdfe",
		 "[2001:0:c000:201::80ff:0]/112:80"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		set("0.0.0.0/0:*", "[::]/0:*");
		if (has(of[i].special, 80) || leads(of[i].special, 80))
			fail_msg("%s is allowed", of[i].special);
		if (!has(of[i].ordinary, 80) || !leads(of[i].ordinary, 80))
			fail_msg("%s is refused", of[i].ordinary);
		set(of[i].rule, NULL);
		if (!has(of[i].special, 80))
			fail_msg("%s has no %s", of[i].rule, of[i].special);
	}
	set("127.0.0.1:80", NULL); /* the rule of the address inside is none for this one */
	assert_false(has("64:ff9b::127.0.0.1", 80) || leads("64:ff9b::127.0.0.1", 80));
	set("[64:ff9b::]/96:80", NULL);
	assert_true(has("64:ff9b::10.0.0.1", 80));
	assert_false(has("64:ff9b::10.0.0.1", 81) || has("64:ff9b::127.0.0.1", 80));
}

static void names(void **state)
{
	(void)state;
	set("example.org:80", "127.0.0.1:81");
	assert_true(allow_name(rules, n_rules, "EXAMPLE.org", 80));
	assert_true(allow_name(rules, n_rules, "example.org.", 80));
	assert_false(allow_name(rules, n_rules, "example.org", 81) ||
		     allow_name(rules, n_rules, "www.example.org", 80) ||
		     allow_name(rules, n_rules, "xexample.org", 80) ||
		     allow_name(rules, n_rules, "", 80) || allow_name(rules, n_rules, ".", 80));
	assert_true(leads("192.0.2.1", 80) && leads("10.0.0.1", 80));
	assert_false(leads("127.0.0.1", 80)); /* who serves the name may say so: rebinding */
	assert_true(leads("127.0.0.1", 81));
	assert_false(allow_some(rules, n_rules, 80)); /* another name is not even looked up */
	assert_true(allow_some(rules, n_rules, 81));
}

static void what_is_no_rule(void **state)
{
	static const char *const bad[] = {"",
					  "10.0.0.1",
					  "10.0.0.1:",
					  "10.0.0.1:0",
					  "10.0.0.1:65536",
					  "10.0.0.1:80-70",
					  "10.0.0.1:80-",
					  "10.0.0.1:-80",
					  "10.0.0.1:http",
					  "10.0.0.0/33:80",
					  "10.0.0.0/:80",
					  "10.0.0.0/x:80",
					  "10.0.0.256:80",
					  "::1:80",
					  "[::1:80",
					  "[::1]x:80",
					  "[::1]/129:80",
					  "[]:80",
					  ":80",
					  "exa mple.org:80",
					  "example.org/24:80",
					  "*.example.org:80",
					  "a_b.123:80",
					  "10.0.0.0/8/8:80"};
	struct allow_rule r;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (allow_read(&r, bad[i]))
			fail_msg("\"%s\" is taken", bad[i]);
}

static void addresses_of_sockets(void **state)
{
	struct sockaddr_storage ss;
	struct allow_addr a = addr("192.0.2.9"), b;

	(void)state;
	assert_int_equal(allow_sockaddr(&a, 80, &ss), sizeof(struct sockaddr_in));
	assert_int_equal(ss.ss_family, AF_INET);
	assert_int_equal(((struct sockaddr_in *)&ss)->sin_port, htons(80));
	b = allow_addr_of((struct sockaddr *)&ss);
	assert_memory_equal(&a, &b, sizeof(a));
	a = addr("2001:db8::9");
	assert_int_equal(allow_sockaddr(&a, 80, &ss), sizeof(struct sockaddr_in6));
	b = allow_addr_of((struct sockaddr *)&ss);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* ---- SOCKS5 ---- */

/* Reads @len bytes of @msg as they are asked for; true: exactly these are the message. */
static bool whole(int (*more)(const uint8_t *, size_t), const uint8_t *msg, size_t len)
{
	size_t have = 0;
	int want;

	while ((want = more(msg, have)) > 0) {
		if (have + (size_t)want > len)
			return false;
		have++; /* one at a time */
	}
	return want == 0 && have == len;
}

static void greetings(void **state)
{
	static const uint8_t none[] = {5, 1, 0}, two[] = {5, 2, 2, 0}, other[] = {5, 1, 2},
			     empty[3] = {5, 0}, four[] = {4, 1};
	uint8_t all[2 + 255] = {5, 255};

	(void)state;
	assert_true(whole(socks_greeting_more, none, 3) && socks_greeting_fits(none));
	assert_true(whole(socks_greeting_more, two, 4) && socks_greeting_fits(two));
	assert_true(whole(socks_greeting_more, other, 3));
	assert_false(socks_greeting_fits(other));
	assert_true(whole(socks_greeting_more, empty, 2));
	assert_false(socks_greeting_fits(empty));
	assert_int_equal(socks_greeting_more(four, 1), -EPROTO);
	assert_true(whole(socks_greeting_more, all, sizeof(all)));
	assert_true(sizeof(all) <= SOCKS_MSG_MAX);
}

static void requests(void **state)
{
	static const uint8_t v4[] = {5, 1, 0, 1, 192, 0, 2, 7, 1, 187};
	static const uint8_t name[] = {5, 1, 0, 3, 3, 'a', '.', 'b', 0, 80};
	static const uint8_t bind[] = {5, 2, 0, 1, 1, 1, 1, 1, 0, 80};
	static const uint8_t zero[] = {5, 1, 0, 3, 3, 'a', 0, 'b', 0, 80};
	static const uint8_t empty[] = {5, 1, 0, 3, 0, 0, 80};
	static const uint8_t kind[] = {5, 1, 0, 2, 9};
	static const uint8_t no_port[] = {5, 1, 0, 1, 1, 1, 1, 1, 0, 0};
	uint8_t v6[22] = {5, 1, 0, 4, 0xfd, [19] = 1, 0, 80}, longest[SOCKS_MSG_MAX];
	struct socks_request r;

	(void)state;
	assert_true(whole(socks_request_more, v4, sizeof(v4)));
	assert_int_equal(socks_request_read(&r, v4), SOCKS_OK);
	assert_int_equal(r.addr_len, 4);
	assert_memory_equal(r.addr, v4 + 4, 4);
	assert_int_equal(r.port, 443);
	assert_true(whole(socks_request_more, v6, sizeof(v6)));
	assert_int_equal(socks_request_read(&r, v6), SOCKS_OK);
	assert_int_equal(r.addr_len, 16);
	assert_int_equal(r.port, 80);
	assert_true(whole(socks_request_more, name, sizeof(name)));
	assert_int_equal(socks_request_read(&r, name), SOCKS_OK);
	assert_string_equal(r.name, "a.b");
	assert_int_equal(socks_request_read(&r, bind), SOCKS_BAD_COMMAND);
	assert_int_equal(socks_request_read(&r, zero), SOCKS_BAD_ADDRESS);
	assert_true(whole(socks_request_more, empty, sizeof(empty)));
	assert_int_equal(socks_request_read(&r, empty), SOCKS_BAD_ADDRESS);
	assert_true(whole(socks_request_more, kind, sizeof(kind)));
	assert_int_equal(socks_request_read(&r, kind), SOCKS_BAD_ADDRESS);
	assert_int_equal(socks_request_read(&r, no_port), SOCKS_BAD_ADDRESS);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "\5\1\0\3\377", 5);
	assert_true(whole(socks_request_more, longest, sizeof(longest)));
	assert_int_equal(socks_request_read(&r, longest), SOCKS_OK);
	assert_int_equal(strlen(r.name), 255);
	longest[0] = 6;
	assert_int_equal(socks_request_more(longest, 1), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_and_ports),
		cmocka_unit_test(special_addresses_need_rules_of_their_own),
		cmocka_unit_test(special_addresses_in_others),
		cmocka_unit_test(names),
		cmocka_unit_test(what_is_no_rule),
		cmocka_unit_test(addresses_of_sockets),
		cmocka_unit_test(greetings),
		cmocka_unit_test(requests),
	};

	return cmocka_run_group_tests_name("allow", tests, NULL, NULL);
}
