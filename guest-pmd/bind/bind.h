/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zv-bind: which driver of the kernel has a virtio-vsock device, and what else a guest needs before
 * `vfio:` and `uio:` work.
 *
 * Each action looks first at what is, does what is missing, and looks again whether it is done; so
 * it can be repeated. Failures go to `struct report` as one sentence: what, where, how to mend it.
 * All paths lie below @root, "" but for tests, which load no modules.
 */
#ifndef ZV_BIND_H
#define ZV_BIND_H

#include "pci/pci_sysfs.h"

#define BIND_DEVICES_MAX 64u
#define BIND_TEXT_MAX	 400u

/* What was done, or why not. */
struct report {
	int err; /* 0 or -errno */
	bool changed;
	char text[BIND_TEXT_MAX];
};

/* What the machine offers, apart from devices. */
struct machine {
	char kernel[64];
	unsigned iommus; /* units that translate */
	bool vfio, vfio_type1,
		uio;  /* drivers that are loaded: vfio-pci, its IOMMU part, uio_pci_generic */
	bool noiommu; /* vfio's unsafe mode is compiled in and on */
	long huge_total, huge_free; /* hugepages of 2 MiB; -1: none of that size */
	uint64_t memlock;	    /* RLIMIT_MEMLOCK, bytes; UINT64_MAX: none */
	bool root;		    /* runs with CAP_SYS_ADMIN, which shows physical addresses */
};

/* Virtio-vsock devices, in the order of their addresses. Their number (at most @max) or -errno. */
int bind_list(const char *root, struct pci_info *out, unsigned max);
void bind_machine(const char *root, struct machine *m);

/*
 * Binds @bdf to @driver ("vfio-pci", "uio_pci_generic"); NULL: to the first where an IOMMU
 * translates for the device, else to the second.
 */
void bind_device(const char *root, const char *bdf, const char *driver, struct report *r);
/* Gives it back to the kernel's own driver. */
void bind_release(const char *root, const char *bdf, struct report *r);
/* Makes the pool of 2 MiB hugepages @n pages large. */
void bind_hugepages(const char *root, long n, struct report *r);
/* What stands between @i and its being opened as `vfio:` or `uio:`; err 0: nothing. */
void bind_check(const char *root, const struct pci_info *i, const struct machine *m,
		struct report *r);

/* ---- bind_dax.c ---- */

/*
 * Makes a dax device of the NVDIMM namespace @name ("namespace0.0"; NULL: the only one that there
 * is): programs map it as /dev/daxX.Y. What holds data is left alone unless @force; what is in use
 * in any case.
 */
void bind_dax(const char *root, const char *name, bool force, struct report *r);
/* What became of the namespaces that there are; false: there is none. */
bool bind_dax_check(const char *root, struct report *r);

#endif
