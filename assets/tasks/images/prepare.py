"""Data and scoring rule of the images task; the trainer may not change this file. Its commands:
harness/command_line.py.

The score is the part of images that are put into a wrong class. An image is judged by itself: a second process sees the
images in another order and must answer the same. Sources:

    glyphs    characters of twenty classes, SYNTHETIC: strokes drawn by this file, other classes in each cache; offline
    fashion   Fashion-MNIST (Xiao et al., 2017), from Debian's package dataset-fashion-mnist or downloaded
    cifar10   CIFAR-10 (Krizhevsky, 2009), its binary archive, downloaded
    a path    a folder with the four idx.gz files of MNIST or its kin
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from harness.base import BaseTask
from harness.command_line import main
from harness.errors import TaskError
from harness.fetch import fetch_url
from harness.files import cache_dir
from harness.models import Models
from harness.probes import TOLERANCE, check_alone, check_contamination
from harness.scores import cross_entropy, wrong
from harness.task import Allowances, Budget, read_task_file

HERE = Path(__file__).resolve().parent
PROFILES = {
    "full": Allowances(60, 300, 2**31, 120),
    "small": Allowances(30, 180, 2**30, 120),
    "tiny": Allowances(15, 60, 2**26, 60),
}
SEARCH, CONTROL, BATCH = 5000, 2500, 500  # images of the split, of the control; of a request to a model process

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
IDX = {  # file -> SHA-256 of Fashion-MNIST's, as its authors pack it
    "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
CIFAR = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
OFFLINE = "use --source glyphs, which needs no network"

Pair = tuple[np.ndarray, np.ndarray]
"""Images, uint8 [N, channels, S, S], and their classes, int64 [N]."""


@dataclass(frozen=True, slots=True)
class Options:
    """[options] of autoresearch.toml."""

    profile: str = field(default="tiny", metadata={"choices": tuple(PROFILES), "help": "the scale of the task"})
    source: str = field(default="glyphs", metadata={"help": "glyphs, fashion, cifar10, or a folder of idx.gz files"})

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise TaskError(f"no profile is called {self.profile!r}; choose from: {', '.join(PROFILES)}")


class Images(BaseTask):
    """The images task: `harness.task.Task`."""

    name = "images"

    def __init__(self, folder: Path, options: Options, budget: Budget) -> None:
        super().__init__(folder, options, budget)
        self.allowances = PROFILES[options.profile]
        self.classes = GLYPHS if options.source == "glyphs" else 10
        self.channels, self.size = (3, 32) if options.source == "cifar10" else (1, 28)

    def make(self, workers: int) -> Mapping[str, Mapping[str, np.ndarray]]:
        if self.options.source == "glyphs":
            return {split: named(pair) for split, pair in draw_glyphs().items()}
        train, test = cifar10() if self.options.source == "cifar10" else idx(self.options.source)
        if train[0].shape[1:] != (self.channels, self.size, self.size) or max(train[1].max(), test[1].max()) > 9:
            raise TaskError(
                f"{self.options.source} has images {train[0].shape[1:]}; this task takes 28x28, ten classes"
            )
        return {split: named(pair) for split, pair in (hold_out(train) | {"locked": test}).items()}

    def files(self, split: str) -> tuple[str, ...]:
        return (*super().files(split), *super().files("control"))

    def judge(self, models: Models, split: str, folder: Path) -> dict[str, float]:
        own, control = (self.arrays(name) for name in (split, "control"))
        images, classes = (np.concatenate((own[name], control[name])) for name in ("image", "label"))
        orders = (np.arange(len(images)), np.random.default_rng(secrets.randbits(128)).permutation(len(images)))
        errors, nats = np.empty((2, len(images)), bool), np.empty((2, len(images)))
        for process, order in enumerate(orders):
            models.open(process, images[0], (self.classes,), BATCH)
            for here, logits in models.score(images[order]):
                chosen = order[here]
                errors[process, chosen] = wrong(logits, classes[chosen])
                nats[process, chosen] = cross_entropy(logits, classes[chosen])
        check_alone(*errors)
        check_alone(*nats, within=TOLERANCE)
        count = len(own["label"])
        each = np.stack((errors[0], np.ones(len(images))), 1)
        check_contamination(each[:count], each[count:], data="images", unit="errors an image")
        # Of what two orders made different, all that rounding allows, the worse counts.
        worse = int(errors[1, :count].mean() > errors[0, :count].mean())
        return {"error": float(errors[worse, :count].mean()), "cross_entropy": float(nats[worse, :count].mean())}


def named(pair: Pair) -> dict[str, np.ndarray]:
    return {"image": pair[0], "label": pair[1]}


def hold_out(pair: Pair) -> dict[str, Pair]:
    """`search`, `control` and `train` of an official training set, by the hash of an image: equal ones are together.

    Raises TaskError where too few are left to train on."""
    images, classes = pair
    if len(images) < 2 * (SEARCH + CONTROL):
        raise TaskError(
            f"{len(images)} images to train on are too few; this task takes {2 * (SEARCH + CONTROL)} or more"
        )
    keys = np.array([hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in images])
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order].view("<u8"), prepend=0) != 0)  # of those that are equal
    ends = [int(first[np.searchsorted(first, count)]) for count in (SEARCH, SEARCH + CONTROL)]
    parts = np.split(order, ends)
    return {
        name: (images[part], classes[part]) for name, part in zip(("search", "control", "train"), parts, strict=True)
    }


def idx(source: str) -> tuple[Pair, Pair]:
    """Training and test set of Fashion-MNIST, or of a folder with files of the same names."""
    folder = DEBIAN if source == "fashion" else Path(source)
    if source == "fashion" and not folder.is_dir():
        folder = cache_dir() / "fashion-mnist"
        for name, sha256 in IDX.items():
            fetch_url(f"{FASHION}/{name}", sha256, folder / name, OFFLINE)
    images, labels, test_images, test_labels = (read_idx(folder / name) for name in IDX)
    return (images[:, None], labels.astype(np.int64)), (test_images[:, None], test_labels.astype(np.int64))


def read_idx(path: Path) -> np.ndarray:
    """The array in a file of the idx format: uint8, its sizes as big-endian numbers behind four bytes."""
    try:
        data = gzip.decompress(path.read_bytes())
        shape = np.frombuffer(data, ">i4", data[3], 4)
        if data[:3] != b"\0\0\x08":
            raise ValueError("not of bytes")
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError) as error:
        raise TaskError(f"{path} cannot be read as idx.gz ({str(error)[:80]}); put MNIST's files there") from None


def cifar10() -> tuple[Pair, Pair]:
    """Training and test set: records of a class and 3 x 32 x 32 bytes."""
    path = fetch_url(CIFAR, CIFAR_SHA256, cache_dir() / "cifar10" / "cifar-10-binary.tar.gz", OFFLINE)
    with tarfile.open(path) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
        names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
        parts = [np.frombuffer(archive.extractfile(files[name]).read(), np.uint8) for name in names]
    train, test = (part.reshape(-1, 3073) for part in (np.concatenate(parts[:5]), parts[5]))
    pairs = [(part[:, 1:].reshape(-1, 3, 32, 32), part[:, 0].astype(np.int64)) for part in (train, test)]
    return pairs[0], pairs[1]


# ------------------------------------------------------------------------------------------------------------
# Glyphs
# ------------------------------------------------------------------------------------------------------------

GLYPHS, STROKES, DOTS = 20, 3, 20  # classes; strokes of each; dots of a stroke
DRAWN = {"train": 20_000, "search": SEARCH, "control": CONTROL, "locked": 5000}


def draw_glyphs() -> dict[str, Pair]:
    """Nobody can draw the hidden images again, nor more to train on: chance, not a seed, makes the classes."""
    rng = np.random.default_rng(secrets.randbits(128))
    shapes = rng.uniform(-1, 1, (GLYPHS, STROKES, 3, 2))  # three points of a curve, x and y
    return {split: glyphs(rng, shapes, count) for split, count in DRAWN.items()}


def glyphs(rng: np.random.Generator, shapes: np.ndarray, count: int) -> Pair:
    """Images of the classes `shapes`, each bent, turned and moved in its own way, and a stroke that belongs to none."""
    classes = rng.integers(0, len(shapes), count)
    images = np.empty((count, 1, 28, 28), np.uint8)
    for start in range(0, count, 1000):
        here = classes[start : start + 1000]
        points = shapes[here] + rng.normal(0, 0.16, (len(here), STROKES, 3, 2))
        points = np.concatenate((points, rng.uniform(-1.2, 1.2, (len(here), 1, 3, 2))), 1)
        turn = np.eye(2) + rng.normal(0, 0.16, (len(here), 1, 1, 2, 2))
        points = (points[..., None, :] @ turn)[..., 0, :] * 8.5 + 13.5 + rng.uniform(-2.5, 2.5, (len(here), 1, 1, 2))
        images[start : start + 1000, 0] = ink(rng, points)
    return images, classes.astype(np.int64)


def ink(rng: np.random.Generator, points: np.ndarray) -> np.ndarray:
    """uint8 [n, 28, 28] of curves, float [n, strokes, 3, 2] in pixels: dots along them, blurred, and noise."""
    at = np.linspace(0, 1, DOTS)[:, None]
    weights = np.concatenate(((1 - at) ** 2, 2 * at * (1 - at), at**2), 1)  # of a quadratic Bezier curve
    dots = np.einsum("dk,nskx->nsdx", weights, points).reshape(len(points), -1, 2)
    cells = np.clip(np.rint(dots), 1, 26).astype(int)
    page = np.zeros((len(points), 28, 28))
    np.add.at(page, (np.arange(len(points))[:, None], cells[..., 1], cells[..., 0]), 0.4)
    page = np.minimum(page, 1)
    for axis in (1, 2):
        page = 0.6 * page + 0.3 * (np.roll(page, 1, axis) + np.roll(page, -1, axis))
    page = np.clip(page * rng.uniform(0.7, 1.3, (len(page), 1, 1)) + rng.normal(0, 0.12, page.shape), 0, 1)
    return (255 * page).astype(np.uint8)


try:
    TASK = Images(HERE, *read_task_file(HERE, Options))
except TaskError as error:
    raise SystemExit(f"error: {error}") from None
PROFILE, SOURCE, CLASSES = TASK.options.profile, TASK.options.source, TASK.classes
CHANNELS, SIZE, TIME_BUDGET = TASK.channels, TASK.size, TASK.budget.seconds

if __name__ == "__main__":
    main(HERE, Options, Images)
