# SPDX-License-Identifier: BSD-3-Clause
"""Processes of the VM tests: none of them outlives the driver, however it ends.

Each is in a session of its own, so that a signal to it reaches what it has started, and is killed by
the kernel when the driver dies (PR_SET_PDEATHSIG). The driver has one thread, on which that rests.
"""
import ctypes
import os
import re
import select
import signal
import subprocess
import time

PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
LIMIT = 180.0  # seconds for anything that should take a few: judges hangs, not speed


class Failure(Exception):
    """A scenario did not hold; the text says what."""


def die_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def until(condition, what, limit=LIMIT):
    """Waits for condition() to be true, and returns what it returned."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure(f'not within {limit:.0f} s: {what}')
        time.sleep(0.02)
    return value


class Stream:
    """Bytes from a descriptor as they come; waiting for some of them has a limit."""

    def __init__(self, fd):
        self.fd, self.data, self.ended = fd, b'', False

    def fill(self, deadline):
        """Reads once. False: nothing came before the deadline, or the stream has ended."""
        if self.ended:
            return False
        ready, _, _ = select.select([self.fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        try:
            got = os.read(self.fd, 65536)
        except OSError:
            got = b''
        self.ended = not got
        self.data += got
        return bool(got)

    def waiting(self):
        """There is something, perhaps only the beginning of a line."""
        return bool(self.data) or self.fill(time.monotonic())

    def line(self, deadline):
        """The next line without its end, or None."""
        while b'\n' not in self.data:
            if not self.fill(deadline):
                return None
        line, _, self.data = self.data.partition(b'\n')
        return line.decode(errors='replace')

    def exactly(self, n, deadline):
        while len(self.data) < n:
            if not self.fill(deadline):
                return None
        got, self.data = self.data[:n], self.data[n:]
        return got


class Process:
    """A program of the host. What it writes to stderr goes to the log."""

    def __init__(self, owner, argv, log, stdin=subprocess.DEVNULL, **kw):
        self.name = os.path.basename(argv[0])
        log.write(f'[host] {" ".join(argv)}\n')
        self.log_at = os.path.getsize(log.path)
        self.popen = subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=log.file,
                                      preexec_fn=die_with_parent, start_new_session=True, **kw)
        self.out = Stream(self.popen.stdout.fileno())
        self.log = log
        owner.add(self)

    def alive(self):
        return self.popen.poll() is None

    def kill(self, sig=signal.SIGKILL):
        """Signals the program and what it has started; with SIGKILL, waits for its end."""
        if self.alive():
            os.killpg(self.popen.pid, sig)
            if sig == signal.SIGKILL:
                self.popen.wait()

    def wait(self, limit=LIMIT):
        """The exit code. What it prints meanwhile is kept for output()."""
        deadline = time.monotonic() + limit
        while self.out.fill(deadline):
            pass
        try:
            return self.popen.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure(f'{self.name} did not end within {limit:.0f} s') from None

    def output(self):
        return self.out.data.decode(errors='replace')

    def account(self):
        """For the text of a failure: what it has printed, and the end of what was logged since it was started."""
        with open(self.log.path, 'rb') as f:
            f.seek(max(self.log_at, os.path.getsize(self.log.path) - 1000))
            logged = f.read().decode(errors='replace')
        return f'{self.output().strip()}\nlog: {logged.strip()}'

    def expect(self, pattern, limit=LIMIT):
        """The first line printed from now on that matches."""
        deadline = time.monotonic() + limit
        while (line := self.out.line(deadline)) is not None:
            self.log.write(f'[{self.name}] {line}\n')
            if re.search(pattern, line):
                return line
        raise Failure(f'{self.name} never said "{pattern}"'
                      + ('' if self.alive() else f'; it ended with {self.popen.returncode}'))

    def close(self):
        self.kill()
        self.popen.stdout.close()
        if self.popen.stdin:
            self.popen.stdin.close()


class Log:
    """One file a VM: console, QEMU, host programs and what the driver does, in order."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, 'ab', buffering=0)  # O_APPEND: several writers

    def write(self, text):
        self.file.write(text.encode(errors='replace'))

    def close(self):
        self.file.close()


class Owner:
    """Everything that must be closed at the end, last come first."""

    def __init__(self):
        self.things = []

    def add(self, thing):
        self.things.append(thing)
        return thing

    def close(self):
        while self.things:
            self.things.pop().close()
