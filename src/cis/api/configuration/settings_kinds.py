"""The kinds of values that settings have, each checked as it is read, and what a section is."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from cis.anchor.place import check_url
from cis.api.configuration.log_levels import levels_of
from cis.api.configuration.relay_urls import parse_stun, parse_turn
from cis.discovery.address import split_endpoint
from cis.discovery.libp2p.places import check_entry
from cis.embedding.choosing import check_token
from cis.embedding.choosing import check_url as check_embedder
from cis.errors import UsageError

if TYPE_CHECKING:
    from pydantic.config import JsonDict

TYPED = "typed"
"""Key of the validation context that says: these values come with types, so none is converted."""
LIVE: JsonDict = {"live": True}
"""What a field carries that a running node takes up."""
PARTIAL = "partial"
"""Key of the validation context that says: other places may say more, so nothing is compared yet."""


class Section(BaseModel):
    """A section of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=False)


def live(default: Any, **more: Any) -> Any:  # noqa: ANN401 - as pydantic's Field
    """A field that a running node takes up when it is changed; see `cis.api.configuration.reloading`."""
    return Field(default, json_schema_extra=LIVE, **more)


def is_whole(info: ValidationInfo) -> bool:
    """Tell whether all places have been heard, so that what was set may be compared."""
    return not (info.context or {}).get(PARTIAL)


def explained(check: Callable[[str], object], text: str) -> None:
    """Check a text; a `UsageError` becomes what pydantic understands."""
    try:
        check(text)
    except UsageError as error:
        raise ValueError(str(error)) from error


def _checked(check: Callable[[str], object], *exempt: str) -> BeforeValidator:
    """Return what checks a text and leaves it as it is; ``exempt`` are words that are let through."""

    def validate(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
        if isinstance(value, str) and value not in exempt:
            explained(check, value)
        return value

    return BeforeValidator(validate)


def _listed(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """A list as a tuple; from the environment also JSON, or words between commas."""
    if isinstance(value, str) and not (info.context or {}).get(TYPED):
        text = value.strip()
        value = json.loads(text) if text.startswith("[") else _parted(text)
    return tuple(value) if isinstance(value, list) else value


def _one_or_listed(value: Any) -> Any:  # noqa: ANN401 - whatever somebody wrote
    """One as a string, several as a list or with commas between."""
    if isinstance(value, str):
        value = _parted(value)
    return tuple(value) if isinstance(value, list) else value


def _parted(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _listening(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise UsageError("no IP address: write ::, 0.0.0.0, or an address of this machine") from None


def _static_peer(text: str) -> None:
    from cis.discovery.static import StaticPeer  # noqa: PLC0415 - loads asyncio, which most commands do without

    StaticPeer.parse(text)


def _pattern(text: str) -> None:
    from cis.trust.acl import check_pattern  # noqa: PLC0415 - loads all of trust, as above

    check_pattern(text)


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
KilobytesPerSecond = Annotated[int, Field(ge=0, le=1 << 30)]
"""Of 1024 bytes."""
TimeOfDay = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]

Listed = BeforeValidator(_listed)
OneOrListed = BeforeValidator(_one_or_listed)
ListenAddress = Annotated[str, _checked(_listening)]
Endpoint = Annotated[str, _checked(split_endpoint)]
EndpointOrAuto = Annotated[str, _checked(split_endpoint, "auto")]
Endpoints = Annotated[tuple[Endpoint, ...], Listed]
StaticPeers = Annotated[tuple[Annotated[str, _checked(_static_peer)], ...], Listed]
StunServer = Annotated[str, _checked(parse_stun)]
TurnUrl = Annotated[str, _checked(parse_turn)]
AnchorUrl = Annotated[str, _checked(check_url)]
Multiaddr = Annotated[str, _checked(check_entry)]
EmbedderUrl = Annotated[str, Field(max_length=2048), _checked(check_embedder, "")]
TokenCheck = _checked(check_token)
LogLevels = Annotated[str, Field(max_length=1024), _checked(levels_of)]
Patterns = Annotated[tuple[Annotated[str, _checked(_pattern)], ...], Listed]
PluginName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Plugins = Annotated[dict[PluginName, dict[str, Any]], Field(max_length=16)]
"""Tables by the name of the plugin each is handed to, which alone knows what may stand in it."""
