"""The live page, by a real server on the loopback interface, under attack and while a journal grows."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import call
from night import EVIL, SECRET, TRACE, run_files
from served import Server, serve
from waiting import PATIENCE_S, wait_for

from autoresearch.journal import events
from autoresearch.reports.dashboard.journal_tail import Position, position_of, tail_of
from autoresearch.workspace.workspace import Workspace

pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def server(finished_night: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all: each test that changes the journal puts it back."""
    root = tmp_path_factory.mktemp("served") / "ws"
    shutil.copytree(finished_night.root, root, symlinks=True, ignore=shutil.ignore_patterns("runs"))
    run_files(Workspace(root))
    running = serve(Workspace(root))
    yield running
    running.process.terminate()
    running.process.communicate()


@pytest.fixture
def journal(server: Server) -> Iterator[Path]:
    """The journal that the page shows, as it was again afterwards."""
    path = server.workspace.journal
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


ROUTES = ("/", "/index.json", "/static/page.js", "/w/ID", "/w/ID.json", "/w/ID/experiments.json", "/w/ID/experiments/4",
          "/w/ID/experiments/4.json", "/w/ID/compare.json?n=4,9", "/w/ID/policy.json", "/w/ID/running.json",
          "/w/ID/curve.json?n=4", "/w/ID/events", "/nothing")  # fmt: skip


def routes(server: Server) -> list[str]:
    return [route.replace("ID", server.id) for route in ROUTES]


# --- who may ask ---


HOSTS = ("evil.example", "evil.example:PORT", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:PORT",
         "127.0.0.1:PORT@evil.example", "0.0.0.0:PORT", "[::]:PORT", "")  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_under_another_name_no_route_answers(server: Server, host: str) -> None:
    # A site that lets its name resolve to 127.0.0.1 is asked for by that name.
    for route in routes(server):
        assert server.ask(route, Host=host.replace("PORT", str(server.port))).status == 421, route


def test_two_hosts_or_none_are_refused(server: Server) -> None:
    for lines in ((), (f"Host: 127.0.0.1:{server.port}", "Host: evil.example")):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as connection:
            head = "\r\n".join(["GET /index.json HTTP/1.1", *lines, f"Cookie: {server.cookie}", "Connection: close"])
            connection.sendall(head.encode() + b"\r\n\r\n")
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        assert said.split()[1] in (b"400", b"421") and b"workspaces" not in said


FOREIGN = ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
           {"Origin": "http://localhost.evil.example"}, {"Sec_Fetch_Site": "cross-site"},
           {"Sec_Fetch_Site": "same-site"})  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_site_gets_no_answer_from_any_route(server: Server, headers: dict[str, str]) -> None:
    for route in routes(server):
        assert server.ask(route, **headers).status == 403, route


