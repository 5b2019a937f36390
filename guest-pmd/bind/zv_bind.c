/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: options, and reports as text or JSON. */
#include "bind.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT ""

enum { EXIT_BAD = 1, EXIT_USAGE = 2 };

static const char usage[] =
	"usage: zv-bind [--json] status\n"
	"       zv-bind [--json] check\n"
	"       zv-bind [--json] bind [--driver vfio-pci|uio_pci_generic] BDF...\n"
	"       zv-bind [--json] unbind BDF...\n"
	"       zv-bind [--json] hugepages N\n"
	"       zv-bind [--json] dax [--force] [NAMESPACE]\n"
	"\n"
	"Prepares a guest for the device URIs vfio:BDF and uio:BDF.\n"
	"\n"
	"  status     virtio-vsock devices, their drivers, IOMMU, hugepages, limits\n"
	"  check      whether vfio: or uio: can open each device, and if not, what to do; exit\n"
	"             code 1 then, also while the kernel's driver has it; shared memory as well\n"
	"  bind       binds devices to vfio-pci where an IOMMU translates for them, else to\n"
	"             uio_pci_generic, whose DMA is not confined; loads the modules\n"
	"  unbind     gives them back to the kernel's own driver\n"
	"  hugepages  makes the pool of 2 MiB hugepages N pages large\n"
	"  dax        makes /dev/daxX.Y of the VM's NVDIMM, the memory that it shares with its "
	"host;\n"
	"             --force: though it holds data\n"
	"\n"
	"BDF: the address of a PCI function, as 0000:00:05.0. Every command can be repeated.\n";

struct options {
	bool json, force;
	const char *driver;
	char **arg;
	int nargs;
};

/* ---- reports ---- */

/* JSON is UTF-8; an argument that is repeated need not be. */
static json_t *json_text(const char *text)
{
	char ascii[BIND_TEXT_MAX];
	json_t *s = json_string(text);

	if (s)
		return s;
	(void)snprintf(ascii, sizeof(ascii), "%.*s", (int)sizeof(ascii) - 1, text);
	for (char *p = ascii; *p; p++)
		*p = *p & 0x80 ? '?' : *p;
	return json_string(ascii);
}

/* Prints the result of an action. True: it succeeded. */
static bool print_report(const struct options *o, json_t *list, const char *device,
			 const struct report *r)
{
	if (o->json)
		(void)json_array_append_new(
			list, json_pack("{s:o, s:b, s:b, s:o}", "device",
					device ? json_text(device) : json_null(), "ok", r->err == 0,
					"changed", r->changed, "text", json_text(r->text)));
	else
		(void)fprintf(r->err ? stderr : stdout, "%s%s\n", r->err ? "zv-bind: " : "",
			      r->text);
	return r->err == 0;
}

static void print_json(json_t *value)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2)) == 0)
		(void)putchar('\n');
	json_decref(value);
}

static json_t *json_device(const struct pci_info *i)
{
	return json_pack("{s:s, s:s?, s:o, s:s?, s:o}", "device", i->bdf, "driver",
			 i->driver[0] ? i->driver : NULL, "iommu_group",
			 i->iommu_group < 0 ? json_null() : json_integer(i->iommu_group),
			 "iommu_type", i->iommu_type[0] ? i->iommu_type : NULL, "uio",
			 i->uio < 0 ? json_null() : json_integer(i->uio));
}

static json_t *json_machine(const struct machine *m)
{
	return json_pack("{s:s, s:i, s:b, s:b, s:b, s:b, s:I, s:I, s:o, s:b}", "kernel", m->kernel,
			 "iommus", (int)m->iommus, "vfio_pci", m->vfio, "vfio_iommu_type1",
			 m->vfio_type1, "uio_pci_generic", m->uio, "noiommu", m->noiommu,
			 "hugepages_total", (json_int_t)m->huge_total, "hugepages_free",
			 (json_int_t)m->huge_free, "memlock_bytes",
			 m->memlock == UINT64_MAX ? json_null()
						  : json_integer((json_int_t)m->memlock),
			 "sys_admin", m->root);
}

static void print_machine(const struct machine *m)
{
	(void)printf("kernel %s; IOMMUs: %u; modules: vfio-pci %s, vfio_iommu_type1 %s, "
		     "uio_pci_generic %s\n",
		     m->kernel, m->iommus, m->vfio ? "yes" : "no", m->vfio_type1 ? "yes" : "no",
		     m->uio ? "yes" : "no");
	if (m->huge_total < 0)
		(void)puts("hugepages: none of 2 MiB");
	else
		(void)printf("hugepages of 2 MiB: %ld, free %ld\n", m->huge_total, m->huge_free);
	if (m->memlock == UINT64_MAX)
		(void)puts("locked memory: no limit");
	else
		(void)printf("locked memory: at most %llu KiB (ulimit -l)\n",
			     (unsigned long long)m->memlock >> 10);
}

/* ---- commands ---- */

