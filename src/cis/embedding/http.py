"""A model behind HTTP: ``POST …/embeddings`` as OpenAI's API has it, which most servers of models speak.

The server is trusted with the texts and with nothing else. An answer is bounded in bytes and, the lookup of the
server's name aside, in time as a whole, however it trickles; a redirect is not followed, as the token and the texts
would go with it; numbers that are none, or of another dimension than before, are refused. What it is busy with is
tried again, as late as it asks for. Where it refuses texts, as many do that are longer than its model reads, each is
asked for by itself, then its beginning; one that is refused even so has a row of zeros, as the others need not wait
for what makes a server refuse it. ::

    HttpEmbedder("https://api.example.net/v1", "some-model", token).embed(["the staging database moved"])
"""

from __future__ import annotations

import contextlib
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import h11
import msgspec
import numpy as np

from cis.embedding.choosing import check_token, check_url
from cis.embedding.embedder import DIMENSIONS_MAX, readable
from cis.errors import CisError, Denied, TimedOut, Unavailable, UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

TEXTS_MAX = 64
"""Texts in one request."""
ANSWER_BYTES_MAX = 8 << 20
"""64 vectors of 4096 numbers as servers write them, and some."""
ATTEMPT_S = 10.0
ATTEMPTS = 3
PAUSE_S = 0.5
PAUSE_S_MAX = 10.0
"""A server that wants to be left alone for longer is: the caller tries again another time."""
BEGINNINGS_CHARS = (1000, 250)
"""What is asked for of a text that was refused: fewer than 512 tokens, as many as all models read, of most languages
and of all."""
_HEADER_BYTES_MAX = 32 << 10
_READ_BYTES = 64 << 10
_REFUSING = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}
_BUSY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}
_SECONDS = re.compile(rb"[0-9]{1,6}")


class _Vector(msgspec.Struct):
    embedding: Annotated[list[float], msgspec.Meta(min_length=1, max_length=DIMENSIONS_MAX)]
    index: int = -1


class _Answer(msgspec.Struct):
    data: Annotated[list[_Vector], msgspec.Meta(max_length=TEXTS_MAX)]


@dataclass(frozen=True)
class _Reply:
    status: int
    retry_after_s: float
    body: bytes


class _Again(Exception):
    """The attempt failed in a way that another may not."""

    def __init__(self, problem: CisError, after_s: float = 0.0) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.after_s = after_s


class _Refused(UsageError):
    """The server did not want these texts, or anything put like this."""


