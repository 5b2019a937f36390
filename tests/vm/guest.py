# SPDX-License-Identifier: BSD-3-Clause
"""A guest: QEMU without KVM, and the line to the agent in it (guest/agent.c tells the protocol)."""
import json
import os
import re
import socket
import tempfile
import time

import cli
import hugepages
from procs import Failure, LIMIT, Process, Stream, until

# On a busy machine the emulated timer may miss the kernel's test of it, which ends in a panic.
BOOT = 'console=ttyS0 quiet panic=-1 no_timer_check random.trust_cpu=on'
# Plain "max" is slow at memcpy under TCG, and a 6.12 kernel does not always survive its cx16.
CPU = 'max,erms=off,fsrm=off,cx16=off'
# One CPU. QEMU before 8.1 leaves memory barriers out of what it emulates when no second one can come, and what the guest
# writes for a vhost-user backend and then reads gets out of order: wake-ups are lost, with any driver.
SMP = '1,maxcpus=2'
QEMU = 'qemu-system-x86_64'
MEMORY = 'guest-in-hugepages'  # how /proc/PID/maps calls such a guest's memory
SAID = set()


class Memory:
    """What a guest is to have as memory: @args for QEMU, which inherits @fds and shares it with the
    backend. It is in 2 MiB pages (@huge) when they can be had; @text says what it is. @room: MiB
    that may be plugged in later. @halves: two files of half of it each, in ordinary memory; for the guest
    they are adjacent."""

    def __init__(self, mib, room=0, halves=False):
        if halves:
            self.huge, self.fds = False, ()
            self.text = f'{mib} MiB of ordinary memory in two halves'
            self.args = ['-m', str(mib), '-machine', 'q35,accel=tcg']
            for i in range(2):
                self.args += ['-object', f'memory-backend-memfd,id=mem{i},size={mib // 2}M,share=on',
                              '-numa', f'node,memdev=mem{i}']
            return
        fd, why = hugepages.allocate(mib, MEMORY)
        self.huge, self.fds = fd is not None, () if fd is None else (fd,)
        if self.huge:
            self.text = f'{mib} MiB of memory in 2 MiB pages'
            kind = f'memory-backend-file,mem-path=/proc/self/fd/{fd}'
        else:
            self.text = f'{mib} MiB of ordinary memory (memfd); {why}'
            kind = 'memory-backend-memfd'
        size = f'{mib},slots=2,maxmem={mib + room}M' if room else str(mib)
        self.args = ['-m', size, '-object', f'{kind},id=mem,size={mib}M,share=on',
                     '-machine', 'q35,memory-backend=mem,accel=tcg']

    def handed_over(self):
        """QEMU runs, and the memory is its alone."""
        for fd in self.fds:
            os.close(fd)
        self.fds = ()


def say_once(huge, text):
    """The run's output says what guests have: one line for each kind of memory."""
    if huge not in SAID:
        SAID.add(huge)
        cli.say(f'a guest has {text}')


def vsock_args(path, server=False):
    """The stock device on the vhost-user socket @path; @server: QEMU listens, the backend connects."""
    how = ',server=on' if server else ''
    return ['-chardev', f'socket,id=vsock,path={path}{how}',
            '-device', 'vhost-user-vsock-pci,chardev=vsock']


class Monitor:
    """A VM's QMP socket: what somebody does to the VM from outside.

    QEMU answers there only once its devices are set up, which a backend that gets no CPU holds up; so
    the greeting is taken with the first command.
    """

    def __init__(self, owner, path, log):
        self.log, self.line = log, owner.add(socket.socket(socket.AF_UNIX))
        until(lambda: os.path.exists(path), 'the monitor of QEMU')
        self.line.connect(path)
        self.stream, self.greeted = Stream(self.line.fileno()), False

    def message_with(self, key, what):
        """The next message that has @key; events are skipped."""
        deadline = time.monotonic() + LIMIT
        while (line := self.stream.line(deadline)) is not None:
            message = json.loads(line)
            if 'error' in message:
                raise Failure(f'QEMU: {what}: {message["error"]["desc"]}')
            if key in message:
                return message[key]
        raise Failure(f'QEMU never answered {what}')

    def do(self, command, **arguments):
        if not self.greeted:
            self.greeted = True
            self.message_with('QMP', 'the greeting')
            self.do('qmp_capabilities')
        self.log.write(f'[driver] QMP {command} {arguments or ""}\n')
        self.line.sendall(json.dumps({'execute': command, 'arguments': arguments}).encode() + b'\n')
        return self.message_with('return', command)

    def pause(self, meanwhile):
        """The VM stands still while @meanwhile() runs."""
        self.do('stop')
        try:
            meanwhile()
        finally:
            self.do('cont')


