# SPDX-License-Identifier: BSD-3-Clause
"""A stock Linux guest and a host application that is its backend (`host:`)."""
from world import AppWorld, ECHO, scenario


def stock(bench):
    return bench.shared(AppWorld, 'stock')


@scenario
def echo_from_guest(bench):
    """What a guest program sends comes back from the host application, byte for byte."""
    stock(bench).peer(f'echo 2 {ECHO} 1000000')


@scenario
def echo_from_host(bench):
    """What the host application sends comes back from a guest program."""
    world = stock(bench)
    world.app.run(f'echo {world.cid} {ECHO} 1000000')
