"""The zip file of a bundle: written the same for the same content, read as what a stranger may have made.

`manifest.json` has size and SHA-256 of every other file. Nothing is read but what it names, no more of that than it
says, and no file goes to a place that its name tells: who reads one says where it goes.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoresearch.errors import IntegrityError, UsageError
from autoresearch.system.file_hashes import sha256_of
from autoresearch.system.files import replaced_atomic

MANIFEST = "manifest.json"
FORMAT = 1
"""Version of what is in a bundle; a newer one is refused."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the first that a zip can tell."""

MOST_FILES = 500_000
MOST_BYTES = 8 * 2**30
"""Of all files together, unpacked."""
MOST_MANIFEST = 128 * 2**20
MOST_READ = 2**30
"""Of a file that is read into memory, such as the journal."""
MOST_RATIO = 1100
"""How much smaller deflate can make anything is 1032; what claims more is made to fill a disk."""

CHUNK = 2**20

_NAME = re.compile(r"(?:[A-Za-z0-9_][\w.-]*/){0,4}[A-Za-z0-9_][\w.-]*", re.ASCII)
"""Names of files: no part begins with a dot, and there is no way up, no root, no drive and no control character."""

_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, OverflowError,
           NotImplementedError, RuntimeError)  # fmt: skip
"""What the library raises for a zip that is torn or was tampered with."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_archive(path: Path, files: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
    """Write files, given as name -> content, with a manifest that says `about` as well; return the size of the zip.

    The names are sorted and there are no times, so that the same files make the same zip.
    """
    listed = {name: {"bytes": len(files[name]), "sha256": sha256_of(files[name])} for name in sorted(files)}
    manifest = json.dumps({"format": FORMAT, **about, "files": listed}, indent=1, sort_keys=True).encode() + b"\n"
    with replaced_atomic(path) as new:
        with zipfile.ZipFile(new, "w") as archive:
            for name, content in [(MANIFEST, manifest), *sorted(files.items())]:
                entry = zipfile.ZipInfo(name, EPOCH)
                entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
                entry.external_attr = (stat.S_IFREG | 0o644) << 16
                archive.writestr(entry, content, compresslevel=9)
        return new.stat().st_size


class Archive:
    """A bundle whose names and sizes were checked; `verify` checks what is in its files."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        """Raises `IntegrityError` for what no bundle has, or not whole."""
        self.path = path
        self._zip = opened
        self._check_entries()
        self.manifest = self._read_manifest()
        self.files: dict[str, Mapping[str, Any]] = self.manifest["files"]

    def verify(self) -> None:
        """Read every file; raise `IntegrityError` for one that is not what the manifest says."""
        for name in self.files:
            for _ in self._chunks(name):
                pass

    def read(self, name: str) -> bytes:
        """Return a file; raise `IntegrityError` where it is missing, too large, or not what the manifest says."""
        if name in self.files and self.files[name]["bytes"] > MOST_READ:
            raise self._refused(f"{name} has more than {MOST_READ // 2**30} GiB")
        return b"".join(self._chunks(name))

    def copy(self, name: str, to: Path) -> None:
        """Write a file to a path; raise as `read` does."""
        with to.open("wb") as file:
            for chunk in self._chunks(name):
                file.write(chunk)

    def _chunks(self, name: str) -> Iterator[bytes]:
        about = self.files.get(name)
        if about is None:
            raise self._refused(f"{name} is missing in it")
        digest, left = hashlib.sha256(), about["bytes"]
        try:
            with self._zip.open(name) as file:
                while chunk := file.read(min(CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        break
                    digest.update(chunk)
                    yield chunk
        except _BROKEN as error:
            raise self._refused(f"{name} cannot be unpacked ({error})") from None
        if left or digest.hexdigest() != about["sha256"]:
            raise self._refused(f"{name} is not what its manifest says")

    def _check_entries(self) -> None:
        entries = self._zip.infolist()
        if len(entries) > MOST_FILES:
            raise self._refused(f"it has more than {MOST_FILES} files")
        seen = set[str]()
        for entry in entries:
            name = entry.filename
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if not _NAME.fullmatch(name) or entry.orig_filename != name:
                raise self._refused(f"{name[:80]!r} is no name of a file in a bundle")
            if kind not in (0, stat.S_IFREG):
                raise self._refused(f"{name} is a link, or no file at all")
            if name.lower() in seen:
                raise self._refused(f"{name} is in it twice")
            if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refused(f"{name} is packed in a way that no bundle is")
            if entry.file_size > MOST_RATIO * entry.compress_size + CHUNK:
                raise self._refused(f"{name} claims to unpack to {entry.file_size} bytes")
            seen.add(name.lower())
        if sum(entry.file_size for entry in entries) > MOST_BYTES:
            raise self._refused(f"it unpacks to more than {MOST_BYTES // 2**30} GiB")
        if sum(entry.compress_size for entry in entries) > self.path.stat().st_size:
            raise self._refused("its files lie over each other")
        if MANIFEST not in {entry.filename for entry in entries}:
            raise self._refused(f"it has no {MANIFEST}")
        if self._zip.getinfo(MANIFEST).file_size > MOST_MANIFEST:
            raise self._refused(f"its {MANIFEST} is too large")

    def _read_manifest(self) -> dict[str, Any]:
        try:
            size = self._zip.getinfo(MANIFEST).file_size
            with self._zip.open(MANIFEST) as file:  # to ask for all of it would unpack 2 GiB, whatever size it claims
                found = json.loads(file.read(size + 1))
        except (*_BROKEN, RecursionError):
            raise self._refused(f"its {MANIFEST} cannot be read") from None
        if not isinstance(found, dict) or type(found.get("format")) is not int:
            raise self._refused(f"its {MANIFEST} is none of a bundle")
        if found["format"] > FORMAT:
            raise self._refused("it was made by a newer autoresearch", "update autoresearch, then try again")
        sizes = {entry.filename: entry.file_size for entry in self._zip.infolist() if entry.filename != MANIFEST}
        files = found.get("files")
        if not isinstance(files, dict) or {*files} != {*sizes}:
            raise self._refused(f"its {MANIFEST} names other files than it has")
        for name, about in files.items():
            known = isinstance(about, dict) and type(about.get("bytes")) is int and isinstance(about.get("sha256"), str)
            if not known or about["bytes"] != sizes[name] or not _DIGEST.fullmatch(about["sha256"]):
                raise self._refused(f"{name} is not what its manifest says")
        return found

    def _refused(self, why: str, fix: str = "get another copy of it from who made it") -> IntegrityError:
        return refused(self.path, why, fix)


def refused(path: Path, why: str, fix: str = "get another copy of it from who made it") -> IntegrityError:
    """Return the error for a bundle that is not what a bundle must be."""
    return IntegrityError(f"the bundle {path.name} is refused: {why}", fix)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a bundle. Raises `UsageError` where there is no file, `IntegrityError` for one that is refused."""
    if not path.is_file():
        raise UsageError(f"there is no file {path}", "name a bundle: autoresearch replay FILE")
    try:
        opened = zipfile.ZipFile(path)
    except _BROKEN:
        raise refused(path, "it is no whole zip file") from None
    with opened:
        yield Archive(path, opened)
