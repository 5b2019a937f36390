/* SPDX-License-Identifier: BSD-3-Clause */
/* qemu-args: the QEMU options that make a VM the daemon's guest. Generated here from the answer to
 * "guests"; the daemon is not involved. */
#include "ctl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVENT_QUEUES	  1 /* beside the queue pairs */
#define RING_SIZE_DEFAULT 256
#define CONFIG_BYTES	  8 /* le64 guest_cid */
#define VIRTIO_ID_VSOCK	  19

static void add(json_t *args, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void add(json_t *args, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0 || json_array_append_new(args, json_string(text)) < 0)
		ctl_die(CTL_FAILED, "out of memory");
	free(text);
}

/* In an option's value QEMU takes ",," for a comma. */
static char *quote_comma(const char *path)
{
	char *out = malloc(strlen(path) * 2 + 1), *p = out;

	if (!out)
		ctl_die(CTL_FAILED, "out of memory");
	for (; *path; path++) {
		*p++ = *path;
		if (*path == ',')
			*p++ = ',';
	}
	*p = 0;
	return out;
}

#define MIB	       (1ull << 20)
#define MEMORY_MIB_MAX (1u << 30) /* 1024T */

/* MiB of a unit of QEMU's; 0: it has no such unit. */
static double unit_mib(char unit)
{
	switch (unit) {
	case 'k':
	case 'K':
		return 1.0 / 1024;
	case 0:
	case 'm':
	case 'M':
		return 1;
	case 'g':
	case 'G':
		return 1024;
	case 't':
	case 'T':
		return 1024 * 1024;
	default:
		return 0;
	}
}

/*
 * MiB of "512", "512M" or "1.5g"; exits if it is no size. Of a bare number QEMU's -m makes MiB and
 * a memory backend bytes, and the latter has to be whole pages: both are given what is read here.
 */
static uint64_t memory_mib(const struct ctl *c)
{
	const char *size = c->memory ? c->memory : "512M";
	size_t digits = strspn(size, "0123456789.");
	char *end = NULL;
	double mib = digits ? strtod(size, &end) * unit_mib(size[digits]) : 0;

	if (!(mib >= 1 && mib <= MEMORY_MIB_MAX) || mib != (double)(uint64_t)mib ||
	    end != size + digits || (size[digits] && size[digits + 1]))
		ctl_die(CTL_USAGE,
			"--memory=%s is no size; write 512M or 2G (whole MiB, in K, M, G or T)",
			size);
	if (c->hugepages && (uint64_t)mib % 2)
		ctl_die(CTL_USAGE, "--memory=%s: with --hugepages it has to be a multiple of 2M",
			size);
	return (uint64_t)mib;
}

/* @region: the VM's, as "guests" shows it; NULL: it has none. */
static bool is_kind(const json_t *region, const char *kind)
{
	return region && strcmp(json_string_value(json_object_get(region, "kind")), kind) == 0;
}

static void add_memory(const struct ctl *c, json_t *args, const json_t *region, uint64_t size)
{
	/* VIRTIO shared memory comes from the daemon, with the vsock device. */
	uint64_t share =
		is_kind(region, "virtio")
			? 0
			: (uint64_t)json_integer_value(json_object_get(region, "size")) / MIB;
	bool nvdimm = is_kind(region, "nvdimm");

	/* The backend maps the guest's memory, so it must be shared. */
	add(args, "-m");
	if (nvdimm)
		add(args, "%" PRIu64 "M,slots=1,maxmem=%" PRIu64 "M", size, size + share);
	else
		add(args, "%" PRIu64 "M", size);
	add(args, "-object");
	add(args, "memory-backend-memfd,id=zvmem,size=%" PRIu64 "M,share=on%s", size,
	    c->hugepages ? ",hugetlb=on,hugetlbsize=2M" : "");
	add(args, "-machine");
	add(args, "memory-backend=zvmem%s", nvdimm ? ",nvdimm=on" : "");
	if (share) {
		char *path = quote_comma(json_string_value(json_object_get(region, "path")));

		add(args, "-object");
		add(args, "memory-backend-file,id=zvregion,mem-path=%s,share=on,size=%lluM", path,
		    (unsigned long long)share);
		add(args, "-device");
		add(args, "%s,memdev=zvregion", nvdimm ? "nvdimm" : "ivshmem-plain");
		free(path);
	}
}

