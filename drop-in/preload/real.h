/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds libc's function of a name that this library replaces. It is looked up at the first call, so
 * a program that never makes one has no start-up cost; dlsym(3) takes a lock of the dynamic linker,
 * once per name.
 */
#ifndef ZV_DROPIN_REAL_H
#define ZV_DROPIN_REAL_H

#include <dlfcn.h>
#include <stdatomic.h>

#define REAL(name)                                                                                 \
	({                                                                                         \
		static _Atomic(__typeof__(&name)) real_;                                           \
		__typeof__(&name) f_ = atomic_load_explicit(&real_, memory_order_relaxed);         \
		if (__builtin_expect(!f_, 0)) {                                                    \
			f_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name);                           \
			atomic_store_explicit(&real_, f_, memory_order_relaxed);                   \
		}                                                                                  \
		f_;                                                                                \
	})

/* Visible to the program. */
#define EXPORT __attribute__((visibility("default")))

#endif
