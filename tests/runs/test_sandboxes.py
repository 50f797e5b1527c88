"""What each sandbox allows and prevents, one case each, and the words it does that by."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from lab import Lab, Maker
from waiting import PATIENCE_S

from autoresearch.errors import AutoresearchError, MachineError
from autoresearch.runs.isolation import choice, landlock_exec
from autoresearch.runs.isolation.choice import SANDBOXES, choose, missing
from autoresearch.runs.isolation.landlock import Landlock
from autoresearch.runs.isolation.landlock_exec import READ, READ_DIR, WRITE, allowances, filter_of, listable
from autoresearch.runs.isolation.macos import SandboxExec, profile
from autoresearch.runs.isolation.policy import MODEL_PREFIX, Isolation
from autoresearch.runs.isolation.sandbox import SWITCH, Access, Sandbox, check_set_up
from autoresearch.system.git import Git
from autoresearch.system.process import Exit
from autoresearch.workspace.task_file import load

pytestmark = pytest.mark.slow

OF_THIS_SYSTEM = [each for each in SANDBOXES if (each.name == "sandbox-exec") == (sys.platform == "darwin")]


@pytest.fixture(params=OF_THIS_SYSTEM, ids=lambda sandbox: sandbox.name)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found: Sandbox = request.param
    if why := found.missing():
        pytest.skip(why)
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with one's own in it, something shared, fixed, hidden, and visible inside the hidden."""
    for name in ("own", "tmp", "shared/fixed", "hidden/visible", "beside"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("shared/fixed/file", "hidden/file", "hidden/visible/file", "beside/file", "secret"):
        (tmp_path / name).write_text(name)
    return tmp_path


def access(place: Path, **more: object) -> Access:
    known = {
        "cwd": place / "own", "writable": (place / "own",), "shared": (place / "shared",),
        "fixed": (place / "shared/fixed",), "hidden": (place / "hidden", place / "secret"),
        "visible": (place / "hidden/visible",), "tmp": place / "tmp", "network": False, **more,
    }  # fmt: skip
    return Access(**known)  # type: ignore[arg-type]


def shell(sandbox: Sandbox, held: Access, script: str, **popen: object) -> subprocess.CompletedProcess[str]:
    command = [*sandbox.command(held), "bash", "-c", script]
    said = {"capture_output": True, "text": True, "timeout": PATIENCE_S, **popen}
    return subprocess.run(command, **said)  # type: ignore[call-overload,no-any-return]


def python(sandbox: Sandbox, held: Access, code: str) -> str:
    done = subprocess.run([*sandbox.command(held), sys.executable, "-I", "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("name", ["own/new", "tmp/new", "shared/file"])
def test_what_is_given_can_be_written(sandbox: Sandbox, place: Path, name: str) -> None:
    (place / "shared/file").write_text("before")
    assert shell(sandbox, access(place), f"echo after > {place}/{name}").returncode == 0
    assert (place / name).read_text() == "after\n"


@pytest.mark.parametrize("name", ["beside/file", "shared/fixed/file", "hidden/visible/file", "new"])
@pytest.mark.parametrize("how", ["echo x > {}", "truncate -s 0 {}", "ln -sf /etc/passwd {}", "mv own/mine {}"])
def test_nothing_else_can(sandbox: Sandbox, place: Path, name: str, how: str) -> None:
    before = (place / name).read_text() if (place / name).exists() else None
    (place / "own/mine").write_text("mine")
    assert shell(sandbox, access(place), f"cd .. ; {how.format(place / name)}").returncode != 0
    assert ((place / name).read_text() if (place / name).exists() else None) == before


def test_no_folder_around_what_is_fixed_can_be_moved_away(sandbox: Sandbox, place: Path) -> None:
    """Or something else could be put where it was."""
    (place / "shared/around/fixed").mkdir(parents=True)
    (place / "shared/around/fixed/file").write_text("ours")
    held = access(place, fixed=(place / "shared/around/fixed",))
    script = (
        "mv around moved; rm -r around; mkdir -p around/fixed; echo theirs > around/fixed/file; echo new > around/new"
    )
    shell(sandbox, held, f"cd {place}/shared; {script}")
    assert (place / "shared/around/fixed/file").read_text() == "ours"
    assert not (place / "shared/moved").exists()


def test_what_lies_between_two_that_are_fixed_or_hidden_is_not_written_nor_shown(sandbox: Sandbox, place: Path) -> None:
    for name in ("read", "closed"):
        (place / f"shared/{name}/between/fixed").mkdir(parents=True)
        (place / f"shared/{name}/between/file").write_text(name)
    both = (place / "shared/read", *(place / f"shared/{name}/between/fixed" for name in ("read", "closed")))
    held = access(place, fixed=both, hidden=(place / "shared/closed",))
    files = [place / f"shared/{name}/between/file" for name in ("read", "closed")]
    done = shell(sandbox, held, "; ".join(f"cat {file}; echo changed > {file}" for file in files))
    assert done.stdout == "read"
    assert [file.read_text() for file in files] == ["read", "closed"]


def test_what_is_read_in_a_folder_that_is_hidden_as_a_whole_is_read(sandbox: Sandbox, place: Path) -> None:
    held = access(place, hidden=(place,), fixed=(place / "shared/fixed",), visible=())
    found = shell(sandbox, held, f"cat {place}/secret {place}/beside/file {place}/shared/fixed/file; echo x > mine")
    assert found.stdout == "shared/fixed/file"
    assert (place / "own/mine").exists()


SEEN = {"hidden/visible/file": True, "beside/file": True, "hidden/file": False, "secret": False}


@pytest.mark.parametrize(("name", "seen"), SEEN.items())
def test_what_is_hidden_cannot_be_read_but_what_is_visible_in_it_can(
    sandbox: Sandbox, place: Path, name: str, seen: bool
) -> None:
    done = shell(sandbox, access(place), f"cat {place}/{name}; ln {place}/{name} {place}/own/other && cat own/other")
    assert done.stdout == (name if seen else "")


def test_what_is_hidden_by_its_own_name_is_visible_by_no_pattern(sandbox: Sandbox, place: Path) -> None:
    held = access(place, visible=(place / "hidden/file", place / "hidden/visible"))
    assert shell(sandbox, held, f"cat {place}/hidden/file").stdout == "hidden/file"
    held = access(place, hidden=(place / "hidden", place / "hidden/file"), visible=(place / "hidden/file",))
    assert shell(sandbox, held, f"cat {place}/hidden/file").stdout == ""


def test_a_command_that_is_to_be_alone_starts_where_our_own_code_is_hidden_too(sandbox: Sandbox, place: Path) -> None:
    """A workspace inside of a clone, or a clone in the folder of temporary files."""
    ours = Path(landlock_exec.__file__).parents[1]
    held = access(place, hidden=(place / "hidden", ours), alone=True)
    assert shell(sandbox, held, f"echo here; cat {ours}/measure.py").stdout == "here\n"


def test_a_folder_that_holds_something_hidden_can_be_listed(sandbox: Sandbox, place: Path) -> None:
    held = access(place, hidden=(place / "secret",), visible=())
    assert "beside" in shell(sandbox, held, f"ls {place}").stdout


def test_a_descriptor_that_is_inherited_goes_through(sandbox: Sandbox, place: Path) -> None:
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    done = shell(sandbox, access(place), f"echo through >&{number}", pass_fds=(number,))
    assert (done.returncode, ours.recv(100)) == (0, b"through\n")


def test_without_a_network_no_packet_leaves(sandbox: Sandbox, place: Path) -> None:
    for kind in ("SOCK_DGRAM", "SOCK_STREAM"):
        code = f"import socket; socket.socket(socket.AF_INET, socket.{kind}).connect(('203.0.113.1', 9))"
        said = python(sandbox, access(place), code)
        assert "Network is unreachable" in said or "Permission denied" in said
    assert python(sandbox, access(place), "import socket; socket.socket(socket.AF_UNIX); print('ok')") == "ok"


def test_with_one_it_reaches_this_machine(sandbox: Sandbox, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]})); print('ok')"
        assert python(sandbox, access(place, network=True), code) == "ok"


