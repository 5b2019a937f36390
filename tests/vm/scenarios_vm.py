# SPDX-License-Identifier: BSD-3-Clause
"""./run vm itself, on a terminal of its own."""
import os
import pty
import re
import signal
import subprocess
import sys
import time

from procs import Failure, LIMIT, Stream, die_with_parent, until
from testbed import also_in_uml, scenario


def start(bench):
    """(pid, terminal) of vm.py."""
    pid, terminal = pty.fork()
    if pid == 0:
        die_with_parent()
        how = ['--uml'] if bench.which == 'uml' else []
        os.execv(sys.executable, [sys.executable, os.path.join(os.path.dirname(__file__), 'vm.py'), bench.build, *how])
    return pid, terminal


PROMPT = rb'[#$] (\x1b\[6n)?$'


@also_in_uml
@scenario
def vm_keeps_its_hints_on_the_screen(bench):
    """What ./run vm tells of the guest is still on the terminal when the guest's shell asks."""
    bench.kernel()  # fetched here, or not at all
    pid, terminal = start(bench)
    screen, deadline, asked = Stream(terminal), time.monotonic() + LIMIT, False
    try:
        while screen.fill(deadline):
            if not asked and re.search(PROMPT, screen.data):
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


@also_in_uml
@scenario
def vm_hints_work(bench):
    """An AF_VSOCK program of the host reaches the guest by the command that ./run vm shows."""
    bench.kernel()
    pid, terminal = start(bench)
    screen, deadline = Stream(terminal), time.monotonic() + LIMIT
    try:
        while not re.search(PROMPT, screen.data) and screen.fill(deadline):
            pass
        os.write(terminal, b'socat VSOCK-LISTEN:1234,fork PIPE &\n')
        command = re.search(r'host\$ +(\S+/zvsock-run .*?)\r?\n', screen.data.decode(errors='replace'))[1]
        until(lambda: subprocess.run(command.split(), input=b'hi', capture_output=True, timeout=LIMIT, check=False,
                                     preexec_fn=die_with_parent).stdout == b'hi', f'an answer to {command}')
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def processes_of(pid):
    """Command lines of what the program @pid has started, by the name of its folder."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/cmdline', 'rb') as f:
                line = f.read().replace(b'\0', b' ').decode(errors='replace')
        except OSError:
            continue
        if f'zv-vm-{pid}-' in line:
            found.append(line)
    return found


@also_in_uml
@scenario
def vm_killed_leaves_no_process(bench):
    """kill -9 of ./run vm ends its guest, with all of the guest's processes, and its zvsockd."""
    bench.kernel()
    pid, terminal = start(bench)
    screen, deadline = Stream(terminal), time.monotonic() + LIMIT
    while not re.search(PROMPT, screen.data) and screen.fill(deadline):
        pass
    before = processes_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    if not any('zvsockd' in line for line in before) or len(before) < 2:
        raise Failure(f'no guest or no zvsockd: {before}; {screen.data!r}')
    until(lambda: not processes_of(pid), 'the processes to end', 30)
