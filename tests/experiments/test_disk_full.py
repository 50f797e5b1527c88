"""A disk that is full from any write on: nothing is lost, nothing is decided, and the next command goes on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import kill_lab
import pytest
from drawn import EVERY, drawn
from kill_lab import Lab, Maker
from waiting import PATIENCE_S

bytecode, make_lab = kill_lab.bytecode, kill_lab.make_lab

DRIVER = r"""
import builtins, errno, io, os, subprocess, sys, tempfile
from autoresearch.cli import history, output
from autoresearch.cli.app import program
from autoresearch.experiments import attempt, recovery
from autoresearch.runs import measure
from autoresearch.system import git

at, trace, inside, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
passed = 0
real_open, real_os_open = io.open, os.open

def full(name, path):
    global passed
    if not os.path.abspath(os.fspath(path)).startswith(inside):
        return
    passed += 1
    descriptor = real_os_open(trace, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, (name + "\n").encode())
    os.close(descriptor)
    if at and passed >= at:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

def layer(owner, name, which=0, when=lambda *args, **kwargs: True):
    real = getattr(owner, name)
    def layered(*args, **kwargs):
        if args and not isinstance(args[which], int) and when(*args, **kwargs):
            full(name, args[which])
        return real(*args, **kwargs)
    setattr(owner, name, layered)

writing = lambda path, mode="r", *rest, **kwargs: any(c in kwargs.get("mode", mode) for c in "wax+")
layer(io, "open", when=writing)
layer(os, "mkdir")
layer(os, "mkfifo")
layer(os, "symlink", which=1)
layer(os, "rename", which=1)
layer(os, "open", when=lambda path, flags=0, *rest, **kwargs: flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
      and "lock" not in os.fspath(path))
real_pwrite = os.pwrite
def pwrite(descriptor, data, offset):
    full("pwrite", os.readlink(f"/proc/self/fd/{descriptor}"))
    return real_pwrite(descriptor, data, offset)
os.pwrite = pwrite
builtins.open = io.open

CHANGING = ("add", "commit", "update-ref", "reset", "restore", "read-tree")
real_process = git.Git.process
def git_process(self, args, **kwargs):
    name = next((a for a in args if a in CHANGING), None)
    try:
        if name:
            full("git " + name, self.top / ".git")
    except OSError:
        said = f"fatal: unable to write new index file: No space left on device".encode()
        return subprocess.CompletedProcess(args, 128, b"", said)
    return real_process(self, args, **kwargs)
git.Git.process = git_process
output.run(program(arguments), arguments)
"""
"""Runs a command on a disk that has no room from the `at`-th write on (0: never); each write is a line of `trace`."""


def drive(lab: Lab, at: int, *args: str) -> tuple[list[str], subprocess.CompletedProcess[str]]:
    """Run a command; return the writes that it did or tried, and how it ended."""
    driver, trace = lab.folder.parent / "full.py", lab.folder.parent / "trace"
    driver.write_text(DRIVER)
    trace.write_text("")
    command = [sys.executable, str(driver), str(at), str(trace), str(lab.folder), *args]
    done = subprocess.run(command, cwd=lab.folder, env=lab.env, capture_output=True, text=True, timeout=PATIENCE_S)
    return trace.read_text().splitlines(), done


def places(writes: list[str]) -> list[int]:
    """Return where the disk is full: from the first and the last write of each kind, or from everywhere."""
    if EVERY:
        return [*range(1, len(writes) + 1)]
    kinds = sorted({[*writes].index(name) + 1 for name in writes} | {len(writes) - writes[::-1].index("pwrite")})
    return sorted({writes.index("pwrite") + 1, *drawn(kinds, 0.2, "disk full")})  # the journal's first line among them


@pytest.mark.slow
@pytest.mark.sampled(0.2)
@pytest.mark.parametrize(("better", "sandbox"), drawn(product((False, True), ("auto", "off")), 0.25, "disk full, how"))
def test_a_disk_that_is_full_from_any_write_on_loses_nothing(
    make_lab: Maker,
    better: bool,
    sandbox: str,
) -> None:
    lab = make_lab()
    lab.env["AUTORESEARCH_SANDBOX"] = sandbox
    lab.edit_worse()
    writes, done = drive(lab, 0, "try", "-m", "enough room", "--json")
    assert done.returncode == 0 and writes.count("pwrite") == 2, (writes, done.stderr)
    failed = 0
    for at in places(writes):
        lab.gather()
        if lab.content == lab.version("HEAD") and lab.head == lab.incumbent:
            lab.edit_better() if better else lab.edit_worse()
        before = lab.events()
        passed, done = drive(lab, at, "try", "-m", f"full from {at}", "--json")
        told = f"full from {passed[:at][-1]} ({at}): {done.stdout} {done.stderr}"
        assert "Traceback" not in done.stderr, told
        assert lab.events()[: len(before)] == before, told
        failed += done.returncode != 0
        if done.returncode:
            assert done.returncode in (1, 5) and json.loads(done.stdout)["error"]["fix"], told
        lab.resume()
        try:
            lab.check()
        except AssertionError as error:
            raise AssertionError(f"{told}: {error}") from error
    lab.gather()
    if lab.content == lab.version("HEAD") and lab.head == lab.incumbent:
        lab.edit_better()
    assert failed > (len(places(writes)) // 2 if EVERY else 0), "of a few that are drawn most may be done without"
    print(f"full from {len(places(writes))} of {len(writes)} writes on, {failed} commands failed for it")
    assert lab.json("try", "-m", "room again")["outcome"] == "ok"
    lab.check()


@pytest.mark.slow
@pytest.mark.sampled(0.2)
@pytest.mark.skipif(not shutil.which("mount") or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_small_real_disk_that_fills_up_loses_nothing(make_lab: Maker, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        lab = make_lab()
        shutil.copytree(lab.folder, disk / "lab", symlinks=True)
        lab.folder = disk / "lab"
        lab.git("status")
        failed = 0
        for left in (0, 4, 12, 24, 40, 64, 100, 200):
            lab.gather()
            if lab.content == lab.version("HEAD") and lab.head == lab.incumbent:
                lab.edit_better() if left % 8 else lab.edit_worse()
            free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
            (disk / "ballast").write_bytes(bytes(max(0, free - left * 1024)))
            done = lab.run("try", "-m", f"{left} KiB left", "--json")
            assert "Traceback" not in done.stderr, (left, done.stderr)
            (disk / "ballast").unlink()
            failed += done.returncode != 0
            lab.resume()
            try:
                lab.check()
            except AssertionError as error:
                raise AssertionError(f"{left} KiB left: {done.stdout}: {error}") from error
        assert failed > 3
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
