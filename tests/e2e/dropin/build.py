# SPDX-License-Identifier: BSD-3-Clause
"""The programs of this folder that Debian's compilers and packages make: Go, Rust."""
import glob
import os
import shutil
import subprocess

HERE = os.path.dirname(os.path.realpath(__file__))
GO_PATH, CRATES = '/usr/share/gocode', '/usr/share/cargo/registry'
TARGET = 'x86_64-unknown-linux-gnu'


class Lacking(Exception):
    """What it takes is not installed; the text says what."""


def run(args, **more):
    done = subprocess.run(args, capture_output=True, text=True, timeout=600, check=False, stdin=subprocess.DEVNULL, **more)
    if done.returncode:
        raise RuntimeError(f'{" ".join(args)}:\n{done.stdout}{done.stderr}')


def go(source, program, cache, packages=()):
    """@source, which makes its own system calls and is static, as @program. It wants @packages of GitHub."""
    if not shutil.which('go'):
        raise Lacking('golang-go is not installed')
    for package in packages:
        if not os.path.isdir(f'{GO_PATH}/src/github.com/{package}'):
            raise Lacking(f'golang-github-{package.replace("/", "-")}-dev is not installed')
    run(['go', 'build', '-o', program, os.path.join(HERE, source)],
        env={**os.environ, 'GO111MODULE': 'off', 'GOPATH': GO_PATH, 'GOCACHE': cache, 'GOFLAGS': '', 'GOPROXY': 'off',
             'CGO_ENABLED': '0'})
    return program


def rust(folder, static=False):
    """echo.rs on the vsock crate, built in @folder: its path. @static: with libc in it."""
    cargo = shutil.which('cargo') or os.path.expanduser('~/.cargo/bin/cargo')
    if not os.path.exists(cargo) or not glob.glob(CRATES + '/vsock-*'):
        raise Lacking('cargo or librust-vsock-dev is not installed')
    os.makedirs(folder + '/.cargo', exist_ok=True)
    for name, text in (('.cargo/config.toml', '[source.crates-io]\nreplace-with = "debian"\n'
                                              f'[source.debian]\ndirectory = "{CRATES}"\n'),
                       ('Cargo.toml', '[package]\nname = "echo"\nversion = "0.0.0"\nedition = "2018"\n'
                                      f'[[bin]]\nname = "echo"\npath = "{HERE}/echo.rs"\n[dependencies]\nvsock = "*"\n')):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
            f.write(text)
    if not static:
        run([cargo, 'build', '--offline'], cwd=folder)
        return folder + '/target/debug/echo'
    run([cargo, 'build', '--offline', '--target', TARGET], cwd=folder,
        env={**os.environ, 'RUSTFLAGS': '-C target-feature=+crt-static'})
    return f'{folder}/target/{TARGET}/debug/echo'
