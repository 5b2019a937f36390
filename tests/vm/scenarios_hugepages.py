# SPDX-License-Identifier: BSD-3-Clause
"""Guest memory in 2 MiB pages, from QEMU to the backend's mappings."""
import os

import hugepages
from guest import MEMORY
from procs import Failure, until
from testbed import AppTestbed, Skip, XFER, scenario
from testbed_daemon import DaemonTestbed

MIB = 1 << 20
GUEST_MIB = 256
PAGES = GUEST_MIB // hugepages.MIB


def borrow(bench):
    """Sees to it that a guest's worth of pages is free, until the scenario ends."""
    missing = PAGES - hugepages.free()
    if missing <= 0:
        return
    if not os.path.exists(hugepages.POOL):
        raise Skip('this kernel has no pages of 2 MiB')
    if os.geteuid():
        raise Skip(f'{missing} more pages of 2 MiB are needed, and only root can reserve them: '
                   f'./run vmtest --hugepages {missing}')
    loan = bench.temporary.add(hugepages.Loan(missing))
    if loan.got < missing or hugepages.free() < PAGES:
        raise Skip(f'the kernel granted {loan.got} of {missing} pages of 2 MiB, and '
                   f'{hugepages.free()} of {PAGES} are free')


def demand(guest):
    if not guest.huge:
        raise Skip(f'somebody else took the pages that were reserved: the guest has {guest.memory}')


def check_backend(process):
    """All that the backend has mapped of the guest is in 2 MiB pages, and that is the whole guest."""
    found = hugepages.mappings(process.popen.pid, MEMORY)
    small = [m for m in found if m['KernelPageSize'] != hugepages.MIB * 1024]
    if small or sum(m['Size'] for m in found) < GUEST_MIB * 1024:
        raise Failure(f'{process.name} has mapped of the guest: {found}')


def check_let_go(process):
    until(lambda: not hugepages.mappings(process.popen.pid, MEMORY),
          f'{process.name} to unmap the memory of the guest that has gone')


@scenario
def hugepages_each_way(bench):
    """A guest in 2 MiB pages, mapped as such by zvsockd and by an application: 64 MiB each way."""
    borrow(bench)
    daemon = bench.own(DaemonTestbed, {'huge': {}})
    vm = daemon.vms['huge']
    demand(vm.guest)
    check_backend(daemon.daemon)
    daemon.host_server(vm)
    vm.peer(f'xfer 2 {XFER} {64 * MIB} 0')
    daemon.host_peer(vm, 'xfer', XFER, 64 * MIB, 0)
    vm.guest.kill()
    check_let_go(daemon.daemon)
    app = bench.own(AppTestbed)  # its guest gets the same pages: nobody holds them any more
    demand(app.guest)
    check_backend(app.app.process)
    app.peer(f'xfer 2 {XFER} {64 * MIB} 0')
    app.app.run(f'xfer {app.cid} {XFER} {64 * MIB} 0')
    app.guest.kill()
    check_let_go(app.app.process)