/* True: use the generic device of QEMU, which has VIRTIO shared memory as well. Of several devices
 * only the first has it. */
static bool is_generic(const struct ctl *c, const json_t *guest, unsigned i)
{
	return c->multi_queue || (i == 0 && is_kind(json_object_get(guest, "region"), "virtio"));
}

static void add_device(const struct ctl *c, json_t *args, const json_t *guest, unsigned i)
{
	bool several = json_array_size(json_object_get(guest, "sockets")) > 1; /* a pair each */
	const char *mode = json_string_value(json_object_get(guest, "mode"));
	json_int_t pairs = json_integer_value(json_object_get(guest, "queues"));
	json_int_t ring = json_integer_value(json_object_get(guest, "ring_size"));
	char *path = quote_comma(
		json_string_value(json_array_get(json_object_get(guest, "sockets"), i)));

	/* server=on waits for the daemon, because the device cannot start without its backend. */
	add(args, "-chardev");
	add(args, "socket,id=zvsock%u,path=%s%s", i, path,
	    mode && strcmp(mode, "client") == 0 ? ",server=on" : "");
	add(args, "-device");
	/* iommu_platform: the bit passes without it as well, but QEMU would not translate. */
	if (is_generic(c, guest, i))
		add(args,
		    "vhost-user-test-device-pci,chardev=zvsock%u,virtio-id=%d,num_vqs=%d,"
		    "vq_size=%d,config_size=%d,iommu_platform=on",
		    i, VIRTIO_ID_VSOCK, (several ? 1 : (int)pairs) * 2 + EVENT_QUEUES,
		    ring ? (int)ring : RING_SIZE_DEFAULT, CONFIG_BYTES);
	else
		add(args, "vhost-user-vsock-pci,chardev=zvsock%u", i);
	free(path);
}

/* Prints a shell word, quoted if necessary. */
static void print_word(const char *w)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789-_=,./:+@%";

	if (*w && w[strspn(w, plain)] == 0) {
		(void)fputs(w, stdout);
		return;
	}
	(void)fputc('\'', stdout);
	for (; *w; w++) {
		if (*w == '\'')
			(void)fputs("'\\''", stdout);
		else
			(void)fputc(*w, stdout);
	}
	(void)fputc('\'', stdout);
}

int ctl_qemu_args(struct ctl *c)
{
	uint64_t memory = memory_mib(c); /* before the daemon is asked: wrong use is told first */
	json_t *answer = ctl_ask(c, "guests"), *guest, *args = json_array(), *arg;
	size_t i, n;

	guest = json_array_get(json_object_get(answer, "guests"), 0);
	n = json_array_size(json_object_get(guest, "sockets"));
	if (!n)
		ctl_die(CTL_FAILED,
			"%s is a device that zvsockd drives in this guest; QEMU's arguments are "
			"what the zvsockd of its host prints",
			json_string_value(json_object_get(guest, "name")));
	add_memory(c, args, json_object_get(guest, "region"), memory);
	for (i = 0; i < n; i++)
		add_device(c, args, guest, (unsigned)i);
	if (n == 1 && !is_generic(c, guest, 0) &&
	    json_integer_value(json_object_get(guest, "queues")) > 1)
		(void)fprintf(stderr,
			      "zvsockctl: this device carries one queue pair of the guest's "
			      "several; --multi-queue (QEMU 10.2 and later) carries all\n");
	json_decref(answer);
	if (c->json) {
		ctl_print_json(json_pack("{so}", "args", args), false);
		return CTL_OK;
	}
	json_array_foreach(args, i, arg) {
		if (i)
			(void)fputc(' ', stdout);
		print_word(json_string_value(arg));
	}
	(void)fputc('\n', stdout);
	json_decref(args);
	return CTL_OK;
}
