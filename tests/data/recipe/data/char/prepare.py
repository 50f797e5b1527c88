"""Writes train.bin, val.bin and meta.pkl beside itself."""

import os
import pickle
import random

here = os.path.dirname(__file__)
words = "the cat sat on a mat and saw that rat run far from her art".split()
text = " ".join(random.Random(0).choices(words, k=6000))
chars = sorted(set(text))
tokens = bytes(chars.index(char) for char in text)
split = int(len(tokens) * 0.9)
for name, part in (("train", tokens[:split]), ("val", tokens[split:])):
    with open(os.path.join(here, f"{name}.bin"), "wb") as f:
        f.write(part)
with open(os.path.join(here, "meta.pkl"), "wb") as f:
    pickle.dump({"vocab_size": len(chars)}, f)
