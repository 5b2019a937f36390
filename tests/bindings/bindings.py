#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The bindings: each is built as bindings/README.md says, its own tests run, and their echo programs talk to each other.

usage: bindings.py ZVSOCKD LIBZVSOCK LAYOUT SCRATCH
"""
import itertools
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'daemon'))

import zvd_program  # noqa: E402 pylint: disable=wrong-import-position
from zvd_program import Skip, case  # noqa: E402 pylint: disable=wrong-import-position

LIB = os.path.dirname(os.path.abspath(sys.argv[2]))
LAYOUT, SCRATCH = map(os.path.abspath, sys.argv[3:5])
ROOT = os.path.normpath(os.path.join(HERE, '..', '..'))
INCLUDE = os.path.join(ROOT, 'api', 'include')
BUILD_LIMIT = 600  # a compiler, on a busy machine


def call(*args, env=None, cwd=None, what=None):
    done = subprocess.run(args, env={**os.environ, **(env or {})}, cwd=cwd, timeout=BUILD_LIMIT, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f'{what or args[0]} ended with {done.returncode}:\n{done.stdout}'
    return done.stdout


def need(program, package):
    path = shutil.which(program, path='/usr/bin')  # Debian's, not one of the user's
    if not path:
        raise Skip(f'there is no {program}: apt-get install {package}')
    return path


class Python:
    env = {'PYTHONPATH': os.path.join(SCRATCH, 'python')}

    @classmethod
    def build(cls):
        try:
            import cffi  # noqa: F401 pylint: disable=import-outside-toplevel,unused-import
        except ImportError as why:
            raise Skip('there is no cffi: apt-get install python3-cffi') from why
        import sysconfig  # pylint: disable=import-outside-toplevel
        if not os.path.exists(os.path.join(sysconfig.get_paths()['include'], 'Python.h')):
            raise Skip('there is no Python.h: apt-get install python3-dev')
        call(sys.executable, os.path.join(ROOT, 'bindings/python/zvsock_build.py'), cls.env['PYTHONPATH'], INCLUDE, LIB, LIB)
        return [sys.executable, os.path.join(ROOT, 'bindings/python/examples/echo.py')]

    @classmethod
    def test(cls, _uri, _w):
        return call(sys.executable, os.path.join(HERE, 'test_python.py'), zvd_program.ZVSOCKD, env=cls.env)


class Go:
    dir = os.path.join(ROOT, 'bindings', 'go')
    env = {'CGO_CFLAGS': '-I' + INCLUDE, 'CGO_LDFLAGS': f'-L{LIB} -Wl,-rpath,{LIB}', 'GOFLAGS': '-mod=mod',
           'GOCACHE': os.path.join(SCRATCH, 'gocache'), 'GOPATH': os.path.join(SCRATCH, 'gopath'), 'GO111MODULE': 'on',
           'GOPROXY': 'off'}

    @classmethod
    def build(cls):
        go = need('go', 'golang-go')
        call(go, 'vet', './...', env=cls.env, cwd=cls.dir)
        echo = os.path.join(SCRATCH, 'go-echo')
        call(go, 'build', '-o', echo, './examples/echo', env=cls.env, cwd=cls.dir)
        return [echo]

    @classmethod
    def test(cls, uri, _w):
        return call(need('go', 'golang-go'), 'test', '-count=1', '-v', '.', env={**cls.env, 'ZVSOCK_TEST_URI': uri}, cwd=cls.dir,
                    what='go test')


class Rust:
    dir = os.path.join(ROOT, 'bindings', 'rust')
    env = {'ZVSOCK_LIB_DIR': LIB, 'CARGO_TARGET_DIR': os.path.join(SCRATCH, 'rust'), 'CARGO_HOME': os.path.join(SCRATCH, 'cargo'),
           'PATH': '/usr/bin:/bin'}

    @classmethod
    def build(cls):
        need('rustc', 'rustc')
        cargo = need('cargo', 'cargo')
        call(cargo, 'build', '--offline', '--locked', '--example', 'echo', env=cls.env, cwd=cls.dir)
        return [os.path.join(cls.env['CARGO_TARGET_DIR'], 'debug', 'examples', 'echo')]

    @classmethod
    def test(cls, uri, w):
        layout = w.write('layout', call(LAYOUT))
        return call(need('cargo', 'cargo'), 'test', '--offline', '--locked',
                    env={**cls.env, 'ZVSOCK_TEST_URI': uri, 'ZVSOCK_TEST_LAYOUT': layout}, cwd=cls.dir, what='cargo test')


LANGUAGES = {'python': Python, 'go': Go, 'rust': Rust}


def zvsockd(w):
    w.up('-s', f'applications={w.path("clients")}', '-s', 'drain_ms=0')
    return 'daemon:' + w.path('clients')


def tests_of(name):
    def run(w):
        LANGUAGES[name].build()
        print(LANGUAGES[name].test(zvsockd(w), w))
    run.__name__ = f'{name}_tests'
    case(run)


for language in LANGUAGES:
    tests_of(language)


@case
def echo_between_languages(w):
    """Each language's server answers each language's client."""
    uri = zvsockd(w)
    built = {}
    for name, lang in LANGUAGES.items():
        try:
            built[name] = lang.build(), lang.env
        except Skip as why:
            print(f'{name} is left out: {why}')
    if not built:
        raise Skip('no language is there')
    port = 100
    text = ''.join(f'line {i}\n' for i in range(20000))
    for (server, (serve, serve_env)), (client, (send, send_env)) in itertools.product(built.items(), repeat=2):
        port += 1
        s = subprocess.Popen([*serve, 'serve', uri, str(port)], stdout=subprocess.PIPE, env={**os.environ, **serve_env})
        w.procs.append(s)
        assert s.stdout.readline() == b'listening\n', server
        done = subprocess.run([*send, 'send', uri, '1', str(port)], input=text, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, **send_env}, timeout=zvd_program.LIMIT, check=False)
        assert done.returncode == 0 and done.stdout == text, f'{server} to {client}: {done.returncode}, {len(done.stdout)}'
        s.kill()
        s.wait()
        s.stdout.close()


if __name__ == '__main__':
    os.makedirs(SCRATCH, exist_ok=True)
    sys.exit(zvd_program.main())
