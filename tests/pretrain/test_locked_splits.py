"""A fresh locked split: of text that was held out for nothing before, beside the same `search`, or refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from harness.errors import TaskError
from harness.task import Budget
from harness.text import documents
from pretrain_workspace import story


def task(prepare: ModuleType, source: Path | str, **options: object) -> Any:
    return prepare.Pretrain(prepare.HERE, prepare.Options(source=str(source), **options), Budget("steps", 3.0))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    path.write_text("".join(json.dumps({"text": story(n)}) + "\n" for n in range(500)))
    return path


def texts(chosen: Any) -> dict[str, set[str]]:
    """Return the documents of each split."""
    found: dict[str, set[str]] = {split: set() for split in documents.SPLITS}
    for split, text, _ in chosen.corpus().read(chosen.source_files(), 10**6):
        found[split].add(text)
    return found


def test_each_fresh_locked_split_is_of_text_that_was_in_no_held_out_split_before(
    prepare: ModuleType, source: Path
) -> None:
    each = [texts(task(prepare, source, locked=number)) for number in range(4)]
    seen = each[0]["search"] | each[0]["locked"] | each[0]["control"]
    for earlier, now in itertools.pairwise(each):
        assert len(now["locked"]) > 20 and not now["locked"] & seen
        assert now["search"] == each[0]["search"] and now["control"] == each[0]["control"]
        assert now["train"] == earlier["train"] - now["locked"], "and no spent one is trained on"
        seen |= now["locked"]


def test_a_source_that_has_no_text_left_for_another_is_refused(prepare: ModuleType, source: Path, cache: Path) -> None:
    with pytest.raises(TaskError, match=r"no text is left for fresh locked split 4; give another source"):
        task(prepare, source, locked=4).prepare()
    with pytest.raises(TaskError, match="locked = 0 to"):
        task(prepare, source, locked=-1)


def test_it_is_other_data_with_a_manifest_of_its_own_and_the_first_one_stays(
    prepare: ModuleType, source: Path, cache: Path
) -> None:
    first, fresh = (task(prepare, source, locked=number).prepare() for number in (0, 1))
    assert task(prepare, source).prepared() == first != fresh
    made = [json.loads((folder / "manifest.json").read_text()) for folder in (first, fresh)]
    hashes = [each["sha256"] for each in made]
    assert hashes[0]["locked.bin"] != hashes[1]["locked.bin"] and made[1]["locked"] == 1
    assert made[1]["splits"]["search"]["documents"] == made[0]["splits"]["search"]["documents"]


@pytest.mark.slow
def test_of_pythons_own_text_training_and_search_stay_as_they_were(prepare: ModuleType) -> None:
    first, fresh = (task(prepare, "python", locked=number) for number in (0, 1))
    share = first.share(0)
    held_out = next(path for path in documents.python_files() if documents.held_out_of_python(path))
    part, trains = share(held_out)
    assert not trains and documents.held_out(part, 1) <= 1, "the tiny profile leaves room"
    assert fresh.share(0)(held_out) == (part, trains)
    data = [f"{n}".encode() for n in range(4000)]
    before, after = ([documents.split_of(each, part, number) for each in data] for number in (0, 1))
    moved = {(one, other) for one, other in zip(before, after, strict=True) if one != other}
    assert moved == {("locked", documents.SPENT), ("train", "locked")}, "what is no split's here is in no file"


def test_climbmix_takes_another_shard_that_was_never_read(prepare: ModuleType, cache: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = cache / "climbmix"
    shards.mkdir(parents=True)
    for number, stories in ((0, range(90)), (6542, range(80, 160)), (6541, range(160, 260))):
        pq.write_table(pa.table({"text": [story(n) for n in stories]}), shards / f"shard_{number:05d}.parquet")
    first, fresh = (task(prepare, "climbmix", shards=1, locked=number) for number in (0, 1))
    assert [path.name for path in fresh.source_files()] == ["shard_00000.parquet", "shard_06541.parquet"]
    assert first.data_folder() != fresh.data_folder()
    counts = json.loads((fresh.prepare() / "manifest.json").read_text())["splits"]
    assert counts["train"]["documents"] == 90
    assert sum(counts[split]["documents"] for split in ("search", "locked", "control")) == 100
