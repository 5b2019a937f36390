# SPDX-License-Identifier: BSD-3-Clause
"""The machine's pool of 2 MiB pages: what is free, what a process has, and borrowing some for a test.

Pages come out of nr_hugepages, which only root may raise. Whoever raises it must lower it again, however
it ends: a keeper, a shell in a session of its own, does so at the end of its standard input, which
comes with close() and with the driver's death alike. (./run --hugepages does the same for a whole run.)
"""
import errno
import os
import re
import subprocess

POOL = '/sys/kernel/mm/hugepages/hugepages-2048kB'
MIB = 2  # of a page
KEEPER = '''
	trap "" INT TERM HUP
	nr=$1/nr_hugepages
	before=$(cat $nr) && echo $((before + $2)) >$nr || { echo 0; exit 1; }
	got=$(($(cat $nr) - before))
	echo $got
	cat >/dev/null
	echo $(($(cat $nr) - got)) >$nr'''


def count(name):
    """A number of the pool; 0 where the kernel has no such pages."""
    try:
        with open(os.path.join(POOL, name), encoding='ascii') as f:
            return int(f.read())
    except OSError:
        return 0


def free():
    """Pages that nobody has and that nobody was promised."""
    return max(0, count('free_hugepages') - count('resv_hugepages'))


def allocate(mib, name):
    """(a memfd called @name of @mib in 2 MiB pages that are all there, None); (None, why not)."""
    fd = None
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_HUGETLB | os.MFD_HUGE_2MB)
        os.posix_fallocate(fd, 0, mib << 20)
        return fd, None
    except OSError as why:
        if fd is not None:
            os.close(fd)
        text = f'no hugepages: {mib // MIB} of 2 MiB are needed, {free()} are free'
        return None, text if why.errno in (errno.ENOSPC, errno.ENOMEM) else f'{text} ({why.strerror})'


class Loan:
    """@pages more in the pool until close(). @got: how many the kernel granted."""

    def __init__(self, pages):
        self.keeper = subprocess.Popen(['sh', '-c', KEEPER, 'keeper', POOL, str(pages)], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, start_new_session=True)
        self.got = int(self.keeper.stdout.readline() or 0)

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()
        self.keeper.stdout.close()


def mappings(pid, name):
    """What process @pid has mapped of files called @name: [{field of smaps: KiB}]."""
    found, current = [], None
    with open(f'/proc/{pid}/smaps', encoding='utf-8', errors='replace') as f:
        for line in f:
            if re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
                current = {}
                if name in line:
                    found.append(current)
            elif m := re.match(r'(\w+): +(\d+) kB', line):
                current[m[1]] = int(m[2])
    return found