class HttpEmbedder:
    """One model of one server; each request has a connection of its own, so threads do not wait for each other.

    ``pause`` waits for a number of seconds between attempts; ``attempt_s`` bounds one as a whole.
    """

    local = False

    def __init__(
        self,
        url: str,
        model: str,
        token: str,
        *,
        attempt_s: float = ATTEMPT_S,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.name = model
        self.dimensions = 0
        self._line = _Line(url, model, token, attempt_s)
        self._pause = pause
        self._dimensions_lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return one row for each text, of length 1.

        Raises `Unavailable` or `TimedOut` where the server does not answer with vectors, `Denied` where it refuses
        the token and `UsageError` where it knows no such model or address; waits for half a minute at most per
        request of 64 texts.
        """
        parts = [self._batch(texts[start : start + TEXTS_MAX]) for start in range(0, len(texts), TEXTS_MAX)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    def unload(self) -> None:
        """Nothing is kept."""

    def _batch(self, texts: Sequence[str]) -> Floats:
        try:
            return self._asked(texts)
        except _Refused as refused:
            found = [self._alone(text, whole=len(texts) > 1) for text in texts]
            if not self.dimensions:
                raise refused from None  # it has never taken any: the settings have something wrong
        nothing = np.zeros((1, self.dimensions), np.float32)
        return np.concatenate([nothing if row is None else row for row in found])

    def _alone(self, text: str, *, whole: bool) -> Floats | None:
        """Return the vector of a text, or of its beginning; None where the server refuses that, too."""
        tried = [text] if whole else []
        for beginning in (*tried, *(text[:length] for length in BEGINNINGS_CHARS if length < len(text))):
            with contextlib.suppress(_Refused):
                return self._asked([beginning])
        return None

    def _asked(self, texts: Sequence[str]) -> Floats:
        for attempt in range(ATTEMPTS):
            try:
                return self._checked(self._line.ask(texts), len(texts))
            except _Again as again:
                wait_s = max(again.after_s, PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))
                if attempt == ATTEMPTS - 1 or wait_s > PAUSE_S_MAX:
                    raise again.problem from None
                self._pause(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _checked(self, body: bytes, count: int) -> Floats:
        vectors = _vectors(body, count, self._line.host)
        with self._dimensions_lock:
            self.dimensions = self.dimensions or vectors.shape[1]
        if vectors.shape[1] != self.dimensions:
            raise Unavailable(
                f"{self._line.host} gives vectors of {vectors.shape[1]} numbers under the name {self.name}, where they "
                f"had {self.dimensions}: it is another model now, so give it another name in memory.embedding.model"
            )
        return vectors


class _Line:
    """Asks the server once, on a connection of its own, within a bound of time and of bytes."""

    def __init__(self, url: str, model: str, token: str, attempt_s: float) -> None:
        parts = urlsplit(check_url(url))
        self.host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._target = f"{parts.path.rstrip('/')}/embeddings"
        self._authority = parts.netloc
        self._model = model
        self._token = check_token(token)
        self._attempt_s = attempt_s

    def ask(self, texts: Sequence[str]) -> bytes:
        """Return the body of a good answer; raises `_Again` where it is worth another attempt."""
        request = {"model": self._model, "input": [readable(text) or " " for text in texts], "encoding_format": "float"}
        try:
            reply = self._exchange(msgspec.json.encode(request))
        except TimeoutError:
            raise _Again(TimedOut(f"{self.host} did not embed within {self._attempt_s:g} s: try again later")) from None
        except ssl.SSLCertVerificationError as error:
            problem = f"the certificate of {self.host} is not trusted: {error.verify_message}; see memory.embedding.url"
            raise Unavailable(problem) from None
        except (OSError, h11.RemoteProtocolError) as error:
            reason = getattr(error, "strerror", None) or "what it answers is no HTTP"
            raise _Again(Unavailable(f"{self.host} does not embed now: {reason}; see memory.embedding.url")) from None
        return self._accepted(reply)

    def _accepted(self, reply: _Reply) -> bytes:
        status, said = reply.status, f"{self.host} answered {reply.status}"
        if status == HTTPStatus.OK:
            return reply.body
        if status in _BUSY:
            raise _Again(Unavailable(f"{said}: it does not embed now, try again later"), reply.retry_after_s)
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise Denied(f"{said}: it does not take the token in memory.embedding.token")
        if 300 <= status < 400:
            raise UsageError(f"{said}: it is elsewhere, so write its own address into memory.embedding.url")
        kind = _Refused if status in _REFUSING else UsageError
        raise kind(f"{said}: see memory.embedding.url and memory.embedding.model")

    def _exchange(self, body: bytes) -> _Reply:
        deadline = time.monotonic() + self._attempt_s
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES_MAX)
        headers = [
            ("Host", self._authority),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
            *([("Authorization", f"Bearer {self._token}")] if self._token else []),
        ]
        request = h11.Request(method="POST", target=self._target, headers=headers)
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        with self._connected(deadline) as line:
            line.settimeout(_left(deadline))
            line.sendall(b"".join(http.send(event) or b"" for event in events))
            return self._answer(http, line, deadline)

    def _connected(self, deadline: float) -> socket.socket:
        line = self._reached(deadline)
        if not self._secure:
            return line
        try:
            line.settimeout(_left(deadline))
            return ssl.create_default_context().wrap_socket(line, server_hostname=self.host)
        except BaseException:
            line.close()
            raise

    def _reached(self, deadline: float) -> socket.socket:
        problem = OSError(0, "it has no address")
        for family, kind, protocol, _, place in socket.getaddrinfo(self.host, self._port, type=socket.SOCK_STREAM):
            line = socket.socket(family, kind, protocol)
            try:
                line.settimeout(_left(deadline))
                line.connect(place)
                return line
            except OSError as error:
                line.close()
                problem = error
        raise problem

    def _answer(self, http: h11.Connection, line: socket.socket, deadline: float) -> _Reply:
        status, retry_after_s, body = 0, 0.0, bytearray()
        while True:
            match http.next_event():
                case h11.Response() as head:
                    status, retry_after_s = head.status_code, _retry_after_s(head)
                case h11.Data() as part:
                    body += part.data
                    if len(body) > ANSWER_BYTES_MAX:
                        raise Unavailable(
                            f"{self.host} answers with more than {ANSWER_BYTES_MAX} bytes: it is no model"
                        )
                case h11.EndOfMessage():
                    return _Reply(status, retry_after_s, bytes(body))
                case h11.NEED_DATA:
                    line.settimeout(_left(deadline))
                    http.receive_data(line.recv(_READ_BYTES))
                case h11.ConnectionClosed():
                    raise ConnectionResetError(0, "it closed the connection")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _retry_after_s(head: h11.Response) -> float:
    """How long the server wants to be left alone; a date there is taken as not said."""
    values = [value for name, value in head.headers if name == b"retry-after"]
    return float(values[0]) if values and _SECONDS.fullmatch(values[0]) else 0.0


def _vectors(body: bytes, count: int, host: str) -> Floats:
    wrong = f"{host} answers with something that is no list of vectors"
    try:
        data = msgspec.json.decode(body, type=_Answer).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unavailable(f"{wrong}: see memory.embedding.url") from None
    if all(vector.index == -1 for vector in data):
        placed = data
    else:
        placed = sorted(data, key=lambda vector: vector.index)
        if [vector.index for vector in placed] != list(range(len(placed))):
            raise Unavailable(f"{wrong}: their places are not those of the texts")
    if len(placed) != count or len({len(vector.embedding) for vector in placed}) != 1:
        raise Unavailable(f"{wrong}: {count} texts have {len(placed)} of them, or of different lengths")
    exact = np.array([vector.embedding for vector in placed], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise Unavailable(f"{wrong}: numbers among them are none, or all zero")
    vectors: Floats = (exact / lengths).astype(np.float32)
    return vectors
