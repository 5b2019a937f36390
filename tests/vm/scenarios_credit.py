# SPDX-License-Identifier: BSD-3-Clause
"""Guests whose programs read late: every byte that their buffer has room for must reach them.

A program that sleeps until so many bytes are there (SO_RCVLOWAT) says nothing meanwhile. Whoever sends
must neither wait for a word from it, nor queue more packets than its kernel puts up with.
"""
import time

from procs import Failure
from scenarios_daemon import hybrid_connect, trio, until_quiet
from testbed import both_kernels, every_kernel

KIB = 1024
PORT = 6100


def late(vm, buf, lowat):
    reader = vm.start(f'late {PORT} {buf} {lowat}')
    reader.expect('listening')
    return reader


def done(job, what):
    if job.wait() != 0:
        raise Failure(f'{what}: {job.output}')


def from_host(testbed, piece, pause, buf, lowat):
    """A host program writes @lowat bytes in pieces, and leaves when the guest has read them."""
    vm = testbed.vms['a']
    reader = late(vm, buf, lowat)
    data = bytes(i * 7 // 3 & 255 for i in range(lowat))
    with hybrid_connect(vm, PORT) as s:
        for at in range(0, lowat, piece):
            s.sendall(data[at:at + piece])
            if pause:
                time.sleep(pause)
        done(reader, f'{lowat} bytes in pieces of {piece}')
        if s.recv(1):
            raise Failure('the guest has sent something')
    until_quiet(testbed)


@every_kernel
def daemon_late_reader_gets_all_of_its_buffer(bench):
    """A guest program that sleeps until its buffer is full is woken, whatever is written."""
    for buf in (4 * KIB, 8 * KIB, 16 * KIB, 256 * KIB):
        for piece in (1000, 64 * KIB):
            from_host(trio(bench), piece, 0, buf, buf - 1)  # Linux takes no mark at the size itself


@both_kernels
def daemon_small_writes_reach_a_low_water_mark(bench):
    """20 bytes now and then until 16,384 are there, 200 until 100,000: more than 455 packets."""
    from_host(trio(bench), 20, .003, 256 * KIB, 16384)
    from_host(trio(bench), 200, .001, 256 * KIB, 100000)
    from_host(trio(bench), 150, .0005, 256 * KIB, 256 * KIB - 1)


@both_kernels
def siblings_small_writes_reach_a_low_water_mark(bench):
    """The same between two guests."""
    testbed = trio(bench)
    for piece, pause, lowat in ((20, 3000, 16384), (200, 1000, 100000), (1000, 0, 256 * KIB - 1)):
        reader = late(testbed.vms['b'], 256 * KIB, lowat)
        writer = testbed.vms['a'].start(
            f'trickle {testbed.vms["b"].cid} {PORT} {piece} {pause} {lowat}')
        done(reader, f'{lowat} bytes in pieces of {piece}')
        done(writer, 'writer')
    until_quiet(testbed)
