"""The settings of what a node tells those who run it: its log, and its metrics."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from pydantic import Field, ValidationInfo, model_validator

from cis.api.configuration.settings_kinds import Endpoint, LogLevels, Section, is_whole, live
from cis.discovery.address import split_endpoint


class Log(Section):
    """What is logged, and how."""

    level: LogLevels = live(
        "info", description="debug, info, warning or error; also by area, as p2p=debug,store=warning; CIS_LOG too"
    )
    format: Literal["auto", "console", "json"] = live(
        "auto", description="console: lines for people; auto: the same, coloured in a terminal; json: an object a line"
    )


class Metrics(Section):
    """Numbers for Prometheus, and whether the node is well, over HTTP."""

    enabled: bool = Field(default=False, description="serve /metrics, /healthz and /readyz")
    listen: Endpoint = Field("127.0.0.1:9467", description="where, as host:port")
    allow_remote: bool = Field(default=False, description="let listen be an address that other machines reach")

    @model_validator(mode="after")
    def _here_unless_allowed(self, info: ValidationInfo) -> Metrics:
        if is_whole(info) and not self.allow_remote and not _is_loopback(split_endpoint(self.listen)[0]):
            raise ValueError(
                f"listen = {self.listen} can be reached from elsewhere: say allow_remote = true, or listen on 127.0.0.1"
            )
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
