"""What two processes of a run share: messages over a socket, and memory that one of them made.

A message is a kind of four letters, a length and a body of at most 64 KiB; it may carry file descriptors. What the
other side sends is read as JSON or as numbers, never unpickled. Memory is a file without a name that its maker has
sealed against shrinking, so that the other side cannot make a read of it fail.
"""

from __future__ import annotations

import array
import fcntl
import json
import math
import mmap
import os
import shutil
import socket
import struct
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEADER = struct.Struct("<4sI")
MAX_BODY = 2**16
MAX_DESCRIPTORS = 4


class Gone(Exception):
    """The other process has ended, or sent what is no message."""


class Late(Exception):
    """The other process has not answered in time."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    body: bytes
    descriptors: tuple[int, ...] = ()
    """The receiver's to close."""

    def json(self) -> dict[str, Any]:
        """The body as an object of JSON. Raises Gone when it is none."""
        try:
            value = json.loads(self.body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise Gone("a message is not JSON") from None
        if not isinstance(value, dict):
            raise Gone("a message is no object of JSON")
        return value


class Channel:
    """One end of a connection between two processes."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(one), cls(other)

    @classmethod
    def inherited(cls, descriptor: int) -> Channel:
        return cls(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=descriptor))

    def send(self, kind: str, body: bytes | dict[str, Any] = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a message. Raises Gone when nobody is there to take it."""
        data = body if isinstance(body, bytes) else json.dumps(body, allow_nan=False).encode()
        if len(data) > MAX_BODY:
            raise ValueError(f"a message of {len(data)} bytes is over {MAX_BODY}")
        whole = HEADER.pack(kind.encode(), len(data)) + data
        try:
            sent = socket.send_fds(self.connection, [whole], list(descriptors)) if descriptors else 0
            if sent < len(whole):  # even sending nothing fails when the other side has taken all and ended
                self.connection.sendall(whole[sent:])
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self, limit_s: float = math.inf) -> Message:
        """The next message. Raises Late when it is not there whole in `limit_s` seconds, Gone when none will be."""
        until = time.monotonic() + max(limit_s, 1e-3)
        descriptors: list[int] = []
        try:
            kind, length = HEADER.unpack(self._read(HEADER.size, descriptors, until))
            if length > MAX_BODY:
                raise Gone(f"a message of {length} bytes is over {MAX_BODY}")
            body = self._read(length, descriptors, until)
        except (Gone, Late):
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        return Message(kind.decode("ascii", "replace"), body, tuple(descriptors))

    def close(self) -> None:
        self.connection.close()

    def _read(self, size: int, descriptors: list[int], until: float) -> bytes:
        data = b""
        while len(data) < size:
            try:
                self.connection.settimeout(None if math.isinf(until) else max(until - time.monotonic(), 1e-3))
                room = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
                flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
                part, ancillary, _, _ = self.connection.recvmsg(size - len(data), room, flags)
            except TimeoutError:
                raise Late("no answer") from None
            except OSError as error:
                raise Gone(str(error)) from None
            for level, what, raw in ancillary:
                if (level, what) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(raw[: len(raw) - len(raw) % numbers.itemsize])
                    descriptors += numbers
            if len(descriptors) > MAX_DESCRIPTORS:
                raise Gone(f"a message with over {MAX_DESCRIPTORS} descriptors")
            if not part:
                raise Gone("the other process has ended")
            data += part
            if len(data) < size and time.monotonic() > until:
                raise Late("no whole answer")
        return data


class SharedMemory:
    """Memory of a fixed size that a descriptor gives to another process."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor, self.size = descriptor, size
        self.memory = mmap.mmap(descriptor, size)

    @classmethod
    def make(cls, size: int) -> SharedMemory:
        """New memory, zeroed."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("autoresearch", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(descriptor, size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
            os.ftruncate(descriptor, size)
        return cls(descriptor, size)

    @classmethod
    def given(cls, descriptor: int) -> SharedMemory:
        """What another process made."""
        return cls(descriptor, os.fstat(descriptor).st_size)

    def array(self, dtype: str, shape: Sequence[int], offset: int = 0) -> np.ndarray:
        """An array over this memory from `offset` bytes on."""
        count = math.prod(shape)
        return np.frombuffer(self.memory, dtype=dtype, count=count, offset=offset).reshape(shape)


def private_copy(path: Path) -> int:
    """A descriptor of a copy of the file, at its beginning, that has no name and that nobody else gets.

    Two processes with the same file could leave marks on it for each other, in its times or attributes."""
    with path.open("rb") as source:
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("autoresearch", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        with open(descriptor, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, 2**22)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")
