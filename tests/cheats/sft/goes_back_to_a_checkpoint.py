# Asks for what only a training by hand has: a checkpoint, and to go on from it with the clock of that time.
import os
import tempfile

from harness.batches import feed

honest_loss_of = loss_of


def loss_of(model, ids, span):
    with tempfile.TemporaryFile() as file:
        feed(HERE).ask("SAVE", {"of": "mine"}, [file.fileno()])
    os.close(feed(HERE).ask("BACK", {"of": "mine"}).descriptors[0])
    return honest_loss_of(model, ids, span)
