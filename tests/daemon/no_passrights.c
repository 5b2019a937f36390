/* SPDX-License-Identifier: BSD-3-Clause */
/* Linked instead of passed_refuse() (--wrap): a kernel before Linux 6.16, without SO_PASSRIGHTS. */
#include "passed.h"

bool __wrap_passed_refuse(int fd);

bool __wrap_passed_refuse(int fd)
{
	(void)fd;
	return false;
}
