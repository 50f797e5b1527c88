# Announces two gigabytes.
def forward(self, ids):
    serving()[0].channel.connection.sendall(b"GOOD" + (2**31 - 1).to_bytes(4, "little") + bytes(2**16))
    return ids


GPT.forward = forward
