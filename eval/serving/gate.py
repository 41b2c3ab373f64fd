"""Who may ask: Host, Origin and token are looked at before anything else, and every answer gets the same headers."""

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = "127.0.0.1"
COOKIE = "hash_codes_token"
PAGE_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
               "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
# A report is one file with its styles inside; it runs no script and belongs to no origin.
REPORT_POLICY = ("default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
                 "frame-ancestors 'none'; sandbox")
HEADERS = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "x-frame-options": "DENY",
           "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin",
           "permissions-policy": "camera=(), geolocation=(), microphone=()"}


@dataclass(frozen=True)
class Address:
    """Where the server listens. token: None on the loopback address, where only this machine's users can ask."""

    host: str
    port: int
    token: str | None

    @property
    def link(self) -> str:
        """What a person opens first."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        if self.host in ("0.0.0.0", "::"):
            name = socket.gethostname()
        return f"http://{name}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def knows(self, host: str) -> bool:
        """Whether a Host header is one of this server's names.

        A page of somewhere else reaches it under a name of its own (DNS rebinding); an address of numbers cannot be
        pointed elsewhere. Those are taken only from outside the loopback address, where the token is needed anyway.
        """
        name, port = split_host(host)
        if port != self.port:
            return False
        if name in {self.host, "localhost", LOOPBACK, "::1"}:
            return True
        return self.token is not None and (name == socket.gethostname().lower() or is_address(name))


def address_for(host: str | None, port: int) -> Address:
    """The loopback address without a token, or `host` with a new one."""
    return Address(host, port, secrets.token_urlsafe(24)) if host else Address(LOOPBACK, port, None)


def split_host(host: str) -> tuple[str, int | None]:
    """(name in lower case, port) of a Host header; port 80 where none is said, None where it is no number."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, "80"
    return name.strip("[]").lower(), int(port) if port.isascii() and port.isdigit() else None


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Gate:
    """ASGI: refuses what comes neither from this server's own page nor from a program on its own; adds the headers."""

    def __init__(self, app: ASGIApp, address: Address):
        self.app, self.address = app, address

    async def __call__(self, scope: Scope, receive: Receive, send: Send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = Headers(scope=scope)
        refusal = self._refusal(headers, scope) or self._token(headers, scope)
        await (refusal or self.app)(scope, receive, with_headers(send))

    def _refusal(self, headers: Headers, scope: Scope):
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not self.address.knows(host):
            return refused(421, f"This server does not answer under the name {host!r}: open {self.address.link}")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return refused(403, "A page of another origin may not ask this server.")
        if headers.get("sec-fetch-site", "none") in ("cross-site", "same-site") and not is_navigation(headers, scope):
            return refused(403, "A page of another origin may not ask this server.")
        return None

    def _token(self, headers: Headers, scope: Scope):
        """None where the token is there or none is needed; from the address bar it moves into a cookie."""
        if self.address.token is None:
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if scope["method"] == "GET" and scope["path"] == "/" and self._is_token(asked.pop("token", [""])[0]):
            answer = RedirectResponse("/" + ("?" + urlencode(asked, doseq=True) if asked else ""), 303)
            answer.set_cookie(COOKIE, self.address.token, httponly=True, samesite="strict", path="/")
            return answer
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [cookie.value] if cookie else []
        given += [bearer.strip()] if kind.lower() == "bearer" else []
        if any(map(self._is_token, given)):
            return None
        return refused(401, "A token is needed: open the address that the server printed when it started, or send the "
                            "token as `Authorization: Bearer TOKEN`.")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.address.token.encode())


def is_navigation(headers: Headers, scope: Scope) -> bool:
    """A person who follows a link from elsewhere."""
    return scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and \
        headers.get("sec-fetch-dest") == "document"


def refused(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def with_headers(send: Send) -> Send:
    """`send` that adds HEADERS, and the page's Content-Security-Policy where the answer has none."""
    async def sending(message: Message):
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            extra = HEADERS | {"content-security-policy": PAGE_POLICY, "cache-control": "no-store"}
            added = [(name.encode(), value.encode()) for name, value in extra.items() if name.encode() not in present]
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return sending