static int cmd_status(const struct options *o)
{
	struct pci_info dev[BIND_DEVICES_MAX];
	int n = bind_list(ROOT, dev, BIND_DEVICES_MAX);
	struct machine m;

	if (n < 0) {
		(void)fprintf(stderr, "zv-bind: /sys/bus/pci/devices: %s\n", strerror(-n));
		return EXIT_BAD;
	}
	bind_machine(ROOT, &m);
	if (o->json) {
		json_t *list = json_array();

		for (int i = 0; i < n; i++)
			(void)json_array_append_new(list, json_device(&dev[i]));
		print_json(json_pack("{s:o, s:o}", "devices", list, "machine", json_machine(&m)));
		return 0;
	}
	for (int i = 0; i < n; i++) {
		(void)printf("%s  %s", dev[i].bdf, dev[i].driver[0] ? dev[i].driver : "no driver");
		if (dev[i].iommu_group >= 0)
			(void)printf("  IOMMU group %d (%s)", dev[i].iommu_group,
				     dev[i].iommu_type[0] ? dev[i].iommu_type : "type unknown");
		else
			(void)printf("  no IOMMU");
		if (dev[i].uio >= 0)
			(void)printf("  /dev/uio%d", dev[i].uio);
		(void)putchar('\n');
	}
	if (n == 0)
		(void)puts("no virtio-vsock device");
	print_machine(&m);
	return 0;
}

static int cmd_check(const struct options *o)
{
	struct pci_info dev[BIND_DEVICES_MAX];
	int n = bind_list(ROOT, dev, BIND_DEVICES_MAX);
	json_t *list = json_array();
	struct report r = {0};
	struct machine m;
	bool good = true;

	bind_machine(ROOT, &m);
	for (int i = 0; i < n; i++) {
		bind_check(ROOT, &dev[i], &m, &r);
		good &= print_report(o, list, dev[i].bdf, &r);
	}
	if (bind_dax_check(ROOT, &r))
		good &= print_report(o, list, NULL, &r);
	if (n <= 0) {
		r.err = n ? n : -ENODEV;
		(void)snprintf(r.text, sizeof(r.text), "no virtio-vsock device on PCI: %s",
			       n ? strerror(-n)
				 : "the VM has none (QEMU: -device vhost-user-vsock-pci); channels "
				   "need one as well");
		good = print_report(o, list, NULL, &r);
	}
	if (o->json)
		print_json(list);
	else
		json_decref(list);
	return good ? 0 : EXIT_BAD;
}

static int for_each_device(const struct options *o, bool to_us)
{
	json_t *list = json_array();
	bool good = true;

	if (o->nargs == 0) {
		(void)fputs("zv-bind: which device? \"zv-bind status\" lists them\n", stderr);
		json_decref(list);
		return EXIT_USAGE;
	}
	for (int i = 0; i < o->nargs; i++) {
		struct report r;

		if (to_us)
			bind_device(ROOT, o->arg[i], o->driver, &r);
		else
			bind_release(ROOT, o->arg[i], &r);
		good &= print_report(o, list, o->arg[i], &r);
	}
	if (o->json)
		print_json(list);
	else
		json_decref(list);
	return good ? 0 : EXIT_BAD;
}

static int cmd_bind(const struct options *o)
{
	return for_each_device(o, true);
}

static int cmd_unbind(const struct options *o)
{
	return for_each_device(o, false);
}

static int cmd_hugepages(const struct options *o)
{
	json_t *list = json_array();
	struct report r;
	char *end = NULL;
	long n = o->nargs == 1 ? strtol(o->arg[0], &end, 10) : -1;
	bool good;

	if (n < 0 || !end || *end || end == o->arg[0] || n > 1 << 24) {
		(void)fputs("zv-bind: hugepages takes one number: how many pages of 2 MiB\n",
			    stderr);
		json_decref(list);
		return EXIT_USAGE;
	}
	bind_hugepages(ROOT, n, &r);
	good = print_report(o, list, NULL, &r);
	if (o->json)
		print_json(list);
	else
		json_decref(list);
	return good ? 0 : EXIT_BAD;
}

static int cmd_dax(const struct options *o)
{
	json_t *list = json_array();
	struct report r;
	bool good;

	if (o->nargs > 1) {
		(void)fputs("zv-bind: dax takes one namespace at a time\n", stderr);
		json_decref(list);
		return EXIT_USAGE;
	}
	bind_dax(ROOT, o->nargs ? o->arg[0] : NULL, o->force, &r);
	good = print_report(o, list, o->nargs ? o->arg[0] : NULL, &r);
	if (o->json)
		print_json(list);
	else
		json_decref(list);
	return good ? 0 : EXIT_BAD;
}

static const struct {
	const char *name;
	int (*run)(const struct options *o);
	bool args; /* it takes some */
} commands[] = {
	{"status", cmd_status, false}, {"check", cmd_check, false},	   {"bind", cmd_bind, true},
	{"unbind", cmd_unbind, true},  {"hugepages", cmd_hugepages, true}, {"dax", cmd_dax, true},
};

static int run(const struct options *o, const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		if (commands[i].args || o->nargs == 0)
			return commands[i].run(o);
		(void)fprintf(stderr, "zv-bind: %s is about all devices; leave %s away\n", name,
			      o->arg[0]);
		return EXIT_USAGE;
	}
	(void)fprintf(stderr, "zv-bind: no command %s; see zv-bind --help\n", name);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, 'j'},    {"driver", required_argument, NULL, 'd'},
		{"force", no_argument, NULL, 'f'},   {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {0}};
	struct options o = {0};
	int c;

	argv[0] = program_invocation_short_name; /* in what getopt says of a wrong option */
	while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
		if (c == 'j')
			o.json = true;
		else if (c == 'f')
			o.force = true;
		else if (c == 'd')
			o.driver = optarg;
		else if (c == 'V')
			return puts("zv-bind " ZV_VERSION_TEXT) == EOF;
		else if (c == 'h')
			return fputs(usage, stdout) == EOF;
		else {
			(void)fputs("zv-bind --help lists the options\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind == argc) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	o.arg = argv + optind + 1;
	o.nargs = argc - optind - 1;
	return run(&o, argv[optind]);
}
