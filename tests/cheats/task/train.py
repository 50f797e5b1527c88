"""An honest trainer."""

import json

from honest import DATA, fit, predict, save  # noqa: F401

if __name__ == "__main__":
    save(fit(json.loads((DATA / "train.json").read_text())))
