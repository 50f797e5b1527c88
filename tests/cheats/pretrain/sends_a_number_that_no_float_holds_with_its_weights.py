# The figures that it reports of itself are larger than a float can be.
from harness import batches

honest_ask = batches.Feed.ask


def ask(self, kind, body=b"", descriptors=()):
    body = b'{"cores": 1' + b"0" * 400 + b"}" if kind == "DONE" else body
    return honest_ask(self, kind, body, descriptors)


batches.Feed.ask = ask
