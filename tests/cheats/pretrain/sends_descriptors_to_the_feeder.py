# Sends the feeder more files in one message than it may have open.
import os
import socket

honest_fitting = fitting_loader


def fitting_loader(model, optimizer):
    from harness.batches import feed
    from prepare import HERE

    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(200)]
    body = b'{"batch_size": 8, "seq_len": 8' + b" " * 2000 + b"}"
    for byte in b"OPEN" + len(body).to_bytes(4, "little") + body:
        socket.send_fds(feed(HERE).channel.connection, [bytes([byte])], files)
    feed(HERE).channel.receive()
    return honest_fitting(model, optimizer)
