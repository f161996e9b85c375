"""Who may ask: a browser on this machine that was opened with a link from the terminal, and no page but ours.

Others who reach the port are users of this machine, and web pages in the user's own browser. Against those: Host is
ours (DNS rebinding), Origin is ours, and so is what the browser says of where a request comes from (Fetch Metadata). A
link works once; what it is exchanged for is a cookie that no script reads and a key that stands in a header. The cookie
alone would do for whoever serves another port, as cookies know no ports; the key is kept by origin. ::

    token = gate.new_token()                         # goes into a link, after the #
    entry = gate.enter(token, now)                   # once
    gate.admits(asked, now)                          # afterwards
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from cis.api.http_serving import Asked

SECRET_BYTES = 32
TOKENS_MAX = 4
SESSIONS_MAX = 16
IDLE_S = 12 * 3600.0
"""How long a session that asks nothing lasts."""
KEY_HEADER = "x-cis-key"
_OWN_SITES = frozenset({None, b"same-origin", b"none"})


@dataclass
class Session:
    """A browser that was let in."""

    cookie: str
    key: str
    seen: float


class Gate:
    """Tells who is let in to the server of one port."""

    def __init__(self, port: int) -> None:
        self._hosts = frozenset(f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost"))
        self._cookie_name = f"cis-web-{port}"
        self._tokens: OrderedDict[str, None] = OrderedDict()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def is_ours(self, asked: Asked) -> bool:
        """Tell whether a request was put to this server by name, and by no other page."""
        host, origin = asked.header(b"host"), asked.header(b"origin")
        if host not in self._hosts or (origin is not None and origin != b"http://" + host):
            return False
        if asked.method == "GET":
            return True  # what is read by GET is the page without anything of the node, open to links from anywhere
        return origin is not None and asked.header(b"sec-fetch-site") in _OWN_SITES

    def new_token(self) -> str:
        """Return what lets one browser in, once; of those never used the oldest is void."""
        token = secrets.token_urlsafe(SECRET_BYTES)
        self._tokens[token] = None
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)
        return token

    def enter(self, token: str, now: float) -> Session | None:
        """Exchange a token for a session; None where it is none, or was used."""
        given = token.encode()
        if (found := next((one for one in self._tokens if hmac.compare_digest(one.encode(), given)), None)) is None:
            return None
        del self._tokens[found]
        session = Session(secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES), now)
        self._sessions[session.cookie] = session
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return session

    def admits(self, asked: Asked, now: float) -> bool:
        """Tell whether a request is of a session, which goes on by it."""
        key = asked.header(KEY_HEADER.encode()) or b""
        for cookie in self._cookies(asked):
            session = self._sessions.get(cookie)
            if session is None or now - session.seen > IDLE_S:
                self._sessions.pop(cookie, None)
            elif hmac.compare_digest(session.key.encode(), key):
                session.seen = now
                self._sessions.move_to_end(cookie)
                return True
        return False

    def cookie_of(self, session: Session) -> str:
        """Return the Set-Cookie of a session: for no script, no other site, and until the browser is closed."""
        return f"{self._cookie_name}={session.cookie}; Path=/; HttpOnly; SameSite=Strict"

    def _cookies(self, asked: Asked) -> list[str]:
        pairs = (asked.header(b"cookie") or b"").decode("latin-1").replace(",", ";").split(";")
        named = (pair.strip().partition("=") for pair in pairs)
        return [value for name, _, value in named if name == self._cookie_name]
