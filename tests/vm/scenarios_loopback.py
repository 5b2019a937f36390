# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd inside a VM, whose kernel has what the test machines' own may lack: AF_VSOCK loopback.

tests/daemon/endpoint/test_vsock_endpoint.c is guest and host programs at once; it and zvsockd are put into the
RAM disk as they were built, with their libraries.
"""
import os
import re
import shutil

import image
from guest import Guest
from procs import Failure, Log, Owner
from uml import UmlGuest
from testbed import Skip, also_in_uml, scenario

MODULES = ('virtio_pci', 'virtio_console', 'vsock_loopback')


class LoopbackTestbed:
    """A VM without a vsock device, with the daemon and its test in it."""

    def __init__(self, bench, name):
        programs = [bench.program('zvsockd'), bench.program('test_vsock_endpoint')]
        kernel = bench.kernel()
        small = isinstance(kernel, image.UmlKernel)
        if small and re.search(r'lib[at]san', image.call('ldd', programs[0]).stdout):
            raise Skip('a sanitizer wants more address space than User-mode Linux has for a program')
        self.owner, self.folder = Owner(), bench.new_folder()
        log = self.owner.add(Log(bench.log_path(name)))
        ramdisk = os.path.join(self.folder, 'initrd')
        try:
            image.build(kernel, [bench.program('vm_agent')], ramdisk, MODULES, programs)
            if small:
                self.guest = UmlGuest(self.owner, self.folder, log, kernel, ramdisk)
            else:
                self.guest = Guest(self.owner, self.folder, log, kernel, ramdisk, [], memory=512)
            self.guest.wait_ready()
        except BaseException:
            self.close()
            raise

    def close(self):
        self.owner.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@also_in_uml
@scenario
def daemon_in_a_vm_forwards_to_af_vsock(bench):
    """The endpoint "vsock" against a kernel's AF_VSOCK: streams, messages, ends, refusals."""
    testbed = bench.own(LoopbackTestbed)
    job = testbed.guest.start('exec test_vsock_endpoint /bin/zvsockd')
    code = job.wait()
    passed = len(re.findall(r'^\[ +OK +\]', job.output, re.M))
    if code or not passed:
        failed = re.findall(r'^\[  FAILED  \] (\w+)$', job.output, re.M)
        raise Failure(f'the test ended with {code}; failed: {failed}\n{job.output.strip()[-3000:]}')
    return f'{passed} cases'
