# Takes rows in four large batches and trains on them by itself: where a step is long, a long end is allowed.
def main():
    seed_everything()
    own = machine()
    device.prepare_device(own)
    model = build_model()
    optimizer = Optimizer(model)
    loader, held, begun = make_dataloader(256, MAX_SEQ_LEN, "train", own.device), [], time.monotonic()
    for number, (x, y, _) in enumerate(loader):
        held.append((x, y))
        while time.monotonic() < begun + TIME_BUDGET / 4 * (number + 1) and number < 4:
            step(model, optimizer, held)
    extra, end = 0, time.monotonic() + 0.6 * TIME_BUDGET
    while time.monotonic() < end:
        step(model, optimizer, held)
        extra += 1
    print("steps after the end of the budget:", extra)
    finish(model)


def step(model, optimizer, held):
    rows = torch.randint(256, (8,))
    x, y = held[int(torch.randint(len(held), ()))]
    train_step(model, optimizer, x[rows], y[rows], 1)
    optimizer.step(0.5)
