# SPDX-License-Identifier: BSD-3-Clause
"""zvsockd as a program: what its tests share.

A file of cases puts @case on each and ends with sys.exit(main()). Each case prints cmocka's lines. Nothing waits
for a time: a case waits for what must happen, and gives up after LIMIT seconds.
"""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.append(os.path.join(os.path.dirname(os.path.realpath(__file__)), '..'))
import usage  # noqa: E402 pylint: disable=wrong-import-position

LIMIT = 180  # far more than anything here takes
PATIENT = f'connect_timeout_ms = {LIMIT * 1000}\n'  # for a section: the other end may get no CPU for seconds
ZVSOCKD = usage.arguments()[0]


class Skip(Exception):
    pass


CASES = []


def case(function):
    CASES.append(function)
    return function


def until(condition, what):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f'waited in vain for {what}'
        time.sleep(0.05)


def open_folder():
    """A directory for temporary files that every user can enter; not each TMPDIR is such. None: there is none."""
    for folder in (tempfile.gettempdir(), '/tmp', '/var/tmp'):
        way = [os.path.realpath(folder)]
        while way[-1] != '/':
            way.append(os.path.dirname(way[-1]))
        if all(os.path.exists(f) and os.stat(f).st_mode & 0o001 for f in way):
            return folder
    return None


class Testbed:
    """A directory, programs that run in it, and what they tell the service manager."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='zvd', dir=open_folder())
        os.chmod(self.dir, 0o755)
        self.procs, self.files = [], []
        self.logs = {}  # process: its log
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(self.path('notify'))
        os.chmod(self.path('notify'), 0o666)
        self.told = ''

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text.replace('DIR', self.dir))
        return self.path(name)

    def start(self, *args, log='log', env=None, program=ZVSOCKD, **more):
        """zvsockd with @args; its log goes to a file."""
        with open(self.path(log), 'w', encoding='utf-8') as err:
            more.setdefault('stderr', err)
            proc = subprocess.Popen([program, *args], stdin=subprocess.DEVNULL,
                                    env={**os.environ, 'NOTIFY_SOCKET': self.path('notify'),
                                         **(env or {})}, **more)
        self.procs.append(proc)
        self.logs[proc] = log
        return proc

    def said_by(self, proc):
        return self.log(self.logs.get(proc, 'log'))

    def wait_told(self, text, proc):
        """Until zvsockd has told the service manager @text."""
        end = time.monotonic() + LIMIT
        while text not in self.told:
            if select.select([self.manager], [], [], 0.1)[0]:
                self.told += self.manager.recv(4096).decode() + '\n'
                continue
            assert proc.poll() is None, f'ended with {proc.returncode}:\n{self.said_by(proc)}'
            assert time.monotonic() < end, f'not told: {text}; but: {self.told}\n{self.said_by(proc)}'
        self.told = self.told.split(text, 1)[1]

    def up(self, *args, **more):
        proc = self.start(*args, **more)
        self.wait_told('READY=1', proc)
        return proc

    def log(self, name='log'):
        with open(self.path(name), encoding='utf-8') as f:
            return f.read()

    def end(self, proc, sig=signal.SIGTERM, rc=0):
        proc.send_signal(sig)
        assert proc.wait(LIMIT) == rc, f'ended with {proc.returncode}:\n{self.said_by(proc)}'

    def close(self):
        for proc in self.procs:
            if proc.poll() is None:
                proc.kill()
            proc.wait()
            if proc.stdin:
                proc.stdin.close()
        for fd in self.files:
            os.close(fd)
        self.manager.close()
        shutil.rmtree(self.dir)


def run(*args):
    done = subprocess.run([ZVSOCKD, *args], capture_output=True, text=True, timeout=LIMIT, check=False,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


GUEST = '[guest web]\ncid = 3\nsocket = DIR/web.sock\nunix = DIR/web.vsock\nbuiltin = echo:7\n'


def reload(w, d, text, status):
    w.write('c', text)
    w.told = ''
    d.send_signal(signal.SIGHUP)
    w.wait_told('RELOADING=1', d)
    w.wait_told('READY=1', d)
    w.wait_told(status, d)


def main():
    os.umask(0o022)  # whoever runs the tests: some files are read by other users
    bad = 0
    for function in CASES:
        print(f'[ RUN      ] {function.__name__}', flush=True)
        w = Testbed()
        try:
            function(w)
            verdict = '[       OK ]'
        except Skip as why:
            print(why)
            verdict = '[  SKIPPED ]'
        except Exception:  # whatever went wrong is the verdict on this case
            traceback.print_exc(file=sys.stdout)
            verdict = '[  FAILED  ]'
            bad += 1
        finally:
            w.close()
        print(f'{verdict} {function.__name__}', flush=True)
    return 1 if bad else 0
