"""A model behind HTTP, asked over a real socket: good servers, busy ones, and such as answer anything."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from cis.embedding import http
from cis.embedding.choosing import EmbeddingOptions, embedder_of
from cis.embedding.http import HttpEmbedder
from cis.errors import CisError, Denied, TimedOut, Unavailable, UsageError

TOKEN = "sk-not-for-logs"

Answering = Callable[["Handler", dict[str, Any]], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    answering: Answering
    asked: list[dict[str, Any]]
    headers: list[dict[str, str]]
    paths: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up on purpose."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(question)
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        self.server.answering(self, question)

    def say(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name upstream gave it
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    served = Server(("127.0.0.1", 0), Handler)
    served.answering, served.asked, served.headers, served.paths = good, [], [], []
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


def good(handler: Handler, question: dict[str, Any]) -> None:
    """One vector a text, by its length; in another order than asked, as servers may."""
    vectors = [{"index": n, "embedding": [len(text), 1.0, 0.0]} for n, text in enumerate(question["input"])]
    handler.say(json.dumps({"data": vectors[::-1], "model": question["model"]}).encode())


def saying(body: Any, status: int = 200, **headers: str) -> Answering:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, _: handler.say(raw, status, **headers)


def vectors_of(*embeddings: Any) -> dict[str, Any]:
    return {"data": [{"index": n, "embedding": vector} for n, vector in enumerate(embeddings)]}


def embedder(server: Server, **options: Any) -> HttpEmbedder:
    return HttpEmbedder(server.url, "some-model", TOKEN, **{"pause": lambda _: None, **options})


def test_texts_become_rows_of_length_one_in_their_order(server: Server) -> None:
    asked = embedder(server)
    vectors = asked.embed(["a", "bcd", ""])
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [1, 3, 1])  # an empty text is asked for as a space
    assert asked.dimensions == 3
    assert server.paths == ["/v1/embeddings"]
    assert server.asked[0] == {"model": "some-model", "input": ["a", "bcd", " "], "encoding_format": "float"}
    assert server.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_many_texts_are_asked_for_in_parts_and_none_at_all_asks_nobody(server: Server) -> None:
    vectors = embedder(server).embed(["x" * (n % 7 + 1) for n in range(150)])
    assert [len(question["input"]) for question in server.asked] == [64, 64, 22]
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [n % 7 + 1 for n in range(150)])
    assert embedder(server).embed([]).shape == (0, 0)
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    "answer",
    [
        vectors_of([1.0, 2.0]),  # one for two texts
        vectors_of([1.0], [1.0], [1.0]),
        vectors_of([1.0, 2.0], [1.0]),
        vectors_of([1.0], []),
        vectors_of([0.0], [1.0]),
        b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}',
        b'{"data": [{"index": 0, "embedding": [1e400]}, {"index": 1, "embedding": [1]}]}',
        vectors_of([1e300, 1e300], [1.0, 1.0]),
        vectors_of([None], [1.0]),
        vectors_of("QUJD", "QUJD"),
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": {}},
        {"error": {"message": "no"}},
        b"",
        b"<html>",
        b"\xff\xfe",
        b"[" * 100_000,
        vectors_of([1.0] * 4097, [1.0] * 4097),
    ],
)
def test_an_answer_that_is_no_list_of_vectors_is_unavailable_and_no_other_error(server: Server, answer: Any) -> None:
    server.answering = saying(answer)
    with pytest.raises(Unavailable, match="no list of vectors"):
        embedder(server).embed(["a", "b"])


def test_the_dimension_stays_what_it_was_first(server: Server) -> None:
    asked = embedder(server)
    asked.embed(["a"])
    server.answering = saying(vectors_of([1.0, 0.0]))
    with pytest.raises(Unavailable, match="vectors of 2 numbers under the name some-model, where they had 3"):
        asked.embed(["a"])
    assert asked.dimensions == 3


def test_more_than_the_bound_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 1000)
    server.answering = saying(b" " * 1_000_000)
    with pytest.raises(Unavailable, match="more than 1000 bytes"):
        embedder(server).embed(["a"])
    assert len(server.asked) == 1


def test_an_answer_that_trickles_ends_at_the_bound_of_the_whole(server: Server) -> None:
    ended = threading.Event()

    def trickle(handler: Handler, _: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not ended.wait(0.02):
            handler.wfile.write(b" ")

    server.answering = trickle
    began = time.monotonic()
    try:
        with pytest.raises(TimedOut, match=r"did not embed within 0\.2 s"):
            embedder(server, attempt_s=0.2).embed(["a"])
    finally:
        ended.set()
    assert time.monotonic() - began < 3  # three attempts of 0.2 s
    assert len(server.asked) == http.ATTEMPTS


def test_a_redirect_is_not_followed_as_the_token_would_go_with_it(server: Server) -> None:
    server.answering = saying(b"", 307, Location=server.url + "/elsewhere")
    with pytest.raises(UsageError, match="307: it is elsewhere"):
        embedder(server).embed(["a"])
    assert len(server.asked) == 1


def busy_at_first(times: int, status: int, **headers: str) -> Answering:
    left = [times]

    def answer(handler: Handler, question: dict[str, Any]) -> None:
        left[0] -= 1
        if left[0] >= 0:
            handler.say(b"{}", status, **headers)
        else:
            good(handler, question)

    return answer


def test_a_busy_server_is_asked_again_as_late_as_it_says(server: Server) -> None:
    pauses: list[float] = []
    server.answering = busy_at_first(2, 429, Retry_After="7")
    assert embedder(server, pause=pauses.append).embed(["a"]).shape == (1, 3)
    assert pauses == [7, 7]


def test_a_server_that_wants_a_long_rest_has_it_from_the_caller(server: Server) -> None:
    pauses: list[float] = []
    server.answering = saying(b"", 503, Retry_After="3600")
    with pytest.raises(Unavailable, match="503"):
        embedder(server, pause=pauses.append).embed(["a"])
    assert pauses == []


@pytest.mark.parametrize("value", ["-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999999999999", ""])
def test_a_strange_retry_after_is_as_good_as_none(server: Server, value: str) -> None:
    pauses: list[float] = []
    server.answering = busy_at_first(1, 429, Retry_After=value)
    embedder(server, pause=pauses.append).embed(["a"])
    assert len(pauses) == 1
    assert 0 < pauses[0] <= http.PAUSE_S


def test_a_server_in_trouble_is_tried_thrice_and_then_unavailable(server: Server) -> None:
    pauses: list[float] = []
    server.answering = saying(b"", 500)
    with pytest.raises(Unavailable, match="answered 500"):
        embedder(server, pause=pauses.append).embed(["a"])
    assert len(server.asked) == http.ATTEMPTS
    assert pauses == sorted(pauses)  # each pause longer than the one before


def test_a_server_that_is_gone_or_hangs_up_is_unavailable(server: Server) -> None:
    server.answering = lambda handler, _: handler.connection.shutdown(socket.SHUT_RDWR)
    with pytest.raises(Unavailable, match="does not embed now"):
        embedder(server).embed(["a"])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gone = HttpEmbedder(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "m", "", pause=lambda _: None)
        with pytest.raises(Unavailable, match="does not embed now"):
            gone.embed(["a"])


def test_what_is_no_http_is_unavailable(server: Server) -> None:
    def babble(handler: Handler, _: Any) -> None:
        handler.wfile.write(b"\x00\x01not http at all\r\n\r\n")

    server.answering = babble
    with pytest.raises(Unavailable, match="no HTTP"):
        embedder(server).embed(["a"])


@pytest.mark.parametrize(("status", "kind"), [(401, Denied), (403, Denied), (404, UsageError), (400, UsageError)])
def test_what_the_settings_have_wrong_is_said_and_not_tried_again(
    server: Server, status: int, kind: type[CisError]
) -> None:
    server.answering = saying({"error": {"message": f"wrong key {TOKEN}"}}, status)
    with pytest.raises(kind, match=r"memory\.embedding") as refused:
        embedder(server).embed(["a"])
    assert TOKEN not in str(refused.value)
    assert len(server.asked) == 1


def test_a_text_that_is_too_long_for_the_model_is_embedded_by_its_beginning_and_hinders_no_other(
    server: Server,
) -> None:
    def strict(handler: Handler, question: dict[str, Any]) -> None:
        if any(len(text) > 1500 for text in question["input"]):
            handler.say(b"{}", 413)
        else:
            good(handler, question)

    server.answering = strict
    vectors = embedder(server).embed(["a", "b" * 3000, "ccc"])
    assert np.allclose(vectors[:, 0] / vectors[:, 1], [1, http.BEGINNINGS_CHARS[0], 3])


def test_a_text_that_is_refused_whatever_of_it_is_asked_for_has_no_vector_and_hinders_no_other(server: Server) -> None:
    def strict(handler: Handler, question: dict[str, Any]) -> None:
        if any("!" in text or len(text) > 500 for text in question["input"]):
            handler.say(b"{}", 400)
        else:
            good(handler, question)

    server.answering = strict
    asked = embedder(server)
    with pytest.raises(UsageError, match=r"memory\.embedding"):
        asked.embed(["!"])  # for all that is known, the settings are wrong
    vectors = asked.embed(["!", "bb", "c" * 3000, "!" * 3000])
    assert np.allclose(vectors[1:3, 0] / vectors[1:3, 1], [2, http.BEGINNINGS_CHARS[1]])
    assert not vectors[[0, 3]].any()
    assert not asked.embed(["!"]).any()


def test_the_token_is_in_no_log_and_no_repr(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    options = EmbeddingOptions("http", server.url, "some-model", TOKEN)
    asked = embedder_of(options)
    assert isinstance(asked, HttpEmbedder)
    asked.embed(["a"])
    assert TOKEN not in caplog.text + repr(options) + repr(asked)
    assert not asked.local


@pytest.mark.parametrize("token", ["sk-1\n2", "sk-ü", " sk-3", "sk-\x00"])
def test_a_token_that_no_header_holds_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(UsageError) as refused:
        HttpEmbedder("https://example.net/v1", "m", token)
    assert token not in str(refused.value)


def test_threads_ask_at_once(server: Server) -> None:
    together = threading.Barrier(4, timeout=10)

    def wait_for_the_others(handler: Handler, question: dict[str, Any]) -> None:
        together.wait()
        good(handler, question)

    server.answering = wait_for_the_others
    asked = embedder(server)
    threads = [threading.Thread(target=asked.embed, args=(["a"],)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.asked) == 4
