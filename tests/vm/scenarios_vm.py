# SPDX-License-Identifier: BSD-3-Clause
"""./run vm itself, on a terminal of its own."""
import os
import pty
import re
import signal
import sys
import time

from procs import Failure, LIMIT, Stream, die_with_parent
from world import scenario


def start(bench):
    """(pid, terminal) of vm.py."""
    pid, terminal = pty.fork()
    if pid == 0:
        die_with_parent()
        os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(__file__), 'vm.py'), bench.build])
    return pid, terminal


@scenario
def vm_keeps_its_hints_on_the_screen(bench):
    """What ./run vm tells of the guest is still on the terminal when the guest's shell asks."""
    bench.kernel()  # fetched here, or not at all
    pid, terminal = start(bench)
    screen, deadline, asked = Stream(terminal), time.monotonic() + LIMIT, False
    try:
        while screen.fill(deadline):
            if not asked and re.search(rb'[#$] (\x1b\[6n)?$', screen.data):
                asked = True
                os.write(terminal, b'exit\n')
    finally:
        if not screen.ended:
            os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    text = screen.data.decode(errors='replace')
    hints = text.find('vm: the guest ends with')
    if hints < 0 or not asked or status:
        raise Failure(f'no hints, no prompt or no good end ({status}): {text!r}')
    # "Reset", "erase the display", "cursor home": each hides what was there.
    if wiped := re.search(r'\x1bc|\x1b\[[0-3]?J|\x1b\[(1;1)?H', text[hints:]):
        raise Failure(f'{wiped[0]!r} after the hints: {text[hints:]!r}')
