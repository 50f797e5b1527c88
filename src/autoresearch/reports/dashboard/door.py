"""Who may ask the page anything: this machine's own browser, with the token of the first URL.

A page of another site can send requests to a port of this machine, under a name of its own that it lets resolve to
127.0.0.1; so the name that was asked for is compared, and where a request comes from. Other users of the machine can
connect to the port, too; so there is a token, which the first URL turns into a cookie.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")  # fmt: skip

HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Of every answer, a refusal included."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Door:
    """The checks before every route."""

    application: Application
    port: int
    token: str

    @property
    def cookie(self) -> str:
        """Its name: cookies are shared by all ports of a machine, and several pages may be open."""
        return f"autoresearch_{self.port}"

    @property
    def origins(self) -> set[str]:
        ends = [f":{self.port}"] + [""] * (self.port == 80)
        return {f"http://{host}{end}" for host in ("127.0.0.1", "localhost", "[::1]") for end in ends}

    def refusal(self, method: str, headers: list[tuple[bytes, bytes]]) -> Refusal | None:
        """Return why a request is refused whatever it asks for; None when it may go on to the token."""
        hosts = [f"http://{value.decode('latin-1').lower()}" for name, value in headers if name == b"host"]
        if len(hosts) != 1 or hosts[0] not in self.origins:
            return Refusal(421, "this page answers to 127.0.0.1 and localhost alone")
        if method not in ("GET", "HEAD"):
            return Refusal(405, "this page only reads")
        origins = [value.decode("latin-1").lower() for name, value in headers if name == b"origin"]
        sites = [value for name, value in headers if name == b"sec-fetch-site"]
        if any(origin not in self.origins for origin in origins):
            return Refusal(403, "another site asks")
        if any(site not in (b"same-origin", b"none") for site in sites):
            return Refusal(403, "another site asks")
        return None

    def knows(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on to the application."""
        if scope["type"] != "http":
            return  # no websockets; and nothing happens when the server starts or ends
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        refused = self.refusal(scope["method"], headers)
        if refused is not None:
            await _answer(send, refused.status, refused.text)
            return
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", [])
        if given and self.knows(given[0]):
            path = scope["raw_path"].decode("latin-1")
            # A path that begins with two slashes would name another host.
            place = "/" + path.lstrip("/\\") + (f"?{urlencode(query, doseq=True)}" if query else "")
            cookie = f"{self.cookie}={self.token}; HttpOnly; SameSite=Strict; Path=/"
            more = [(b"location", place.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
            await _answer(send, 303, "", more)
            return
        if given or not self.knows(_cookie_of(headers, self.cookie)):
            await _answer(send, 401, "open the URL that autoresearch dashboard has printed, with its token")
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.application(scope, receive, guarded)


def _cookie_of(headers: list[tuple[bytes, bytes]], name: str) -> str:
    for key, value in headers:
        if key == b"cookie":
            try:
                found = SimpleCookie(value.decode("latin-1")).get(name)
            except CookieError:
                continue
            if found is not None:
                return found.value
    return ""


async def _answer(send: Send, status: int, text: str, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS, *(more or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": f"{text}\n".encode() if text else b""})
