/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that the bench starts for a target, and the directories of their sockets. */
#ifndef BENCH_PROGRAM_H
#define BENCH_PROGRAM_H

#include "core/bench.h"

/*
 * Looks for @name beside this program, in the tree that it was built in, and in $PATH. False: it is
 * nowhere.
 */
bool program_find(const char *name, char *path, size_t len);

/* A directory in $TMPDIR whose sockets' paths fit an address. 0, or -errno with a sentence. */
int bench_dir_make(char *dir, size_t len, struct proc_err *err);
/* Removes it with the files in it; nothing for "". */
void bench_dir_remove(const char *dir);

/*
 * Starts argv[0], which writes what it says to @dir/log, where @how puts side @role, and waits for
 * the @sockets (ends with NULL) that it makes. 0, or -errno with a sentence.
 */
int program_start(struct proc *p, const char *name, char *const argv[], const char *dir,
		  enum bench_cpus how, enum bench_role role, const char *const *sockets,
		  struct proc_err *err);
/* Asks it to end and waits; kills it when it does not. */
void program_stop(struct proc *p);

#endif
