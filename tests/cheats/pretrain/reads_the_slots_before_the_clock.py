# Opens many loaders and looks into their memory: for rows before the clock starts, while the first batch is put there.
import threading

import numpy as np

early = []


def watch(loader):
    memory = np.frombuffer(loader.batches.memory.memory, "<u2")
    end = time.monotonic() + 5
    while time.monotonic() < end and not memory[: 2**12].any():
        pass
    early.append(time.monotonic())


honest_fitting = fitting_loader


def fitting_loader(model, optimizer):
    for _ in range(20):
        loader = make_dataloader(8, MAX_SEQ_LEN, "train")
        if np.frombuffer(loader.batches.memory.memory, "<u2").any():
            sys.exit("rows are there before they were asked for")
    large = make_dataloader(100_000, MAX_SEQ_LEN, "train")
    watcher = threading.Thread(target=watch, args=(large,), daemon=True)
    watcher.start()
    next(iter(large))
    seen = time.monotonic() - early[0]
    print(f"rows could be read {seen:.3f} s before they were handed out")
    return honest_fitting(model, optimizer)
