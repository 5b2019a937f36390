/* SPDX-License-Identifier: BSD-3-Clause */
/* Registered memory of a device. */
#ifndef ZV_MEM_H
#define ZV_MEM_H

struct zv_dev;

/* Ends all registrations when the device is closed. */
void mems_fini(struct zv_dev *dev);

#endif
