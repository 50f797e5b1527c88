"""The names of a journal's pieces, which are worked out anew only for what was added."""

from __future__ import annotations

import pytest

from autoresearch.system.git_plumbing import object_name
from autoresearch.workspace import journal_mirror
from autoresearch.workspace.journal_mirror import piece_names

SHA1, SHA256 = "0" * 40, "0" * 64
BEFORE = bytes(range(200))
OTHER = BEFORE[:70] + b"!" + BEFORE[71:]


def test_names_are_those_of_the_content_and_only_what_was_added_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = list[bytes]()

    def counted(kind: str, content: memoryview, like: str) -> str:
        hashed.append(bytes(content))
        return object_name(kind, content, like)

    monkeypatch.setattr(journal_mirror, "PIECE", 64)
    monkeypatch.setattr(journal_mirror, "object_name", counted)
    grown = BEFORE + b"more" * 20
    for content, like, pieces in (
        (BEFORE, SHA1, 4),
        (BEFORE, SHA1, 1),  # the last piece, which is not whole
        (grown, SHA1, 2),
        (grown, SHA256, 5),
        (OTHER, SHA256, 4),
        (OTHER, SHA1, 4),
        (OTHER[:100], SHA1, 2),
        (b"", SHA1, 0),
        (BEFORE[:128], SHA1, 2),
        (BEFORE[:128], SHA1, 0),
    ):
        hashed.clear()
        whole = [content[n : n + 64] for n in range(0, len(content), 64)]
        assert piece_names(content, like) == tuple(object_name("blob", piece, like) for piece in whole)
        assert hashed == whole[len(whole) - pieces :], (len(content), like)
