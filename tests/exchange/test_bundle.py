"""`bundle` and `replay`: the same session makes the same file, without secrets, and it runs again for somebody else."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest
from lab import Lab, Maker, call
from stacked import ablated

from autoresearch.exchange import bundle
from autoresearch.exchange.bundle import fold_digest
from autoresearch.exchange.redaction import Redaction, pieces
from autoresearch.exchange.replay import Replayed
from autoresearch.journal import events
from autoresearch.statistics.confirmation import Confirmation
from autoresearch.workspace.session_journal import load_session, session_of
from autoresearch.workspace.workspace import Workspace

VALUE = "Zx93-unguessable-value"
# Put together here, so that nobody who looks for secrets in this file finds one.
KEY = "sk-" + "ant-" + "a1" * 20
TOKENS = {
    "key of a model's API": KEY,
    "token of GitHub": "ghp_" + "A1b2" * 9,
    "token of GitLab": "glpat-" + "x1" * 10,
    "token of Hugging Face": "hf_" + "Ab1" * 11,
    "key of AWS": "AKIA" + "ABCDEFGH12345678",
    "key of Google": "AIza" + "b" * 35,
    "token of Slack": "xoxb-" + "123456789012",
    "web token": "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
    "password in an address": "https://me:" + "hunter2" + "@example.org/x",
    "authorization": "Authorization: Bearer " + "t" * 24,
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----\nabc\n-----END " + "RSA PRIVATE KEY-----",
}


def unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of our own, and a secret in the environment."""
    home = tmp_path / "homes" / "mine"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SOME_API_KEY", VALUE)
    return home


