/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files in directories where others may create some too. Whoever owns a file may have a file system
 * of a program of its own mounted there (FUSE): then open(2), stat(2) and connect(2) wait until
 * that program answers. So such a name is looked up in its directory only, and not in what is
 * mounted on it; except under a seccomp filter that denies openat2(2), which is needed for this.
 *
 * Whoever may search a directory can also make a look-up wait: the kernel takes the directory's
 * lock for a name that it does not have in its cache, and who holds that lock may be a process that
 * gets no CPU, or waits for a disk. A thread that serves others asks the cache only, and has
 * another thread look up the rest.
 */
#ifndef ZV_DIR_OPEN_H
#define ZV_DIR_OPEN_H

#include <sys/types.h>

/* The directory of the file @path (O_PATH), and its name there. -errno. */
int dir_open(const char *path, const char **name);

/* For -EXDEV. A single socket may have been mounted into a container with good intent. */
#define DIR_MOUNTED "something is mounted on it; mount the directory instead"

/* openat(2); -EXDEV: something is mounted there. -errno. */
int dir_open_file(int dir, const char *name, int flags, mode_t mode);

/* The same for what exists, but never waits for the directory. -EAGAIN: the kernel does not know
 * the answer without that, or cannot be asked in this way. */
int dir_open_cached(int dir, const char *name, int flags);

/* dir_open() and dir_open_file(). */
int dir_open_path(const char *path, int flags, mode_t mode);

#endif
