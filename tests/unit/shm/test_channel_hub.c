/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand channels between two threads, one bell: a channel whose receiver sleeps is named by a
 * control message on one more channel, the hub, whose own bell is an eventfd. This is the recipe of
 * the README. A lost wake-up hangs, and the tests' time limit is the judge.
 */
#include "channel_pair.h"
#include "shm_ring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CHANNELS 1000u
#define MESSAGES 40000u

struct hub {
	struct shm_region r;
	struct shm_channel_desc hub_desc, desc[CHANNELS];
	struct shm_channel *hub[2], *ch[CHANNELS][2];
	struct name {
		struct hub *h;
		uint32_t id;
	} name[CHANNELS];
	int fd;
	const char *wrong;
};

/* The sender's way to wake the receiver of one channel. */
static int say_name(void *arg)
{
	struct name *n = arg;
	int rc = shm_channel_control(n->h->hub[0], n->id, 0);

	return rc == 1 ? 0 : rc ? rc : -ENOBUFS;
}

static void open_channel(struct hub *h, uint32_t i)
{
	struct shm_channel_opts o = {.size = sizeof(o), .wake = say_name, .wake_fd = -1};

	h->name[i] = (struct name){h, i};
	o.wake_arg = &h->name[i];
	assert_int_equal(shm_channel_format(h->r.addr, h->r.size, &h->desc[i]), 0);
	assert_int_equal(
		shm_channel_attach(&h->ch[i][0], h->r.addr, h->r.size, &h->desc[i], SHM_ROLE_A, &o),
		0);
	assert_int_equal(shm_channel_attach(&h->ch[i][1], h->r.addr, h->r.size, &h->desc[i],
					    SHM_ROLE_B, NULL),
			 0);
	assert_int_equal(shm_channel_arm(h->ch[i][1], SHM_WANT_DATA, 0), 0);
}

/* Sends numbered messages on channels by chance, some in bursts; a full channel is tried again. */
static void *sender(void *arg)
{
	uint64_t seed = 5, sent[CHANNELS] = {0};
	struct hub *h = arg;

	for (unsigned n = 0; n < MESSAGES; n++) {
		struct shm_msg m = {.len = 8};
		uint32_t i;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		i = (uint32_t)(seed >> 40) % (n & 1024 ? CHANNELS : 3);
		m.data = &sent[i];
		while (shm_channel_send(h->ch[i][0], &m, 1) == 0)
			sched_yield();
		sent[i]++;
		if (shm_channel_notify(h->ch[i][0]) < 0)
			h->wrong = "a channel's receiver was not told";
		if (shm_channel_notify(h->hub[0]) < 0)
			h->wrong = "the hub did not wake";
	}
	return NULL;
}

/* Takes all of a channel's messages, and sleeps on it again. How many there were. */
static unsigned serve(struct hub *h, uint32_t i, uint64_t *next)
{
	struct shm_channel *ch = h->ch[i][1];
	struct shm_msg m[8];
	unsigned got = 0;
	int n;

	shm_channel_disarm(ch);
	do {
		while ((n = shm_channel_recv(ch, m, 8)) > 0) {
			for (int k = 0; k < n; k++, got++)
				if (*(uint64_t *)m[k].data != (*next)++)
					h->wrong = "not the next message of its channel";
			(void)shm_channel_release(ch, m, (unsigned)n);
		}
	} while (shm_channel_arm(ch, SHM_WANT_DATA, 0) == 1);
	return got;
}

static void a_thousand_channels_share_a_bell(void **state)
{
	struct hub *h = *state;
	uint64_t next[CHANNELS] = {0};
	unsigned got = 0, sleeps = 0;
	struct shm_msg m[16];
	eventfd_t unused;
	pthread_t t;
	int n;

	assert_int_equal(pthread_create(&t, NULL, sender, h), 0);
	while (got < MESSAGES && !h->wrong) {
		n = shm_channel_recv(h->hub[1], m, 16);
		assert_true(n >= 0);
		for (int k = 0; k < n; k++) {
			assert_int_equal(m[k].kind, SHM_MSG_CONTROL);
			assert_true(m[k].len < CHANNELS);
			got += serve(h, m[k].len, &next[m[k].len]);
		}
		(void)shm_channel_notify(h->hub[1]);
		if (n || got == MESSAGES)
			continue;
		if (shm_channel_arm(h->hub[1], SHM_WANT_DATA, 0) == 0) {
			sleeps++;
			assert_int_equal(eventfd_read(h->fd, &unused), 0);
		}
		shm_channel_disarm(h->hub[1]);
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	if (h->wrong)
		fail_msg("%s", h->wrong);
	print_message("%u sleeps; a channel takes %lu bytes\n", sleeps,
		      (unsigned long)h->desc[0].length);
}

static int setup(void **state)
{
	struct hub *h = calloc(1, sizeof(*h));
	struct shm_channel_opts o = {.size = sizeof(o)};
	uint64_t at;

	/* As many names as there are channels fit: each is said once for each time it is armed. */
	shm_channel_desc_init(&h->hub_desc, 0, 1);
	h->hub_desc.dir[0].entries = 1024;
	h->hub_desc.dir[1].entries = SHM_ENTRIES_MIN;
	h->hub_desc.dir[0].classes = h->hub_desc.dir[1].classes = 0;
	h->hub_desc.length = shm_channel_bytes(&h->hub_desc);
	at = h->hub_desc.length;
	for (uint32_t i = 0; i < CHANNELS; i++) {
		shm_channel_desc_init(&h->desc[i], at, 1);
		for (int d = 0; d < 2; d++) {
			h->desc[i].dir[d].entries = SHM_ENTRIES_MIN;
			h->desc[i].dir[d].classes = 0;
		}
		h->desc[i].length = shm_channel_bytes(&h->desc[i]);
		at += h->desc[i].length;
	}
	assert_int_equal(shm_region_create(&h->r, "hub", (size_t)at, 0), 0);
	h->fd = o.wake_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(shm_channel_format(h->r.addr, h->r.size, &h->hub_desc), 0);
	assert_int_equal(
		shm_channel_attach(&h->hub[0], h->r.addr, h->r.size, &h->hub_desc, SHM_ROLE_A, &o),
		0);
	assert_int_equal(shm_channel_attach(&h->hub[1], h->r.addr, h->r.size, &h->hub_desc,
					    SHM_ROLE_B, NULL),
			 0);
	for (uint32_t i = 0; i < CHANNELS; i++)
		open_channel(h, i);
	*state = h;
	return 0;
}

static int teardown(void **state)
{
	struct hub *h = *state;

	for (uint32_t i = 0; i < CHANNELS; i++)
		for (int k = 0; k < 2; k++)
			shm_channel_detach(h->ch[i][k]);
	shm_channel_detach(h->hub[0]);
	shm_channel_detach(h->hub[1]);
	close(h->fd);
	shm_region_destroy(&h->r);
	free(h);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_thousand_channels_share_a_bell, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
