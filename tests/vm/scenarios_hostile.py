# SPDX-License-Identifier: BSD-3-Clause
"""A guest that does to zvsockd, through its own PCI device, what no driver may."""
import os
import re

from procs import Failure
from testbed import scenario
from testbed_hostile import HostileTestbed


@scenario
def hostile_guest(bench):
    """Each case of tests/hostile that a guest can play, beside a stock guest whose checked transfers go on."""
    testbed, only = bench.own(HostileTestbed), os.environ.get('HOSTILE_CASES', '')
    vm, bystander = testbed.vms['hostile'], testbed.vms['bystander']
    before = vm.counters()
    output, status = vm.play(only)
    if status:
        raise Failure(f'hostile_guest ended with {status}:\n{output}')
    bystander.finish()
    if not testbed.daemon.alive():
        raise Failure('zvsockd has ended')
    after = vm.counters()
    silent = [name for name in after if name.startswith('rx_bad') and after[name] == before[name]]
    if silent and not only:
        raise Failure(f'zvsockd has counted none of these: {silent}')
    passed = len(re.findall(r'^\[       OK \]', output, re.M))
    left_out = re.findall(r'^left out: (.*)', output, re.M)
    return f'{passed} cases; left out: {"; ".join(left_out)}'


@scenario
def one_device_hands_over_the_event_queue(bench):
    """A driver that goes on with rings of before hears of it on the event virtqueue, which QEMU leaves to zvsockd."""
    testbed = bench.own(HostileTestbed, whole=True)
    output, status = testbed.vms['hostile'].play('"rings that were used before"')
    if status or '[       OK ] rings that were used before' not in output:
        raise Failure(f'hostile_guest ended with {status}:\n{output}')
    testbed.vms['bystander'].finish()