class Job:
    """A command that runs in the guest."""

    def __init__(self, guest, number, command):
        self.guest, self.number, self.command = guest, number, command
        self.status, self.output = None, ''

    def wait(self, limit=LIMIT):
        """Its exit code; 128 + signal when it was killed."""
        deadline = time.monotonic() + limit
        while self.status is None:
            self.guest.listen(deadline, f'"{self.command}" did not end')
        return self.status

    def ended(self):
        """By what the agent has said so far."""
        while self.status is None and self.guest.stream.waiting():
            self.guest.listen(time.monotonic() + LIMIT, 'the agent stopped amid a word')
        return self.status is not None

    def expect(self, pattern, limit=LIMIT):
        deadline = time.monotonic() + limit
        while not (m := re.search(pattern, self.output)):
            if self.status is not None:
                raise Failure(f'"{self.command}" ended with {self.status} and never said '
                              f'"{pattern}": {self.output.strip()[-300:]}')
            self.guest.listen(deadline, f'"{self.command}" never said "{pattern}"')
        return m.group(0)

    def kill(self, sig):
        self.guest.send_line(f'kill {self.number} {int(sig)}')


class Agent:
    """The line to the agent in a guest. Whoever derives from it starts the guest's process, .vmm, and gives
    talk() the socket that the agent is at the other end of."""

    def __init__(self, log):
        self.log, self.jobs, self.next = log, {}, 1
        self.vmm = self.line = self.stream = None
        self.memory = ''

    def attach_agent(self, line):
        self.line, self.stream = line, Stream(line.fileno())

    def wait_ready(self, limit=LIMIT):
        """The agent's first word; what an earlier life of the guest has left unsaid is skipped."""
        deadline = time.monotonic() + limit
        while (line := self.stream.line(deadline)) is not None:
            if (m := re.search(r'ready (\S+)$', line)):
                self.log.write(f'[driver] guest up: kernel {m.group(1)}, {self.memory}\n')
                self.release = m.group(1)
                return self
        raise Failure(f'the guest did not come up; see {self.log.path}')

    def send_line(self, text):
        self.line.sendall(text.encode() + b'\n')

    def listen(self, deadline, otherwise):
        """Takes one message from the agent."""
        line = self.stream.line(deadline)
        if line is None:
            dead = '' if self.vmm.alive() else f'; {self.vmm.name} has ended'
            raise Failure(f'{otherwise}{dead}')
        verb, number, value = line.split()
        job = self.jobs[int(number)]
        if verb == 'out':
            text = self.stream.exactly(int(value), deadline)
            if text is None:
                raise Failure(otherwise)
            job.output += text.decode(errors='replace')
        else:
            job.status = int(value)
            self.log.write(f'[guest] {job.number}: {job.output.strip()[-2000:]} -> {value}\n')

    def start(self, command):
        """Starts a shell command in the guest; any number may run."""
        job = self.jobs[self.next] = Job(self, self.next, command)
        self.next += 1
        self.log.write(f'[guest] {job.number}: {command}\n')
        self.send_line(f'run {job.number} {command}')
        return job

    def run(self, command, limit=LIMIT):
        """Runs it to the end and returns what it printed; it must exit with 0."""
        job = self.start(command)
        status = job.wait(limit)
        if status:
            raise Failure(f'guest: "{command}" ended with {status}: {job.output.strip()[-300:]}')
        return job.output

    def kill(self):
        """As a power cut."""
        self.vmm.kill()


class Guest(Agent):
    """A VM. @devices: QEMU arguments. @reboots: a reset is no end (nor is a panic).
    @boot: more of the kernel's command line. @halves: see Memory. @qemu: how it is started. @smp: its CPUs.

    QEMU runs when the constructor returns; wait_ready() waits for the system in it.
    """

    def __init__(self, owner, folder, log, kernel, ramdisk, devices,
                 reboots=False, memory=256, room=0, boot='', halves=False, qemu=(QEMU,), smp=SMP):
        super().__init__(log)
        where = tempfile.mktemp(suffix='.agent', dir=folder)
        qmp = tempfile.mktemp(suffix='.qmp', dir=folder)
        memory = Memory(memory, room, halves)
        self.huge, self.memory = memory.huge, memory.text
        say_once(self.huge, self.memory)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(where)
            listener.listen(1)
            self.vmm = Process(owner, [
                *qemu, '-nodefaults', '-no-user-config', '-display', 'none', *memory.args,
                *([] if reboots else ['-no-reboot']),
                '-cpu', CPU, '-smp', smp, '-kernel', kernel.image, '-initrd', ramdisk,
                '-append', f'{BOOT} {boot}', '-qmp', f'unix:{qmp},server=on,wait=off',
                '-chardev', f'file,id=console,path={log.path},append=on', '-serial',
                'chardev:console', '-device', 'virtio-serial-pci', '-chardev',
                f'socket,id=agent,path={where}', '-device', 'virtserialport,chardev=agent',
                *devices], log, pass_fds=memory.fds)
            memory.handed_over()
            listener.settimeout(LIMIT)
            self.attach_agent(owner.add(self.accept(listener)))
        os.unlink(where)
        self.monitor = Monitor(owner, qmp, log)

    def reboot(self):
        """Resets the machine as the guest's kernel does it; all jobs are gone."""
        self.send_line('run 0 reboot -f')
        self.wait_ready()

    def accept(self, listener):
        deadline = time.monotonic() + LIMIT
        listener.settimeout(0.2)
        while time.monotonic() < deadline:
            try:
                return listener.accept()[0]
            except socket.timeout:
                if not self.vmm.alive():
                    break
        raise Failure(f'QEMU did not start; see {self.log.path}')
