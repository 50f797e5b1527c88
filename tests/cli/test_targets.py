"""Where commands write when nobody says: into the workspace, and over nothing that is a person's."""

from __future__ import annotations

import pytest
from lab import INIT, Lab, Repo, call

pytestmark = pytest.mark.slow


def test_the_log_of_another_tool_stays_and_an_export_replaces_its_own(lab: Lab) -> None:
    path = lab.write("results.tsv", "commit\tval_bpb\tnotes\nabc1234\t1.0\tmine\n")
    theirs = path.read_bytes()
    refused = lab.call("export")
    assert refused.code == 5 and "results.tsv is not as an export has left it" in refused.err
    assert "-o NAME" in refused.err and path.read_bytes() == theirs
    assert lab.call("export", "-o", "mine.tsv").code == 0 and path.read_bytes() == theirs
    path.unlink()
    for value in (200, 300):
        assert lab.call("export").code == 0
        assert lab.attempt(f"echo METRIC total_ms={value}\n").code == 0
    assert lab.call("export").code == 0 and len(path.read_text().splitlines()) == 4
    assert path.read_bytes() == (lab.call("export", "-o", "-").out).encode()
    with path.open("a") as file:
        file.write("a row of mine\n")
    assert lab.call("export").code == 5 and path.read_text().endswith("a row of mine\n")
    assert lab.call("export", "-o", "results.tsv").code == 0, "it was named"
    assert lab.call("export").code == 0


def test_an_export_to_standard_output_writes_no_file(lab: Lab) -> None:
    before = sorted(lab.root.iterdir())
    text = lab.call("export", "-o", "-").out
    assert lab.call("export", "-o", "-", "--json").json == {"file": "-", "experiments": 1, "text": text}
    assert text.startswith("commit\ttotal_ms\t") and sorted(lab.root.iterdir()) == before


def test_from_a_mutable_folder_everything_goes_into_the_workspace_and_into_no_experiment(lab: Lab) -> None:
    lab.attempt("echo METRIC total_ms=50\n")
    made = {"plot": "progress.png", "report": "report.html", "bundle": "autoresearch.zip", "export": "results.tsv"}
    for command, name in made.items():
        done = call(command, cwd=lab.root / "src")
        assert done.code == 0 and (lab.root / name).is_file(), done
        assert command != "bundle" or done.out.endswith("autoresearch replay ../autoresearch.zip FOLDER\n"), done
    assert lab.git("status", "--porcelain") == ""
    assert call("report", "-o", "mine.html", cwd=lab.root / "src").code == 0
    assert (lab.root / "src" / "mine.html").is_file()


def test_what_git_tracks_is_neither_replaced_nor_hidden_from_git(repo: Repo) -> None:
    pictures, kept_up = ("progress.png", "report.html", "results.csv", "autoresearch.zip"), ("autoresearch.md",)
    for name in (*pictures, *kept_up):
        repo.write(name, "mine\n")
    repo.commit()
    lab = Lab(repo.root)
    for words in ((*INIT, "--policy", "greedy"), ("baseline",)):
        assert lab.call(*words).code == 0
    for words in (("plot",), ("report",), ("export", "-f", "csv"), ("bundle",)):
        refused = lab.call(*words)
        assert refused.code == 5 and "is tracked by git, and is not replaced; name another" in refused.err, refused
    for name in (*pictures, *kept_up):
        assert lab.write(name, "edited\n").read_text() == "edited\n"
    assert lab.git("ls-files", "-v", *pictures, *kept_up).splitlines() == [
        f"{'S' if name in kept_up else 'H'} {name}" for name in sorted((*pictures, *kept_up))
    ]
    assert lab.git("status", "--porcelain").splitlines() == [f" M {name}" for name in sorted(pictures)]
    done = lab.attempt("echo METRIC total_ms=200\n")
    assert done.code == 0 and "DISCARD" in done.out, done
    assert all((lab.root / name).read_text() == "edited\n" for name in (*pictures, *kept_up))
