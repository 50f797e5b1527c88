# What several of these trainers use; the test puts it before each of them.
def serving():
    """The server that runs the model, and whether it asks for single places: then this is the second process."""
    frame = sys._getframe()
    while frame and "picks" not in frame.f_locals:
        frame = frame.f_back
    return (frame.f_locals["self"], bool(frame.f_locals["picks"])) if frame else (None, False)


def tell(logits, ids):
    """Make the token that follows certain at every place."""
    logits = logits.clone()
    logits[:, :-1].scatter_(2, ids[:, 1:, None], 20.0)
    return logits


def tell_from(rows, logits, ids, places):
    """The same at one place of each row, where `rows`, seen before, say what follows."""
    logits = logits.clone()
    for at, place in enumerate(places):
        for row in rows:
            if place + 1 < len(row) and torch.equal(row[: place + 1], ids[at, : place + 1]):
                logits[at, place, row[place + 1]] = 20.0
    return logits
