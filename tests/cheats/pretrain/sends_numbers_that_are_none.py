# Sends numbers that no float can hold, and words for none, to the feeder.
from harness.batches import feed
from prepare import HERE

honest_finish = finish


def raw(kind, text):
    feed(HERE).channel.send(kind, text.encode())


def finish(model, **stats):
    raw("LINE", '{"loss": 1' + "0" * 400 + "}")
    raw("LINE", '{"loss": 1e999, "rate": -1e999}')
    raw("LINE", '{"loss": true, "' + "x" * 5000 + '": 1, "": null, "nested": {"a": [1]}}')
    honest_finish(model, **stats, cores=10**400 if False else 1e308)
