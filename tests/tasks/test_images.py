"""The images task: its sources, what it holds out, and what its grader makes of models."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from harness.errors import TaskError, Verdict
from harness.task import Budget
from task_programs import graded, prepare_of, train_of


@pytest.fixture(scope="module")
def images() -> ModuleType:
    return prepare_of("images")


@pytest.fixture(autouse=True)
def _small(images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    for name, value in (("SEARCH", 300), ("CONTROL", 200), ("BATCH", 50)):
        monkeypatch.setattr(images, name, value)
    monkeypatch.setattr(images, "DRAWN", {"train": 400, "search": 300, "control": 200, "locked": 250})


def task(images: ModuleType, source: str = "glyphs", **options: Any) -> Any:
    made = images.Images(images.HERE, images.Options(source=source, **options), Budget("steps", 20))
    made.prepare()
    return made


def write_idx(folder: Path, name: str, array: np.ndarray) -> None:
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}i", *array.shape)
    (folder / name).write_bytes(gzip.compress(head + array.tobytes(), 1))


def write_mnist(images: ModuleType, folder: Path, count: int = 1000) -> dict[str, np.ndarray]:
    """A data set of random images, some of them several times, in the four files of MNIST."""
    rng = np.random.default_rng(0)
    different = rng.integers(0, 256, (count // 2, 28, 28), dtype=np.uint8)
    chosen = rng.integers(0, len(different), count)
    arrays = [different[chosen], chosen % 10, rng.integers(0, 256, (100, 28, 28)), np.arange(100) % 10]
    files = dict(zip(images.IDX, (a.astype(np.uint8) for a in arrays), strict=True))
    for name, array in files.items():
        write_idx(folder, name, array)
    return files


def test_glyphs_are_other_ones_in_each_cache_and_in_each_split(
    images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = task(images)
    seen = [x.tobytes() for split in images.DRAWN for x in np.asarray(first.arrays(split)["image"])]
    assert len(set(seen)) == len(seen) == 1150
    assert {*np.asarray(first.arrays("search")["label"])} == set(range(images.GLYPHS))
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "another"))
    assert not set(seen) & {x.tobytes() for x in np.asarray(task(images).arrays("search")["image"])}


def test_equal_images_are_in_one_split_and_the_official_test_set_is_locked(images: ModuleType, tmp_path: Path) -> None:
    files = write_mnist(images, tmp_path)
    made = task(images, str(tmp_path))
    found = {name: made.arrays(name) for name in ("train", "search", "control", "locked")}
    sets = {name: {x.tobytes() for x in np.asarray(part["image"])} for name, part in found.items()}
    assert not any(sets[a] & sets[b] for a, b in (("train", "search"), ("train", "control"), ("search", "control")))
    sizes = {name: len(part["label"]) for name, part in found.items()}
    assert sum(sizes.values()) == 1100 and 300 <= sizes["search"] < 320 and 180 <= sizes["control"] < 220
    assert (np.asarray(found["locked"]["image"])[:, 0] == files["t10k-images-idx3-ubyte.gz"]).all()
    pairs = dict(
        zip(
            (x.tobytes() for x in files["train-images-idx3-ubyte.gz"]), files["train-labels-idx1-ubyte.gz"], strict=True
        )
    )
    part = found["search"]
    assert all(
        pairs[x.tobytes()] == y for x, y in zip(np.asarray(part["image"]), np.asarray(part["label"]), strict=True)
    )


@pytest.mark.parametrize("damage", [b"", b"no gzip", gzip.compress(b"\0\0\x08\3" + bytes(3), mtime=0)])
def test_a_file_that_is_no_idx_is_named(images: ModuleType, tmp_path: Path, damage: bytes) -> None:
    write_mnist(images, tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(damage)
    with pytest.raises(TaskError, match="t10k-images-idx3-ubyte"):
        task(images, str(tmp_path))


def test_the_archive_of_cifar10_is_read_without_pickle(images: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "cache" / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir(parents=True)
    records = {f"data_batch_{n}.bin": rng.integers(0, 10, (200, 3073), dtype=np.uint8) for n in range(1, 6)}
    records["test_batch.bin"] = rng.integers(0, 10, (100, 3073), dtype=np.uint8)
    with tarfile.open(path, "w:gz") as archive:
        for name, array in records.items():
            about = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            about.size = array.nbytes
            archive.addfile(about, io.BytesIO(array.tobytes()))
    locked = task(images, "cifar10").arrays("locked")
    assert locked["image"].shape == (100, 3, 32, 32)
    assert (np.asarray(locked["image"])[7].ravel() == records["test_batch.bin"][7, 1:]).all()
    assert (np.asarray(locked["label"]) == records["test_batch.bin"][:, 0]).all()


class Linear(torch.nn.Module):
    """A linear model of the pixels, whose logits a test may change."""

    def __init__(self, change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = lambda out, _: out) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(784, 20, generator=torch.Generator().manual_seed(1)) / 28)
        self.change = change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.change((images.float().flatten(1) / 255 - 0.5) @ self.weight, images)


def test_the_score_is_the_part_of_wrong_answers(
    images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(images)
    for split in ("search", "locked"):
        metrics = graded(monkeypatch, made, Linear(), tmp_path / "run", split)
        arrays = {name: torch.from_numpy(np.array(array)) for name, array in made.arrays(split).items()}
        logits = Linear()(arrays["image"]).detach()
        assert metrics["error"] == pytest.approx(float((logits.argmax(1) != arrays["label"]).double().mean()))
        nats = torch.nn.functional.cross_entropy(logits.double(), arrays["label"])
        assert metrics["cross_entropy"] == pytest.approx(nats.item(), rel=1e-5)


def test_a_model_that_looks_at_other_images_is_tampering(
    images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Verdict, match="another answer among others") as caught:
        graded(monkeypatch, task(images), Linear(lambda out, _: out - out.mean(0)), tmp_path / "run")
    assert caught.value.outcome == "tampered"


def test_a_model_that_knows_the_split_by_heart_is_tampering(
    images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = task(images)
    split = made.arrays("search")
    known = {x.tobytes(): int(y) for x, y in zip(np.asarray(split["image"]), np.asarray(split["label"]), strict=True)}

    def look_up(out: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        for row, image in enumerate(given.numpy().astype(np.uint8)):
            if image.tobytes() in known:
                out[row, known[image.tobytes()]] = 100
        return out

    with pytest.raises(Verdict, match="easier than other held-out images"):
        graded(monkeypatch, made, Linear(look_up), tmp_path / "run")
    control = graded(monkeypatch, made, Linear(lambda out, given: out), tmp_path / "run")
    assert control["error"] > 0.8  # of twenty classes, unlearned


def test_the_trainer_moves_and_mirrors_images_and_whitens_their_patches(
    images: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with train_of("images", images) as train:
        torch.manual_seed(0)
        given = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8)
        train.FLIP = True
        moved = train.augmented(given)
        assert moved.shape == given.shape
        middle = given[:, :, 10:18, 10:18].float()
        windows = moved.unfold(2, 8, 1).unfold(3, 8, 1)[:, 0]  # [64, 21, 21, 8, 8]
        straight = (windows == middle[:, :, None]).flatten(3).all(3).flatten(1).any(1)
        mirrored = (windows.flip(4) == middle[:, :, None]).flatten(3).all(3).flatten(1).any(1)
        assert (straight ^ mirrored).all() and straight.any() and mirrored.any()
        train.FLIP, train.SHIFT = False, 0
        assert torch.equal(train.augmented(given), given.float())
        net = train.build_model()
        smooth = torch.nn.functional.avg_pool2d(given.float(), 3, 1, 1).byte()
        net.set_whitening(smooth)
        out = net.whiten(smooth.float() / 255 - 0.5).transpose(0, 1).flatten(1)
        correlation = torch.corrcoef(out) - torch.eye(len(out))
        assert correlation.abs().max() < 0.05