@pytest.mark.slow
def test_a_bundle_is_the_same_each_time_without_secrets_and_homes(stack: Lab, at_home: Path, tmp_path: Path) -> None:
    said = f"{VALUE} and {KEY} in {at_home}/data"
    assert stack.call("note", "2", "--asi", f"where={said}").code == 0
    stack.write("autoresearch.md", f"# learned\n{said}\n")
    folder = stack.workspace.run_dir(2, 1)
    (folder / "curve.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (folder / "run.log").write_bytes(f"{said}\n".encode() + b"\xff\n")
    done = stack.call("bundle", "-o", str(tmp_path / "a.zip"), "--logs", "--json")
    assert done.code == 0, done
    assert stack.call("bundle", "-o", str(tmp_path / "b.zip"), "--logs").code == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    taken = done.json["taken_out"]
    assert taken["value of SOME_API_KEY"] >= 3 and taken["key of a model's API"] >= 3
    assert taken["path of a home folder"] >= 3 and done.json["remarks"] == []
    files = unpacked(tmp_path / "a.zip")
    for name, content in files.items():
        for hidden in (VALUE, KEY, str(at_home)):
            assert hidden.encode() not in content, (name, hidden)
    clean = b"[taken out: value of SOME_API_KEY] and [taken out: key of a model's API] in ~/data"
    assert clean in files["autoresearch.jsonl"] and clean in files["beside/autoresearch.md"]
    assert files["runs/2/1/run.log"] == clean + b"\n\xff\n"
    assert files["runs/2/1/curve.jsonl"] == b'{"step": 1, "loss": 2.0}\n'
    # What is in no line with a secret is byte for byte what it was, and what is told is the same.
    raw, sent = (text.splitlines() for text in (stack.workspace.journal.read_bytes(), files["autoresearch.jsonl"]))
    homes = (b"/home/", b"/Users/")  # where the tests themselves may be installed
    changed = [was for was, now in zip(raw, sent, strict=True) if was != now and not any(h in was for h in homes)]
    assert changed == raw[-1:]
    bundled, mine = session_of(files["autoresearch.jsonl"]), stack.session
    told, known = ([e._replace(asi={}, env={}) for e in s.experiments] for s in (bundled, mine))
    assert told == known
    manifest = json.loads(files["manifest.json"])
    assert manifest["fold"] == fold_digest(bundled) and manifest["taken_out"] == taken
    assert {*manifest["files"]} == {*files} - {"manifest.json"}
    crate = {part["@id"]: part for part in json.loads(files["ro-crate-metadata.json"])["@graph"]}
    assert {part["@id"] for part in crate["./"]["hasPart"]} == {*files} - {"manifest.json", "ro-crate-metadata.json"}
    assert crate["ro-crate-metadata.json"]["conformsTo"]["@id"].endswith("ro/crate/1.1")
    assert [crate[f"#experiment-{n}"]["identifier"] for n in (1, 2, 3, 5)] == [stack.ref(n) for n in (1, 2, 3, 5)]
    assert json.loads(files["data.json"])["immutable"] == dict(mine.segment.sha256)
    assert json.loads(files["hardware.json"])[0]["cores"] == mine.experiments[0].env["cores"]
    assert "pytest" in json.loads(files["environment.json"])["runs"]["packages"]
    (tmp_path / "repo.bundle").write_bytes(files["repo.bundle"])
    clone = tmp_path / "clone.git"
    subprocess.run(["git", "clone", "-q", "--mirror", str(tmp_path / "repo.bundle"), str(clone)], check=True)
    subprocess.run(["git", "-C", str(clone), "fsck", "--strict"], check=True, capture_output=True)
    listed = subprocess.run(["git", "-C", str(clone), "for-each-ref", "--format=%(refname) %(objectname)"],
                            capture_output=True, text=True, check=True).stdout.split("\n")[:-1]  # fmt: skip
    refs = [f"refs/autoresearch/t/{n} {stack.ref(n)}" for n in range(1, 6)]
    assert listed == [*refs, f"refs/heads/autoresearch/t {stack.ref(5)}"]


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_it_runs_again_in_an_empty_folder_of_somebody_else(
    stack: Lab, at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.write("autoresearch.checks.sh", "true\n", 0o755)
    assert stack.call("confirm", "--seeds", "2").code == 0
    assert stack.call("bundle", "-o", str(tmp_path / "night.zip")).code == 0
    before = stack.session
    other = tmp_path / "homes" / "theirs"
    other.mkdir()
    monkeypatch.setenv("HOME", str(other))
    checked = call("replay", str(tmp_path / "night.zip"), "--verify-only", "--json", cwd=other)
    assert checked.json["workspace"] is None and checked.json["claimed"] == 650 and [*other.iterdir()] == []
    done = call("replay", str(tmp_path / "night.zip"), "--seeds", "2", "--json", cwd=other)
    assert done.code == 0, done
    view, there = done.json, Lab(other / "night")
    assert view["workspace"] == str(there.root) and view["experiments"] == 5
    assert view["confirmed_there"]["gain"] == 650 and view["confirmed_here"]["gain"] == 650
    here = view["confirmed_here"]
    assert here["holds"] and here["split"] == view["confirmed_there"]["split"] == "search"
    assert not {*here["seeds"]} & {*before.studies[0].about["seeds"]}
    journal = unpacked(tmp_path / "night.zip")["autoresearch.jsonl"]
    assert there.workspace.journal.read_bytes().startswith(journal)
    # The fold is the same but for the home folder in which the tests may be installed.
    expected = session_of(Redaction({}, at_home).journal(stack.workspace.journal.read_bytes()))
    assert session_of(journal) == expected and len(expected.experiments) == len(before.experiments)
    after = load_session(Workspace(there.root))
    assert after.experiments == expected.experiments and [s.what for s in after.studies] == ["confirm", "confirm"]
    assert (there.root / "autoresearch.checks.sh").stat().st_mode & 0o100
    assert there.git("status", "--porcelain") == "" and there.call("check").code == 0
    there.assert_clean()
    again = call("replay", str(tmp_path / "night.zip"), cwd=other)
    assert again.code == 5 and "is not empty" in again.err
    lines = call("replay", str(tmp_path / "night.zip"), "2nd", "--seeds", "2", cwd=other).out.splitlines()
    told = {line[:15].strip(): line[17:] for line in lines}
    assert told["claimed"] == "+650" and told["confirmed there"].startswith("+650  (95 % interval +650 to +650, search")
    assert re.fullmatch(r"\+650  \(.*2 fresh seeds\): the gain holds", told["confirmed here"])


def test_what_was_confirmed_there_says_of_which_experiment_and_split(stack: Lab) -> None:
    found = Confirmation(500.0, 500.0, 490.0, 510.0, (7, 8), 1000.0, 500.0, 0.0, 0.0)
    about = {"baseline": 1, "best": 2, "seeds": [7, 8]}
    with stack.workspace.journal.open("a") as file:
        for line in (
            events.study_line(1, "confirm", about, "search", 1_790_000_000),
            events.study_end_line(1, "done", found.as_result(), 1_790_000_001),
        ):
            file.write(json.dumps(line) + "\n")
    done = Replayed(Path("a.zip"), 3, stack.session, here=found, split="locked")
    told = {line[:15].strip(): line[17:] for line in done.lines()}
    there = "+500 for experiment 2, not the best  (95 % interval +490 to +510, search split): the gain holds"
    assert told["claimed"] == "+650" and told["confirmed there"] == there
    assert told["confirmed here"] == "+500  (95 % interval +490 to +510, locked split, 2 fresh seeds): the gain holds"
    view = done.as_view()
    assert (view["confirmed_there"]["best"], view["confirmed_there"]["of_the_best"]) == (2, False)
    assert (view["confirmed_there"]["split"], view["confirmed_here"]["split"]) == ("search", "locked")


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_a_session_in_which_nothing_was_kept_is_laid_out_and_claims_nothing(lab: Lab, tmp_path: Path) -> None:
    assert lab.call("bundle", "-o", str(tmp_path / "a.zip")).code == 0
    done = call("replay", str(tmp_path / "a.zip"), "again", cwd=tmp_path)
    assert done.code == 0 and "claimed          nothing: no change was kept" in done.out, done
    assert Lab(tmp_path / "again").call("check").code == 0
    mine = tmp_path / "mine"
    mine.mkdir()
    number = mine.stat().st_ino
    done = call("replay", "../a.zip", ".", cwd=mine)
    assert done.code == 0 and mine.stat().st_ino == number, "who stands in it still does"
    assert Lab(mine).call("check").code == 0 and Lab(mine).git("status", "--porcelain") == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "again", "lab", "mine"]


JUDGE = r"""level=$(cat "$AUTORESEARCH_RUN_DIR/weights")
value=$(awk -v l=$level -v s=$AUTORESEARCH_SEED 'BEGIN { print (l + s * 37 % 11) / 100 }')
exec > "$AUTORESEARCH_RESULT"
echo "{\"outcome\": \"ok\", \"manifest\": \"${WHICH_DATA:-as-ever}\", \"metrics\": {\"total_ms\": $value},"
echo "\"split\": \"$AUTORESEARCH_SPLIT\"}"
"""
"""An evaluator with a locked split, which says what data it has read."""


@pytest.mark.slow
@pytest.mark.sampled(0.3)
def test_with_an_evaluator_the_locked_split_is_used_and_the_data_is_compared(
    make_lab: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(run={"command": 'cat src/base > "$AUTORESEARCH_RUN_DIR/weights"', "evaluate": JUDGE})
    for level in (9000, 8000):
        lab.write("src/base", f"{level}\n")
        lab.write(f"src/{level}", "")
        assert lab.call("try", "-m", f"to {level}", "--json").json["status"] == "keep"
    ablated(lab, _3="hurts")
    done = lab.call("finalize", "--apply", "--seeds", "2", "--json").json
    assert done["measured"]["split"] == "locked" and len(lab.session.locked) == 1
    assert lab.git("show", f"{done['branches'][-1]['name']}:src/base") == "9000"
    assert lab.call("bundle", "-o", str(tmp_path / "a.zip")).code == 0
    same = call("replay", "a.zip", "same", "--seeds", "2", "--json", cwd=tmp_path).json
    assert same["data"] == "the same as there" and same["confirmed_here"]["gain"] == pytest.approx(20)
    monkeypatch.setenv("WHICH_DATA", "another")
    other = call("replay", "a.zip", "other", "--seeds", "2", "--json", cwd=tmp_path).json
    assert other["data"] == "other data than there: the numbers cannot be compared"


@pytest.mark.slow
def test_a_secret_in_a_commit_is_refused_and_a_home_path_is_told(stack: Lab, at_home: Path, tmp_path: Path) -> None:
    stack.git("switch", "-q", "--detach", "autoresearch/t")
    stack.write("src/key", f"{KEY}\n{at_home}/x\n")
    stack.git("add", "src/key")
    stack.git("commit", "-qm", "a key")
    stack.git("update-ref", "refs/autoresearch/t/0-ablate/1", "HEAD")
    stack.git("switch", "-q", "autoresearch/t")
    refused = stack.call("bundle", "-o", str(tmp_path / "a.zip"))
    assert refused.code == 5 and "src/key in the repository has what looks like a secret" in refused.err
    assert not (tmp_path / "a.zip").exists()
    done = stack.call("bundle", "-o", str(tmp_path / "a.zip"), "--trust-repository", "--json")
    assert done.code == 0
    assert done.json["remarks"] == ["commits stay as they are: src/key in them has the path of a home folder"]


@pytest.mark.slow
def test_long_files_of_a_commit_are_looked_through_and_longer_ones_named(
    stack: Lab, at_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "SCANNED_BYTES", 3 * 2**20)
    lines = "0123456789abcde\n" * 2**16  # a MiB
    for name, content in (("longest.txt", lines * 4), ("long.txt", f"{lines * 2}{KEY}\n")):
        stack.write(f"src/{name}", content)
        stack.git("add", f"src/{name}")
        commit = stack.git("commit-tree", stack.git("write-tree"), "-p", "HEAD", "-m", name)
        stack.git("update-ref", f"refs/autoresearch/t/0-ablate/{name[:-4]}", commit)
        stack.git("reset", "-q")
        (stack.root / "src" / name).unlink()
        done = stack.call("bundle", "-o", "../its own.zip", "--logs")
        if name == "longest.txt":
            assert done.code == 0
            assert "larger than 3 MiB, so nobody has looked for secrets in it: src/longest.txt\n" in done.out
            assert done.out.endswith("next       autoresearch replay '../its own.zip' FOLDER\n")
    assert done.code == 5 and "src/long.txt in the repository has what looks like a secret" in done.err
    assert done.err.endswith("autoresearch bundle --output '../its own.zip' --logs --trust-repository\n")


def test_a_long_text_is_cut_at_the_ends_of_lines() -> None:
    content = b"".join(b"line %d\n" % n for n in range(2**18)) + b"no end"
    found = [*pieces(content)]
    assert len(found) > 2 and "".join(found).encode() == content
    assert all(text.endswith("\n") for text in found[:-1]) and [*pieces(b"")] == []


@pytest.mark.parametrize("what", TOKENS)
def test_what_looks_like_a_secret_is_taken_out_wherever_it_stands(what: str) -> None:
    redaction = Redaction({}, Path("/none"))
    secret = TOKENS[what]
    for text in (secret, f"a {secret}\nb", f'{{"x": "{secret}"}}'):
        assert [*redaction.secrets_in(text)] and f"[taken out: {what}]" in redaction.text(text)
    assert redaction.taken[what] == 3


@pytest.mark.parametrize("user", [":" + "hunter2", "me:" + "hunter2", "A1b2" * 4])
def test_what_stands_before_the_host_of_an_address_is_taken_out(user: str) -> None:
    redaction = Redaction({}, Path("/none"))
    for scheme, rest in (("redis", "host:6379"), ("https", "index.example/simple"), ("git+https", "x.org/y@v1")):
        text = redaction.text(f"{scheme}://{user}@{rest}")
        assert text == f"{scheme}://[taken out: password in an address]@{rest}"


def test_what_is_no_secret_stays() -> None:
    env = {"MAX_TOKENS": "100000000000000", "A_TOKEN": "short", "TOKEN_KIND": "abcdefghijklmnop", "PATH": "/usr/local"}
    redaction = Redaction(env, Path("/"))
    for text in ("max_tokens = 100000000000000", "task-of-something-very-long-indeed", "abcdefghijklmnop", "sk-learn",
                 "/usr/local", "https://example.org:8080/a@b", "tokenizer.encode(text)", "~/x", "a/home/me/x",
                 "https://me@example.org", "ssh://a-user-of-git@example.org/x", "https://${GITHUB_TOKEN}@example.org/x",
                 "https://example.org:8080/a-path-of-some-length@b", "x/mnt/c/Users/me", "/srv/thing/home/me",
                 "the commit " + "0f" * 20, "bearer of news"):  # fmt: skip
        assert redaction.text(text) == text and not [*redaction.secrets_in(text)], text
    assert +redaction.taken == {}


def test_home_folders_of_anybody_are_taken_out() -> None:
    folder, users, own = "home", "Users", "root"
    redaction = Redaction({}, Path(f"/{own}"))
    for text, clean in (
        (f"/{folder}/ada/x.py", "~/x.py"), (f'"/{folder}/ada"', '"~"'), (f"see /{folder}/ada, and", "see ~, and"),
        (f"/{users}/ada/x", "~/x"), (f"C:\\{users}\\ada\\x", "~\\x"), (f"/{own}/x", "~/x"),
        (f"/{own}ed/x", f"/{own}ed/x"), (f"cd /{own}", "cd ~"), (f"PATH=/{own}/bin:/bin", "PATH=~/bin:/bin"),
        (f"/mnt/c/{users}/ada/x", "~/x"), (f"/c/{users}/ada/x", "~/x"), (f"/export/{folder}/ada/x", "~/x"),
        (f"file:///mnt/d/{users}/ada/x", "file://~/x"), (f"PATH=/var/{folder}/ada/bin", "PATH=~/bin"),
        (f"file:///{folder}/ada/x", "file://~/x"), (f"/data/{own}/x", f"/data/{own}/x"),
    ):  # fmt: skip
        assert redaction.text(text) == clean
    longer = Redaction({}, Path("/srv/people/ada"))
    assert longer.text("-I/srv/people/ada/x /srv/people/adam") == "-I~/x /srv/people/adam"


@pytest.mark.slow
def test_its_programs_can_be_read_as_its_page_says(stack: Lab, tmp_path: Path) -> None:
    assert stack.call("bundle", "-o", str(tmp_path / "night.zip")).code == 0
    parts = unpacked(tmp_path / "night.zip")
    command = re.search(r"&& (git clone .* programs)\n", parts["REPLAY.md"].decode())
    assert command is not None
    (tmp_path / "repo.bundle").write_bytes(parts["repo.bundle"])
    subprocess.run(command[1].split(), cwd=tmp_path, check=True, capture_output=True)
    best = stack.session.best
    assert best is not None and (tmp_path / "programs/bench.sh").is_file()
    there = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path / "programs", capture_output=True, text=True)
    assert there.stdout.strip() == stack.git("rev-parse", best.commit or "")


def test_what_is_printed_of_a_study_is_no_part_of_what_a_journal_says(stack: Lab) -> None:
    def digest(**more: str) -> str:
        line = events.study_line(1, "confirm", {"seeds": [5]}, "search", 1, **more)
        text = stack.workspace.journal.read_bytes() + json.dumps(line).encode() + b"\n"
        return fold_digest(session_of(text))

    assert digest(again="autoresearch confirm --seeds 2") == digest() != fold_digest(stack.session)
