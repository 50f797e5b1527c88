"""The page as a real program on the loopback interface, and requests to it as they are written."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

from waiting import PATIENCE_S

from autoresearch.workspace.workspace import Workspace


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """A running page, and the workspace that it shows."""

    workspace: Workspace
    port: int
    token: str
    process: subprocess.Popen[str]
    cookie: str = ""
    id: str = ""

    def ask(self, path: str, method: str = "GET", cookie: bool = True, **headers: str) -> Answer:
        """Send a request as it is written, with the cookie and the right host where nothing else is said."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        sent = {"Host": f"127.0.0.1:{self.port}", **({"Cookie": self.cookie} if cookie else {}), **headers}
        for name, value in sent.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        connection.close()
        return found

    def json(self, path: str) -> dict[str, object]:
        answer = self.ask(path)
        assert answer.status == 200, (path, answer)
        found = json.loads(answer.body)
        assert isinstance(found, dict)
        return found

    def at(self, rest: str) -> str:
        return f"/w/{self.id}{rest}"


def serve(workspace: Workspace) -> Server:
    """Start the real program, and open the URL that it prints."""
    command = [sys.executable, "-m", "autoresearch", "dashboard", "--json"]
    process = subprocess.Popen(command, cwd=workspace.root, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = urlsplit(json.loads(process.stdout.readline())["url"])
    assert url.port is not None
    server = Server(workspace, url.port, url.query.removeprefix("token="), process)
    answer = server.ask(f"/?{url.query}", cookie=False)
    server.cookie = answer.headers["set-cookie"].partition(";")[0]
    server.id = json.loads(server.ask("/index.json").body)["workspaces"][0]["id"]
    return server