def test_its_own_page_gets_answers_under_each_of_its_names(server: Server) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        host = f"{name}:{server.port}"
        answer = server.ask("/index.json", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")
        assert answer.status == 200, name


def test_without_the_token_no_route_answers(server: Server) -> None:
    name = server.cookie.partition("=")[0]
    for route in routes(server):
        for cookie in (
            "",
            f"{name}=",
            f"{name}=wrong",
            f"{name}={server.token}x",
            f"other={server.token}",
            f"{name}=é",
        ):
            assert server.ask(route, cookie=False, Cookie=cookie).status == 401, (route, cookie)
    assert server.ask("/?token=wrong").status == 401
    assert server.ask("/?token=").status == 401


def test_the_first_url_becomes_a_cookie_that_no_script_and_no_other_site_has(server: Server) -> None:
    answer = server.ask(f"/w/{server.id}/compare?n=4,9&token={server.token}", cookie=False)
    assert answer.status == 303 and answer.headers["location"] == f"/w/{server.id}/compare?n=4%2C9"
    assert "HttpOnly" in answer.headers["set-cookie"] and "SameSite=Strict" in answer.headers["set-cookie"]
    for path in ("//evil.example/x", "/\\evil.example", "///evil.example"):
        location = server.ask(f"{path}?token={server.token}", cookie=False).headers["location"]
        assert location.startswith("/") and location[1:2] not in ("/", "\\")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_only_reads(server: Server, method: str) -> None:
    for route in routes(server):
        assert server.ask(route, method).status == 405, route


def test_every_answer_forbids_scripts_of_others(server: Server) -> None:
    answers = [server.ask(route) for route in routes(server) if not route.endswith("/events")]
    answers += [server.ask("/", Host="evil.example"), server.ask("/", cookie=False)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
    page = server.ask("/").body.decode()
    assert "onclick" not in page and "style=" not in page and "<script>" not in page


def test_a_head_is_a_get_without_a_body(server: Server) -> None:
    answer = server.ask(server.at(".json"), "HEAD")
    assert answer.status == 200 and answer.body == b""


# --- paths, and what runs left ---


PATHS = (
    "/static/../server.py", "/static/..%2fserver.py", "/static/%2e%2e/%2e%2e/overview.py", "/static/report.js",
    "/../../etc/passwd", "/w/ID/../../etc/passwd", "/w/ID/experiments/..%2f..%2fautoresearch.toml", "/openapi.json",
    "/w/ID/experiments/4%00.json", "/w/ID/autoresearch.toml", "/w/..%2f..%2f.json", "/w/ID/experiments/-1.json",
    "/w/ID/experiments/1e3.json", "/w/ID/experiments/99999999999999999999.json", "/w/0123456789ab.json", "/docs",
    "//etc/passwd",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_out(server: Server, path: str) -> None:
    answer = server.ask(path.replace("ID", server.id))
    assert answer.status in (404, 422), answer
    assert b"root:" not in answer.body and b"mutable" not in answer.body and b"import" not in answer.body


def test_links_fifos_and_endless_files_in_the_folders_of_runs_are_not_followed(server: Server) -> None:
    said = b"".join(server.ask(server.at(f"/experiments/{n}.json")).body for n in range(3, 13))
    said += server.ask(server.at("/curve.json?n=3,4,5,6,7,8")).body + server.ask(server.at("/curve.json?n=8")).body
    assert SECRET.encode() not in said
    shown = server.json(server.at("/experiments/9.json"))
    logs = shown["logs"]
    assert isinstance(logs, list) and [log["seed"] for log in logs] == [1, 91]
    assert logs[0]["lines"][-1] == "the last line" and len(json.dumps(logs)) < 10_000
    for n in (5, 6, 7, 8):
        shown = server.json(server.at(f"/experiments/{n}.json"))
        assert shown["logs"] == [] or n == 6, n
        assert server.json(server.at(f"/curve.json?n={n}")) == {"figure": None, "names": []}


def test_hostile_text_is_data_without_a_control_character(server: Server) -> None:
    paths = (
        ".json",
        "/experiments.json",
        "/experiments/4.json",
        "/experiments/5.json",
        "/compare.json?n=4,9",
        "/policy.json",
    )
    for path in paths:
        answer = server.ask(server.at(path))
        assert answer.headers["content-type"] == "application/json"
        text = json.dumps(json.loads(answer.body), ensure_ascii=False)
        assert not set(answer.body) & set(TRACE) and "\u202e" not in text and "\\u001b" not in text, path
    shown = server.json(server.at("/experiments/4.json"))
    assert "</script><img src=x onerror=alert(1)>" in str(shown["diff"])
    assert any("</script>" in line for line in shown["logs"][0]["lines"])  # type: ignore[index]
    for page in ("/", server.at(""), server.at("/experiments/4")):
        assert b"<img" not in server.ask(page).body and EVIL.encode() not in server.ask(page).body


def test_nothing_of_the_workspace_is_written(server: Server) -> None:
    def state() -> dict[str, tuple[int, int]]:
        paths = [p for p in server.workspace.root.rglob("*") if not p.is_symlink()]
        return {str(p): ((s := p.lstat()).st_mtime_ns, s.st_size) for p in paths}

    before = state()
    for route in routes(server):
        if not route.endswith("/events"):
            server.ask(route)
    assert state() == before


# --- the table and the pages behind it ---


def test_the_table_is_filtered_by_status_family_and_text_and_comes_in_pages(server: Server) -> None:
    def numbers(query: str) -> list[int]:
        return [row["experiment"] for row in server.json(server.at(f"/experiments.json?{query}"))["rows"]]  # type: ignore[attr-defined]

    assert numbers("status=keep") == [3, 4, 9]
    assert numbers("family=schedule") == [5] and numbers("q=NEAR") == [10] and numbers("status=keep&q=wider") == [9]
    assert numbers("first=2&limit=3") == [5, 6, 7] and numbers("first=-2") == [11, 12]
    assert server.json(server.at("/experiments.json?q=nothing+like+it")) == {"rows": [], "total": 0, "begin": 0}
    assert server.ask(server.at("/experiments.json?limit=100000")).status == 422


def test_experiments_are_compared_with_their_errors_and_curves(server: Server) -> None:
    view = server.json(server.at("/compare.json?n=4,9"))
    (pair,) = view["pairs"]  # type: ignore[misc]
    assert (pair["experiment"], pair["against"], pair["decided"]) == (9, 4, True) and pair["error"] > 0
    assert {"seed": 1, "values": [4.0, 3.49]} in view["seeds"]  # type: ignore[operator]
    assert [line["name"] for line in view["curve"]["lines"]] == ["experiment 4, seed 1", "experiment 9, seed 1"]  # type: ignore[index]
    for query, status in (("n=4", 404), ("n=4,99", 404), ("n=x", 404), ("n=" + ",".join(map(str, range(3, 13))), 404)):
        answer = server.ask(server.at(f"/compare.json?{query}"))
        assert answer.status == status and "fix" in json.loads(answer.body)["error"]


# --- a journal that changes ---


def read_events(server: Server, path: str, count: int, **headers: str) -> list[dict[str, str]]:
    """Return the first events of a stream that say something."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", path, headers={"Cookie": server.cookie, **headers})
    stream, found = connection.getresponse(), list[dict[str, str]]()
    event: dict[str, str] = {}
    while len(found) < count:
        line = stream.readline().decode()
        assert line, "the stream ended"
        name, _, value = line.rstrip("\n").partition(": ")
        if name:
            event[name] = value
        elif event.get("event") != "alive":
            found, event = [*found, event], {}
    connection.close()
    return found


def note(n: int) -> bytes:
    return json.dumps(events.note_line(n, {"k": "v"}, 1)).encode() + b"\n"


def test_a_browser_that_comes_back_gets_exactly_what_it_has_missed(server: Server, journal: Path) -> None:
    begin = str(server.json(server.at(".json"))["journal"])
    with journal.open("ab") as file:
        file.write(note(4))
        middle = file.tell()
        file.write(note(5) + note(9) + note(5) + b'{"run": 77, "half a li')
        whole = file.tell() - len(b'{"run": 77, "half a li')
    inode = journal.stat().st_ino
    (event,) = read_events(server, server.at(f"/events?from={begin}"), 1)
    assert event["id"] == f"{inode}:{whole}" and json.loads(event["data"]) == {"changed": [4, 9, 5], "lines": 4}
    (event,) = read_events(server, server.at(f"/events?from={begin}"), 1, **{"Last-Event-ID": f"{inode}:{middle}"})
    assert json.loads(event["data"]) == {"changed": [9, 5], "lines": 3}
    since = server.json(server.at(f".json?since={inode}:{middle}"))["since"]
    assert [row["experiment"] for row in since["rows"]] == [9, 5]  # type: ignore[index]


def test_a_journal_that_shrinks_or_is_replaced_makes_the_page_read_anew(server: Server, journal: Path) -> None:
    content = journal.read_bytes()
    begin = str(server.json(server.at(".json"))["journal"])
    journal.write_bytes(content[: content.rfind(b"\n", 0, -1) + 1])
    (event,) = read_events(server, server.at(f"/events?from={begin}"), 1)
    assert event["event"] == "reset"
    assert server.json(server.at(".json"))["status"]["experiments"] == 9  # type: ignore[index]
    other = journal.with_name("other.jsonl")
    other.write_bytes(content + note(4))
    other.replace(journal)
    (event,) = read_events(server, server.at(f"/events?from={begin}"), 1)
    assert event["event"] == "reset" and event["id"].startswith(f"{journal.stat().st_ino}:")


def test_a_torn_or_broken_line_is_told_and_mended(server: Server, journal: Path) -> None:
    content = journal.read_bytes()
    for torn in (b'{"run": 13, "met', b'{"run": 13, "metric": NaN', b"\xff\xfe"):
        journal.write_bytes(content + torn)
        assert server.json(server.at(".json"))["status"]["experiments"] == 10  # type: ignore[index]
    for broken in (b'{"run": 13, "status": "keep", "metric": NaN}\n', b"no json\n", b'{"run": "x", "status": "keep"}\n',
                   b'{"run": 13, "status": "best", "metric": 1}\n', b"[]\n"):  # fmt: skip
        journal.write_bytes(content + broken)
        answer = server.ask(server.at(".json"))
        assert answer.status == 409 and "line" in json.loads(answer.body)["error"]["message"], broken
        assert server.ask("/index.json").status == 200
    journal.write_bytes(content)
    assert server.json(server.at(".json"))["status"]["experiments"] == 10  # type: ignore[index]
    journal.unlink()
    os.mkfifo(journal)
    assert server.ask(server.at(".json")).status == 409
    journal.unlink()


def test_a_curve_that_grows_is_told_and_its_points_are_there(server: Server, journal: Path) -> None:
    me = __import__("psutil").Process()
    running = server.workspace.running
    running.write_text(json.dumps({"pid": me.pid, "created": me.create_time(), "experiment": 4, "seed": 1, "since": 1}))
    try:
        state = server.json(server.at(".json"))["state"]
        assert state == {"what": "running", "text": "Running: experiment 4, seed 1."}
        view = server.json(server.at("/running.json"))
        lines = view["figure"]["lines"]  # type: ignore[index]
        assert [line["name"] for line in lines] == ["experiment 4, seed 1, now", "experiment 9, seed 1"]
        before = len(lines[0]["x"])
        with (server.workspace.run_dir(4, 1) / "curve.jsonl").open("a") as file:
            file.write('{"step": 100, "train": 0.001}\n')
        lines = server.json(server.at("/running.json"))["figure"]["lines"]  # type: ignore[index]
        assert len(lines[0]["x"]) == before + 1 and lines[0]["y"][-1] == 0.001
    finally:
        running.unlink()


def test_places_in_a_journal_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(note(1) + note(2))
    inode, size = path.stat().st_ino, path.stat().st_size
    first = len(note(1))
    assert tail_of(path, Position(inode, first)).changed == (2,)  # type: ignore[union-attr]
    assert tail_of(path, Position(inode, first - 1)).reset  # type: ignore[union-attr]
    assert tail_of(path, Position(inode, size + 1)).reset  # type: ignore[union-attr]
    assert tail_of(path, Position(inode + 1, first)).reset  # type: ignore[union-attr]
    assert tail_of(path, None).end == Position(inode, size)  # type: ignore[union-attr]
    assert tail_of(tmp_path / "none", None) is None
    for text in (None, "", "1", "1:", ":1", "1:-1", "-1:1", "1:1\n", "x:y", "1:" + "9" * 30, "１:1"):
        assert position_of(text) is None, text
    assert position_of("12:34") == Position(12, 34)


@pytest.mark.slow
def test_it_ends_when_it_is_interrupted_also_with_an_open_stream(a_night: Workspace) -> None:
    server = serve(a_night)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    connection.request("GET", server.at("/events?from=1:1"), headers={"Cookie": server.cookie})
    assert connection.getresponse().readline()
    server.process.send_signal(2)
    wait_for(lambda: server.process.poll() is not None, "the server to end")
    assert server.process.returncode == 0
    server.process.communicate()


def test_what_cannot_be_served_is_said_before_a_port_is_taken(
    a_night: Workspace, tmp_path: Path, server: Server
) -> None:
    assert call("dashboard", str(tmp_path), cwd=a_night.root).code == 3
    mistyped = call("dashboard", "nihgt", cwd=a_night.root)
    assert mistyped.code == 2 and "there is no folder" in mistyped.err, "the workspace around it was not meant"
    taken = call("dashboard", "--port", str(server.port), "--json", cwd=a_night.root)
    assert taken.code == 5 and "choose another" in taken.json["error"]["fix"]


def test_without_the_extra_the_fix_names_it(a_night: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    done = call("dashboard", "--json", cwd=a_night.root)
    assert done.code == 5 and "autoresearch[dashboard]" in done.json["error"]["fix"]
