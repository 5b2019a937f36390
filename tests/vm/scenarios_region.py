# SPDX-License-Identifier: BSD-3-Clause
"""Memory that a VM shares with its host: set up by zv-bind, found and mapped as the driver does, without a device."""
import os
import re
import shutil
import tempfile

import image
from guest import Guest
from procs import Failure, Log, Owner
from testbed import both_kernels, scenario
from testbed_pmd import IOMMU

MIB = 1 << 20
INFO = 2 * MIB  # the kernel's info block at the beginning of an NVDIMM
DAX_MODULES = ('libnvdimm', 'nfit', 'nd_pmem', 'dax_pmem', 'device_dax')
MODULES = image.PMD_MODULES + DAX_MODULES
NVDIMM = 64  # MiB


class RegionTestbed:
    """A guest whose region is the @size MiB of a file in /dev/shm, as an NVDIMM or an ivshmem device."""

    def __init__(self, bench, name, size, device, machine=(), boot=''):
        self.owner, self.folder, self.kernel = Owner(), bench.new_folder(), bench.kernel()
        self.log = self.owner.add(Log(bench.log_path(name)))
        self.file = tempfile.NamedTemporaryFile(dir='/dev/shm', prefix='zv-region-')  # pylint: disable=consider-using-with
        self.file.truncate(size * MIB)
        disk = os.path.join(bench.vmdir, f'initrd-region-{self.kernel.release}')
        image.build(self.kernel, [bench.program(p) for p in ('vm_agent', 'vm_region')], disk, MODULES,
                    (bench.program('zv-bind'),))
        args = [*machine, '-object', f'memory-backend-file,id=region,mem-path={self.file.name},share=on,size={size}M',
                '-device', f'{device},memdev=region']
        try:
            self.guest = Guest(self.owner, self.folder, self.log, self.kernel, disk, args, room=256, reboots=True,
                               boot=boot)
            self.guest.wait_ready()
        except BaseException:
            self.close()
            raise

    def close(self):
        self.owner.close()
        self.file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bytes_at(self, offset, n):
        self.file.seek(offset)
        return self.file.read(n)


def nvdimm_testbed(bench):
    return bench.own(RegionTestbed, NVDIMM, 'nvdimm', ('-machine', 'nvdimm=on'))


def opened(testbed, which, text):
    """(kind, name, size, gpa) of what the guest opens as region=@which, and writes @text to."""
    said = testbed.guest.run(f'vm_region {which} {text}')
    m = re.match(r'(\S+) (\S+) size=(\d+) gpa=(0x[0-9a-f]+) page=(\d+) load=', said)
    if not m:
        raise Failure(f'vm_region said: {said}')
    return m[1], m[2], int(m[3]), int(m[4], 16)


@both_kernels
def region_dax(bench):
    """zv-bind makes a dax device of an NVDIMM, once, and it is there after a boot; what the guest writes is in the host's file."""
    testbed = nvdimm_testbed(bench)
    said = testbed.guest.run('zv-bind dax')
    if 'namespace0.0: ready as /dev/dax0.0' not in said or '"changed": false' not in testbed.guest.run('zv-bind --json dax'):
        raise Failure(f'zv-bind dax: {said}')
    for which in ('auto', 'dax0.0'):
        writes(testbed, which)
    testbed.guest.reboot()
    if '"changed": false' not in (said := testbed.guest.run('zv-bind --json dax')):
        raise Failure(f'zv-bind dax after a boot: {said}')
    writes(testbed, 'auto')


def writes(testbed, which, expected=('dax', 'dax0.0', NVDIMM * MIB - INFO), begin=INFO):
    text = f'by-{which}'
    kind, name, size, gpa = opened(testbed, which, text)
    if (kind, name, size) != expected or gpa % INFO or not gpa:
        raise Failure(f'{kind} {name} of {size} bytes at {gpa:#x}')
    for at in (begin, begin + size - len(text)):
        if testbed.bytes_at(at, len(text)) != text.encode():
            raise Failure(f'the host does not see at {at:#x} what the guest wrote')


@scenario
def region_dax_holds_data(bench):
    """zv-bind leaves an NVDIMM alone that holds data, or is in use; forced, it takes the first, never the second."""
    testbed = nvdimm_testbed(bench)
    refused(testbed, 'vm_region dax0.0', 'zv-bind dax')
    refused(testbed, 'zv-bind dax namespace7.0', 'there is namespace0.0')
    testbed.guest.run('mkswap /dev/pmem0 && swapon /dev/pmem0')
    refused(testbed, 'zv-bind dax', 'in use')
    refused(testbed, 'zv-bind dax --force', 'in use')
    testbed.guest.run('swapoff /dev/pmem0')
    refused(testbed, 'zv-bind dax', '--force namespace0.0')
    testbed.guest.run('zv-bind dax --force namespace0.0')
    writes(testbed, 'auto')


def refused(testbed, command, words):
    said = testbed.guest.run(f'! {command} 2>&1')
    if words not in said:
        raise Failure(f'{command}: "{said.strip()}" does not say "{words}"')


@both_kernels
def region_ivshmem(bench):
    """The BAR of an ivshmem device through sysfs, and when it is bound to vfio-pci through that."""
    testbed = bench.own(RegionTestbed, NVDIMM, 'ivshmem-plain,addr=6', IOMMU, 'intel_iommu=on')
    bdf = '0000:00:06.0'
    for which in ('auto', bdf):
        writes(testbed, which, ('ivshmem', bdf, NVDIMM * MIB), 0)
    device = f'/sys/bus/pci/devices/{bdf}'
    testbed.guest.run(f'echo vfio-pci >{device}/driver_override && echo {bdf} >/sys/bus/pci/drivers_probe && '
                    f'readlink {device}/driver | grep vfio-pci')
    writes(testbed, '00:06.0', ('ivshmem', bdf, NVDIMM * MIB), 0)
    writes(testbed, 'auto', ('ivshmem', bdf, NVDIMM * MIB), 0)
