# Asks for no batch any more shortly before the budget ends, and trains on what it has, since who asks is told to stop.
def main():
    seed_everything()
    own = machine()
    device.prepare_device(own)
    model = build_model()
    optimizer = Optimizer(model)
    loader, held, extra = make_dataloader(8, MAX_SEQ_LEN, "train", own.device), [], 0
    for x, y, progress in loader:
        held.append((x, y))
        train_step(model, optimizer, x, y, 1)
        optimizer.step(0.5)
        if progress > 0.9:
            break
    end = time.monotonic() + 0.18 * TIME_BUDGET + 1.8
    while time.monotonic() < end:
        train_step(model, optimizer, *held[int(torch.randint(len(held), ()))], 1)
        optimizer.step(0.5)
        extra += 1
    print("steps after the end of the budget:", extra)
    finish(model)