def test_processes_outside_get_no_signal(sandbox: Sandbox, place: Path) -> None:
    if any("sent signals" in gap for gap in sandbox.gaps()):
        pytest.skip("no Landlock that holds back signals")
    with subprocess.Popen(["sleep", "60"]) as outside:
        shell(sandbox, access(place), f"kill -9 {outside.pid}")
        assert outside.poll() is None
        outside.kill()


def test_the_environment_names_the_temporary_folder_and_the_rest_stays(sandbox: Sandbox, place: Path) -> None:
    held = access(place, in_tmp=(("CACHE", "cache"),))
    done = shell(
        sandbox, held, 'mkdir "$CACHE" && touch "$TMPDIR/a" && echo "$MINE $PWD"', env={**os.environ, "MINE": "1"}
    )
    assert done.stdout == f"1 {place}/own\n", done
    assert sorted(path.name for path in (place / "tmp").iterdir()) == ["a", "cache"]


def test_two_commands_with_a_fresh_temporary_folder_share_nothing(sandbox: Sandbox, place: Path) -> None:
    (place / "hidden/scratch").mkdir()
    visible = (place / "own",)
    held = access(
        place, writable=(), shared=(), tmp=None, scratch=place / "hidden/scratch", visible=visible, alone=True
    )
    rows = f"/dev/shm/row-{os.getpid()} /tmp/row-{os.getpid()} {place}/own/row"
    leave = f"echo row > $TMPDIR/row; echo row | tee {rows} > /dev/null"
    find = f"cat $TMPDIR/row {rows} {place}/hidden/scratch/*/row; echo $TMPDIR"
    words = sandbox.command(held)
    for script in (leave, find):
        done = subprocess.run([*words, "bash", "-c", script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert "row\n" not in done.stdout and done.stdout.startswith("/")


@pytest.mark.parametrize("call", ["chmod 700 file", "touch -d 2001-01-01 file", "setfattr -n user.a -v b file"])
def test_what_is_alone_leaves_no_mark_on_a_file(sandbox: Sandbox, place: Path, call: str) -> None:
    before = (place / "beside/file").stat()
    shell(sandbox, access(place, alone=True), f"cd {place}/beside && {call}")
    after = (place / "beside/file").stat()
    assert (after.st_mode, after.st_mtime_ns, after.st_ctime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def test_a_pipe_whose_reader_is_gone_ends_its_writer(sandbox: Sandbox, place: Path) -> None:
    assert shell(sandbox, access(place), "yes | head -n 1; echo ${PIPESTATUS[0]}").stdout == "y\n141\n"


def test_one_that_cannot_be_set_up_is_a_failure_of_the_machine(sandbox: Sandbox, place: Path) -> None:
    done = shell(sandbox, access(place, cwd=place / "nowhere"), "true")
    with pytest.raises(MachineError, match="could not be set up"):
        check_set_up(Exit(done.returncode, 0.0, tail=done.stdout + done.stderr))


# --- Landlock: which rules, which filter ---


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"/": {"disk", "usr"}, "/disk": {"me", "you"}, "/disk/me": {"a", "b", "new"}, "/disk/me/a": {"x", "y"}}
    monkeypatch.setattr(landlock_exec, "_names", lambda folder: folders.get(folder, set()))


@pytest.mark.parametrize(
    ("places", "allowed"),
    [
        ({}, {"/": READ}),
        ({"/disk/me/a": WRITE}, {"/": READ, "/disk/me/a": WRITE}),
        ({"/disk/me/a": 0}, {"/usr": READ, "/disk/you": READ, "/disk/me/b": READ, "/disk/me/new": READ}),
        ({"/disk/me/a": 0, "/disk/me/a/x": READ},
         {"/usr": READ, "/disk/you": READ, "/disk/me/b": READ, "/disk/me/new": READ, "/disk/me/a/x": READ}),
        ({"/disk/me": WRITE, "/disk/me/a": READ}, {"/": READ, "/disk/me/b": WRITE, "/disk/me/new": WRITE}),
        ({"/disk/me": WRITE, "/disk/me/a": READ, "/disk/me/a/x": WRITE},
         {"/": READ, "/disk/me/b": WRITE, "/disk/me/new": WRITE, "/disk/me/a/x": WRITE}),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("tree")
def test_what_lies_beside_something_held_back_is_allowed_name_by_name(
    places: Mapping[str, int], allowed: Mapping[str, int]
) -> None:
    assert dict(allowances(dict(places))) == allowed


def test_the_names_in_something_hidden_may_be_told_where_no_run_is_in_it() -> None:
    assert listable({"/a": 0, "/b": 0, "/b/c": READ}) == {"/a": READ_DIR, "/b": 0, "/b/c": READ}


def run_filter(code: list[tuple[int, int, int, int]], number: int, *arguments: int, audit: int = 0xC000003E) -> int:
    """Return what a filter answers to a call: -1 for yes, else the error."""
    words = {0: number, 4: audit, **{16 + 8 * at: value for at, value in enumerate(arguments)}}
    at = held = 0
    while True:
        kind, yes, no, k = code[at]
        at += 1
        if kind == landlock_exec.LOAD:
            held = words[k]
        elif kind == landlock_exec.AND:
            held &= k
        elif kind == landlock_exec.RETURN:
            return -1 if k == landlock_exec.ALLOW else k & 0xFFFF
        else:
            at += yes if (held == k if kind == landlock_exec.EQUAL else held >= k) else no


@pytest.mark.parametrize("machine", landlock_exec.ARCHITECTURES)
def test_the_filter_refuses_what_landlock_leaves_open(machine: str) -> None:
    audit, calls = landlock_exec.ARCHITECTURES[machine]

    def ask(name: str, *arguments: int, network: bool = False, alone: bool = False, version: int = 7) -> int:
        return run_filter(filter_of(machine, network, alone, version), calls[name], *arguments, audit=audit)

    assert [ask("socket", family) for family in (1, 16, 2, 10, 17, 40)] == [-1, -1, *[errno.EACCES] * 4]
    assert ask("socket", 2, network=True) == -1
    assert ask("io_uring_setup", network=True) == errno.ENOSYS
    assert ask("fsetxattr", network=True) == errno.EOPNOTSUPP
    assert [ask("shmget", alone=alone) for alone in (False, True)] == [-1, errno.EACCES]
    assert [ask("utimensat", alone=alone) for alone in (False, True)] == [-1, 0]
    assert [ask("truncate", version=version) for version in (3, 2)] == [-1, errno.EACCES]
    flags = (os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY)
    assert [ask("openat", 0, 0, each, version=2) for each in flags] == [errno.EACCES, -1, -1]
    assert run_filter(filter_of(machine, True, False, 7), 0, audit=0x40000003) == errno.ENOSYS


def test_a_machine_whose_calls_are_not_known_gets_no_filter() -> None:
    assert filter_of("riscv64", False, True, 1) == [] and not landlock_exec.install([])


def test_words_of_a_command_are_no_longer_than_the_kernel_takes(place: Path) -> None:
    many = tuple(place / f"{'x' * 200}{number}" for number in range(2000))
    assert max(map(len, Landlock().command(access(place, visible=many, hidden=(place,))))) < 2**17


# --- macOS: the profile as text ---


@pytest.mark.skipif(sys.platform != "darwin", reason="needs macOS")
def test_on_a_mac_it_works() -> None:
    assert SandboxExec().missing() is None


def test_the_profile_denies_from_the_outside_in(place: Path) -> None:
    lines = profile(access(place, alone=True)).splitlines()
    assert lines[:3] == ["(version 1)", "(allow default)", "(deny file-write*)"]
    hidden, visible = (lines.index(f'({verb} file-read-data file-read-xattr (subpath "{place}/{name}"))')
                       for verb, name in (("deny", "hidden"), ("allow", "hidden/visible")))  # fmt: skip
    assert hidden < visible and f'(deny file-read-data file-read-xattr (literal "{place}/secret"))' in lines
    shared, fixed = (lines.index(f'({verb} file-write* (subpath "{place}/{name}"))')
                     for verb, name in (("allow", "shared"), ("deny", "shared/fixed")))  # fmt: skip
    assert shared < fixed and f'(deny file-write* (subpath "{place}/hidden/visible"))' in lines
    assert "(deny network*)" in lines and "(deny ipc-sysv*)" in lines
    assert "(deny network*)" not in profile(access(place, network=True))


def test_a_name_cannot_end_the_profiles_text(tmp_path: Path) -> None:
    odd = tmp_path / 'a"b\\c'
    odd.mkdir()
    assert f'"{tmp_path}/a\\"b\\\\c"' in profile(Access(cwd=tmp_path, hidden=(odd,)))


def test_its_command_makes_a_fresh_folder_at_each_start(place: Path) -> None:
    words = SandboxExec().command(access(place, tmp=None, scratch=place / "tmp", in_tmp=(("CACHE", "cache"),)))
    fake = place / "bin/sandbox-exec"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nshift 4\nexec "$@"\n')
    fake.chmod(0o755)
    env = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}"}
    said = [
        subprocess.run(
            [*words, "sh", "-c", 'echo "$CACHE $PWD"'], env=env, capture_output=True, text=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said[0][0] != said[1][0] and said[0][1] == str(place / "own")
    assert {Path(cache).name for cache, _ in said} == {"cache"} and len([*(place / "tmp").iterdir()]) == 2


# --- which one ---


def test_one_can_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [sandbox.name for sandbox in SANDBOXES if sandbox.missing() is None]
    for name in here:
        monkeypatch.setenv(SWITCH, name)
        assert (chosen := choose()) is not None and chosen.name == name
    monkeypatch.setenv(SWITCH, "auto")
    assert (chosen := choose()) is None or chosen.name == here[0]
    monkeypatch.setenv(SWITCH, "off")
    assert choose() is None and "turned off" in str(missing())


@pytest.mark.parametrize("name", ["landlok", *(each.name for each in SANDBOXES if each.missing())])
def test_one_that_is_not_here_is_an_error_and_not_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(SWITCH, name)
    with pytest.raises(AutoresearchError, match=name):
        choose()


def test_where_none_works_it_is_said_of_each_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        name = "x"

        def missing(self) -> str:
            return "x is not installed"

    monkeypatch.setattr(choice, "SANDBOXES", (Missing(),))
    assert choose() is None and missing() == "x is not installed"


def test_doctor_says_which_and_what_it_leaves_open(lab: Lab, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    def told() -> str:
        checks = lab.call("doctor", "--json").json["checks"]
        return next(str(check["found"]) for check in checks if check["name"] == "sandbox")

    monkeypatch.setenv(SWITCH, sandbox.name)
    assert told().startswith(f"{sandbox.name}: ") and sandbox.gaps()[0] in told()
    monkeypatch.setenv(SWITCH, "off")
    assert told().startswith("none, turned off")


def test_show_says_where_a_run_was_made(lab: Lab, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    monkeypatch.setenv(SWITCH, sandbox.name)
    lab.prints(50)
    lab.attempt()
    assert f"sandbox   {sandbox.name}" in lab.call("show", "2").out
    assert json.loads((lab.workspace.run_dir(2, 1) / "result.json").read_text())["isolation"] == sandbox.name


# --- with a harness: a closed trainer, a trusted grader, and model processes ---


@pytest.fixture
def closed(make_lab: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> Lab:
    """A workspace of a task with a harness, whose cache has a tokenizer and two splits."""
    monkeypatch.setenv(SWITCH, sandbox.name)
    monkeypatch.setenv("AUTORESEARCH_CACHE", str(tmp_path / "cache"))
    for name in ("train.bin", "search.bin", "vocab/tokens"):
        (tmp_path / "cache/t" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache/t" / name).write_text(name)
    return make_lab(files={"hidden": ["t/search.bin"]}, run={"network": False})


def begun(lab: Lab) -> Isolation:
    slot = lab.workspace.slot
    for name in ("train", "evaluate"):
        (slot / name).mkdir(parents=True, exist_ok=True)
        (slot / name / "train.py").write_text(name)
    git, task = Git(lab.root), load(lab.root)
    closed = {"task": {"harness": True}, "files": {"readable": ("t/vocab",)}}  # the harness itself has no part in this
    task = task.model_copy(update={k: getattr(task, k).model_copy(update=v) for k, v in closed.items()})
    return Isolation.begin(lab.workspace, git, task, lab.git("rev-parse", "HEAD"), lab.workspace.run_dir(9, 1))


LOOKS = """
for each in {root}/autoresearch.jsonl {root}/.git/HEAD {root}/bench.sh {run}/result.json {cache}/t/train.bin \
  {cache}/t/search.bin {cache}/t/vocab/tokens train.py; do cat $each > $TMPDIR/read && echo ${{each##*/}}; done
python -c 'import json, ctypes; print("imports")'
echo > here && echo "writes here"; echo > $TMPDIR/there && echo "writes there"; touch {root}/x {run}/x /dev/shm/x-{pid}
"""


def looks(lab: Lab) -> str:
    cache, run = lab.root.parent / "cache", lab.workspace.run_dir(1, 1)
    return LOOKS.format(root=lab.root, cache=cache, run=run, pid=os.getpid())


def left(lab: Lab) -> list[Path]:
    shm = [Path(f"/dev/shm/x-{os.getpid()}"), lab.root / "x", lab.workspace.run_dir(1, 1) / "x"]
    return [path for path in shm if path.exists()]


def test_a_closed_trainer_reads_its_snapshot_and_libraries_and_what_is_readable(closed: Lab) -> None:
    isolation = begun(closed)
    with isolation.process("train", dict(os.environ)) as process:
        done = subprocess.run(
            [*process.prefix, "bash", "-c", looks(closed)], env=process.env, capture_output=True, text=True
        )
    assert done.stdout.splitlines() == ["tokens", "train.py", "imports", "writes here", "writes there"], done
    assert left(closed) == [] and process.sandbox == isolation.name
    assert (closed.workspace.slot / "train/here").exists()


def test_a_closed_trainer_and_a_model_process_read_nothing_of_the_workspaces_beside_their_own(closed: Lab) -> None:
    """Those of the other slots of a machine in a cluster, and what comes there later."""
    isolation = begun(closed)
    isolation.around, there = closed.root.parent, closed.root.parent / "other/tree"
    there.mkdir(parents=True)
    (there / "train.py").write_text("theirs")
    look = ["bash", "-c", f"echo > {there}/sent; ls {there}; cat {there}/train.py {there}/later; cat train.py"]
    for what in ("train", "evaluate"):
        with isolation.process(what, dict(os.environ)) as process:
            words = process.prefix or json.loads(process.env[MODEL_PREFIX])
            (there / "later").write_text("theirs, too")
            done = subprocess.run([*words, *look], env=process.env, capture_output=True, text=True)
        assert done.stdout == what, done
    assert sorted(path.name for path in there.iterdir()) == ["later", "train.py"]


def test_a_model_process_writes_nothing_that_stays_and_the_grader_is_not_held(closed: Lab) -> None:
    isolation = begun(closed)
    with isolation.process("evaluate", dict(os.environ)) as process:
        assert (process.prefix, process.sandbox) == ((), None)
        words = json.loads(process.env[MODEL_PREFIX])
        done = subprocess.run([*words, "bash", "-c", looks(closed)], env=process.env, capture_output=True, text=True)
        again = subprocess.run(
            [*words, "bash", "-c", "cat $TMPDIR/there"], env=process.env, capture_output=True, text=True
        )
    assert done.stdout.splitlines() == ["tokens", "train.py", "imports", "writes there"], done
    assert again.returncode != 0  # the second finds nothing of the first
    assert left(closed) == [] and not (closed.workspace.scratch / "evaluate.tmp").exists()
    assert not (closed.workspace.slot / "evaluate/here").exists()
    with isolation.process("feed", dict(os.environ)) as process:
        assert (process.prefix, MODEL_PREFIX in process.env) == ((), False)


def test_without_a_sandbox_a_model_process_is_started_by_no_words(closed: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    with begun(closed).process("evaluate", dict(os.environ)) as process:
        assert process.env[MODEL_PREFIX] == "[]"


def test_a_pattern_may_name_the_standard_library_and_python_still_finds_its_modules(
    make_lab: Maker, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    lab = make_lab(files={"hidden": ["{stdlib}/turtledemo", "{stdlib}/this.py"]})
    monkeypatch.setenv(SWITCH, sandbox.name)
    code = "import json, os; print('METRIC total_ms=50')"
    reads = "print(open(os.path.dirname(os.__file__) + '/this.py').read()[0])"
    for source, outcome in ((f"{code}; {reads}", "crash"), (code, "ok")):
        lab.attempt(f'python -c "{source}"\n')
        assert lab.events("run")[-1]["outcome"] == outcome


def test_in_a_workspace_with_a_long_path_programs_can_make_their_sockets(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv(SWITCH, sandbox.name)
    assert len(str(lab.root)) > 45
    names = Path(f"/tmp/autoresearch-{os.getuid()}")
    names.mkdir(mode=0o700, exist_ok=True)
    of_a_killed_run = names / lab.root.parent.name
    of_a_killed_run.symlink_to(lab.root / "gone")
    os.utime(of_a_killed_run, (0, 0), follow_symlinks=False)
    made = "c.Listener(family='AF_UNIX').address"
    listens = f"import multiprocessing.connection as c; print('METRIC total_ms=%d' % (len({made}) < 103))"
    done = lab.attempt(f'{sys.executable} -c "{listens}"\n')
    assert done.code == 0 and lab.session.experiments[-1].metric == 1.0, done
    assert not of_a_killed_run.is_symlink()
    targets = []
    for link in names.iterdir():
        with contextlib.suppress(OSError):  # another run's, which has ended, or the folder of an agent
            targets.append(link.readlink())
    assert not [target for target in targets if lab.root in target.parents]
