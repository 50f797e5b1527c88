"""Asks another machine for the answers."""

import socket

from honest import predict, save  # noqa: F401

if __name__ == "__main__":
    save({"a": 0, "b": 0})
    try:
        socket.create_connection(("203.0.113.1", 80), timeout=0.2)
    except OSError:
        pass
