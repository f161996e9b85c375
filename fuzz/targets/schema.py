"""The control API by its own OpenAPI document: what it describes is answered as it says, what it does not is refused.

Schemathesis makes the requests; Hypothesis takes its choices from the input, so that coverage guides them as it guides
bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from functools import cache
from random import Random
from typing import Any

import msgspec
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode, Response

from cis.api.control.openapi import describe
from cis.api.control.server import control_server
from cis.api.embedded import EmbeddedNode
from cis.api.http_serving import Answer, Asked
from fuzz.target import Shared, Target, on_loop
from fuzz.targets.control import kinds, new_node

_NODE = Shared(new_node, EmbeddedNode.close, every=200)
_UNDERSTOOD = frozenset({400, 403, 409, 422, 500, 503, 504})
"""What else than 200 may be answered to a request that is sound; a defect would be logged, which is found."""


def described(data: bytes) -> None:
    """Requests of every operation, sound by the document and not; a sound one is never called malformed."""
    _fuzz()(data)


def _check(case: Case[Any]) -> None:
    body = msgspec.json.encode(case.body) if isinstance(case.body, dict | list) else b"%r" % (case.body,)
    answer = on_loop(_ask(case.path, body))
    assert answer.status == 200 or answer.status in _UNDERSTOOD
    assert isinstance(answer.body, bytes)
    if answer.media == "application/json":
        case.operation.validate_response(_response(answer), case=case)


async def _ask(path: str, body: bytes) -> Answer:
    answer = await control_server(_NODE.next().handlers).answering(Asked("POST", path, (), body))
    if isinstance(answer.body, AsyncGenerator):
        lines = b"".join([part async for part in answer.body])
        msgspec.json.Decoder().decode_lines(lines)
        return Answer(answer.status, answer.media, lines)
    return answer


def _response(answer: Answer) -> Response:
    assert isinstance(answer.body, bytes)
    asked = requests.Request("POST", "http://cis.invalid/").prepare()
    headers = {"content-type": [answer.media]}
    return Response(answer.status, headers, answer.body, asked, elapsed=0.0, verify=False)


@cache
def _fuzz() -> Any:  # noqa: ANN401 - what Hypothesis makes of a test
    document = describe(kinds())
    schema = schemathesis.openapi.from_dict(document)
    made = [
        schema[path]["POST"].as_strategy(mode)
        for path in document["paths"]
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ]

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(made))
    def check(case: Case[Any]) -> None:
        _check(case)

    return check.hypothesis.fuzz_one_input  # type: ignore[attr-defined]  # set by Hypothesis


def _seeds() -> Iterable[bytes]:
    chance = Random(1)
    return [chance.randbytes(size) for size in (64, 256, 512, 512, 1024, 1024, 2048)]


TARGETS = (Target("schema.described", described, _seeds, bytes_max=4096),)
