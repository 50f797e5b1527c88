"""Messages and memory between two processes, against one that does not keep to the rules."""

from __future__ import annotations

import os
import socket
import struct
import sys

import numpy as np
import pytest
from harness.channel import HEADER, MAX_BODY, Channel, Gone, Late, SharedMemory


def test_messages_arrive_whole_in_order_with_their_descriptors() -> None:
    one, other = Channel.pair()
    memory = SharedMemory.make(64)
    one.send("ABCD", {"a": 1})
    one.send("WXYZ", b"x" * MAX_BODY, [memory.descriptor])
    assert other.receive().json() == {"a": 1}
    message = other.receive()
    assert (message.kind, len(message.body), len(message.descriptors)) == ("WXYZ", MAX_BODY, 1)
    theirs = SharedMemory.given(message.descriptors[0])
    theirs.array("<i4", (16,))[:] = np.arange(16)
    assert memory.array("<i4", (4, 4))[3].tolist() == [12, 13, 14, 15]
    os.close(message.descriptors[0])


def test_a_message_that_the_other_side_took_before_it_ended_was_sent() -> None:
    one, other = Channel.pair()
    read, write = os.pipe()
    if os.fork() == 0:
        one.close()
        other.receive()
        other.close()
        os._exit(0)
    other.close()
    one.send("DONE", b"", [read])
    os.wait()
    for descriptor in (read, write):
        os.close(descriptor)


def test_the_end_of_the_other_side_is_told_and_so_is_its_silence() -> None:
    one, other = Channel.pair()
    with pytest.raises(Late):
        one.receive(0.01)
    other.close()
    with pytest.raises(Gone):
        one.receive()
    with pytest.raises(Gone):
        one.send("ABCD")


@pytest.mark.parametrize(
    "sent",
    [
        HEADER.pack(b"HUGE", MAX_BODY + 1),
        HEADER.pack(b"JSON", 3) + b"[1]",
        HEADER.pack(b"JSON", 9) + b'{"a":NaN}',
        HEADER.pack(b"JSON", 4) + b"\x80\x04N.",  # a pickle
        HEADER.pack(b"JSON", 60000) + b"[" * 60000,
    ],
)
def test_what_is_no_message_ends_the_connection(sent: bytes) -> None:
    one, other = socket.socketpair()
    one.sendall(sent)
    with pytest.raises(Gone):
        Channel(other).receive().json()
    one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs the seals of Linux")
def test_shared_memory_cannot_be_made_shorter_under_its_maker() -> None:
    memory = SharedMemory.make(8192)
    with pytest.raises(OSError):
        os.ftruncate(memory.descriptor, 0)
    assert memory.array("<u1", (8192,)).sum() == 0


def test_a_header_has_eight_bytes() -> None:
    assert HEADER.size == struct.calcsize("<4sI") == 8
