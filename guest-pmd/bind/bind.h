/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zv-bind: selects the kernel driver of a virtio-vsock device, and sets up what else a guest needs
 * for `vfio:` and `uio:`.
 *
 * Each action checks the current state, does what is missing, and checks the result, so it can be
 * repeated. Failures go to `struct report` as one sentence: what, where, how to fix it. All paths
 * lie below @root, which is "" except in tests; with another @root no modules are loaded.
 */
#ifndef ZV_BIND_H
#define ZV_BIND_H

#include "pci/device/pci_sysfs.h"

#define BIND_DEVICES_MAX 64u
#define BIND_TEXT_MAX	 400u

/* Result of an action. */
struct report {
	int err; /* 0 or -errno */
	bool changed;
	char text[BIND_TEXT_MAX];
};

/* What the machine offers, apart from devices. */
struct machine {
	char kernel[64];
	unsigned iommus; /* IOMMUs that translate */
	bool vfio, vfio_type1,
		uio;  /* drivers that are loaded: vfio-pci, its IOMMU part, uio_pci_generic */
	bool noiommu; /* vfio's no-IOMMU mode is built in and enabled */
	long huge_total, huge_free; /* hugepages of 2 MiB; -1: none of that size */
	uint64_t memlock;	    /* RLIMIT_MEMLOCK, bytes; UINT64_MAX: none */
	bool root;		    /* runs with CAP_SYS_ADMIN, which shows physical addresses */
};

/* Lists virtio-vsock devices, ordered by address. Returns their number (at most @max) or -errno. */
int bind_list(const char *root, struct pci_info *out, unsigned max);
void bind_machine(const char *root, struct machine *m);

/*
 * Binds @bdf to @driver ("vfio-pci", "uio_pci_generic"). NULL: vfio-pci if an IOMMU translates for
 * the device, otherwise uio_pci_generic.
 */
void bind_device(const char *root, const char *bdf, const char *driver, struct report *r);
/* Gives it back to the kernel's virtio driver. */
void bind_release(const char *root, const char *bdf, struct report *r);
/* Sets the size of the 2 MiB hugepage pool to @n pages. */
void bind_hugepages(const char *root, long n, struct report *r);
/* Reports what prevents @i from being opened as `vfio:` or `uio:`; err 0: nothing. */
void bind_check(const char *root, const struct pci_info *i, const struct machine *m,
		struct report *r);

/* ---- bind_dax.c ---- */

/*
 * Turns the NVDIMM namespace @name ("namespace0.0"; NULL: the only one) into a dax device, which
 * programs map as /dev/daxX.Y. A namespace that holds data is left alone unless @force; one in use
 * always.
 */
void bind_dax(const char *root, const char *name, bool force, struct report *r);
/* Reports the state of the namespaces; false: there are none. */
bool bind_dax_check(const char *root, struct report *r);

#endif
