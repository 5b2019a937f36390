/* SPDX-License-Identifier: BSD-3-Clause */
/* struct zv_opts: range and default of each option, in one table. */
#include "opts.h"

#include "socket/core/credit.h"
#include "transport.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define KNOWN_FLAGS                                                                                \
	(ZV_OPT_BUSY_POLL | ZV_OPT_NO_HUGE | ZV_OPT_NO_HELLO | ZV_OPT_NO_CHANNEL | ZV_OPT_BROKER | \
	 ZV_OPT_PACKED | ZV_OPT_SPLIT | ZV_OPT_DISK_MEMORY | ZV_OPT_NO_DGRAM)

static const struct opt {
	const char *name;
	uint16_t offset, size;
	bool power_of_two;
	uint64_t preset; /* what 0 stands for; 0: see default_rx_memory() */
	uint64_t lo, hi;
} table[] = {
#define OPT(field, ...)                                                                            \
	{                                                                                          \
		.name = #field, .offset = offsetof(struct zv_opts, field),                         \
		.size = sizeof(((struct zv_opts *)0)->field), __VA_ARGS__                          \
	}
	OPT(queues, .preset = 1, .lo = 1, .hi = ZV_QUEUES_MAX),
	OPT(ring_size, .preset = 256, .lo = 16, .hi = 32768, .power_of_two = true),
	OPT(rx_buf, .preset = 65536, .lo = 64, .hi = 1u << 20),
	OPT(tx_buf, .preset = 65536, .lo = 64, .hi = 1u << 20),
	OPT(buf_alloc, .preset = 262144, .lo = 4096, .hi = 1u << 30),
	OPT(max_conns, .preset = 65536, .lo = 1, .hi = 1u << 24),
	OPT(connect_timeout_ns, .preset = 2000000000u, .hi = UINT64_MAX),
	OPT(close_timeout_ns, .preset = 8000000000u, .hi = UINT64_MAX),
	OPT(hello_timeout_ns, .preset = 1000000000u, .hi = UINT64_MAX),
	OPT(spin_ns, .preset = 50000, .hi = UINT64_MAX),
	OPT(tx_timeout_ns, .preset = 5000000000u, .lo = 100000000, .hi = UINT64_MAX),
	/* Last: its preset is computed from queues and buf_alloc, which are complete by then. */
	OPT(rx_memory, .lo = 65536, .hi = UINT64_MAX),
#undef OPT
};

/* The caller's structure may be newer and therefore larger: fields unknown here must be 0. */
static int check_unknown(const struct zv_opts *in)
{
	const unsigned char *p = (const unsigned char *)in;

	for (size_t i = sizeof(*in); i < in->size; i++)
		if (p[i])
			return zv_err(-EINVAL,
				      "zv_open: this library knows the first %zu bytes of struct "
				      "zv_opts, and there is more in it that is not 0: it is older "
				      "than the header that the program was built with",
				      sizeof(*in));
	return 0;
}

/* Enough for the first connection of each queue to get all of buf_alloc. */
static uint64_t default_rx_memory(const struct zv_opts *o)
{
	uint64_t least = (uint64_t)o->buf_alloc * ZV_RX_SHARE * o->queues;

	return least > 256u << 20 ? least : 256u << 20;
}

static uint64_t get(const struct zv_opts *o, const struct opt *opt)
{
	const char *p = (const char *)o + opt->offset;
	uint32_t small;
	uint64_t v;

	if (opt->size == sizeof(v)) {
		memcpy(&v, p, sizeof(v));
		return v;
	}
	memcpy(&small, p, sizeof(small));
	return small;
}

static void set(struct zv_opts *o, const struct opt *opt, uint64_t v)
{
	char *p = (char *)o + opt->offset;
	uint32_t small = (uint32_t)v;

	if (opt->size == sizeof(v))
		memcpy(p, &v, sizeof(v));
	else
		memcpy(p, &small, sizeof(small));
}

static int complete(struct zv_opts *o, const struct opt *opt)
{
	uint64_t v = get(o, opt);

	if (!v) {
		v = opt->preset ? opt->preset : default_rx_memory(o);
		set(o, opt, v);
	}
	if ((v < opt->lo || v > opt->hi) && opt->hi == UINT64_MAX)
		return zv_err(-EINVAL, "zv_open: option %s is %llu, must be %llu or more",
			      opt->name, (unsigned long long)v, (unsigned long long)opt->lo);
	if (v < opt->lo || v > opt->hi)
		return zv_err(-EINVAL, "zv_open: option %s is %llu, must be %llu..%llu", opt->name,
			      (unsigned long long)v, (unsigned long long)opt->lo,
			      (unsigned long long)opt->hi);
	if (opt->power_of_two && (v & (v - 1)))
		return zv_err(-EINVAL, "zv_open: option %s is %llu, must be a power of two",
			      opt->name, (unsigned long long)v);
	return 0;
}

int opts_complete(struct zv_opts *o, const struct zv_opts *in)
{
	int ret = 0;

	memset(o, 0, sizeof(*o));
	if (in) {
		if (in->size < sizeof(in->size))
			return zv_err(-EINVAL,
				      "zv_open: zv_opts.size is not set: set it to sizeof(struct "
				      "zv_opts)");
		if ((ret = check_unknown(in)))
			return ret;
		memcpy(o, in, in->size < sizeof(*o) ? in->size : sizeof(*o));
	}
	if (o->flags & ~KNOWN_FLAGS)
		return zv_err(-EINVAL, "zv_open: option flags has unknown bits 0x%x",
			      o->flags & ~KNOWN_FLAGS);
	o->size = sizeof(*o);
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]) && ret == 0; i++)
		ret = complete(o, &table[i]);
	return ret;
}
