# The batch that passes the budget is handed out, so it takes one that passes it many times.
def main():
    seed_everything()
    own = machine()
    device.prepare_device(own)
    model = build_model()
    optimizer = Optimizer(model)
    for x, y, _ in make_dataloader(1024, MAX_SEQ_LEN, "train", own.device):
        for at in range(0, len(x), 8):
            train_step(model, optimizer, x[at : at + 8], y[at : at + 8], 1)
            optimizer.step(0.5)
    finish(model)
