"""``cis anchor``: a rendezvous of one's own, for nodes that cannot find each other otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cis.apps.cli.printing import tell
from cis.apps.cli.shared import group

app = group("A rendezvous server of your own: nodes register, find each other and pair through it.")
HOST, PORT = "127.0.0.1", 7679

_Listen = Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen for nodes, or for the proxy.")]
_Certificate = Annotated[Path | None, typer.Option(help="The certificate, with its chain, in PEM.", show_default=False)]
_CertificateKey = Annotated[Path | None, typer.Option(help="Its private key, in PEM.", show_default=False)]
_Proxies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ADDRESS",
        help="A reverse proxy's address, whose X-Forwarded-For is believed; may be repeated.",
        show_default=False,
    ),
]
_Insecure = Annotated[bool, typer.Option("--insecure-http", help="Serve plain http to others than this machine.")]
_Name = Annotated[
    str | None,
    typer.Option(metavar="HOST", help="The name nodes reach it by, else what each of them says.", show_default=False),
]
_Stun = Annotated[int, typer.Option(min=0, max=65_535, help="The UDP port for STUN; 0 for none.")]
_Database = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep records in a file, else in memory.", show_default=False)
]
_Tokens = Annotated[
    Path | None, typer.Option(help="Access tokens, one a line: only who has one is let in.", show_default=False)
]
_Tunnel = Annotated[
    bool,
    typer.Option("--tunnel/--no-tunnel", help="Carry sealed packets of nodes that reach each other in no other way."),
]
_Limits = Annotated[Path | None, typer.Option(metavar="FILE", help="Other limits, as TOML.", show_default=False)]


@app.command("serve")
def serve(
    listen: _Listen = f"{HOST}:{PORT}",
    tls_cert: _Certificate = None,
    tls_key: _CertificateKey = None,
    behind_proxy: _Proxies = None,
    insecure_http: _Insecure = False,
    name: _Name = None,
    stun_port: _Stun = 3478,
    database: _Database = None,
    token_file: _Tokens = None,
    limits: _Limits = None,
    tunnel: _Tunnel = True,
) -> None:
    """Serve as an anchor until stopped; docs/anchor.md says how to run it for long.

    Example: cis anchor serve --listen :443 --tls-cert fullchain.pem --tls-key privkey.pem
    """
    from cis.anchor.limits import AnchorLimits
    from cis.anchor.serving import AnchorOptions, Serving, read_limits, read_tokens, run_anchor
    from cis.api.starting import flags_of
    from cis.api.telemetry.logs import set_up_logging

    host, port = flags_of(listen).values()
    options = AnchorOptions(
        host=str(host) if host is not None else "::",
        port=port if isinstance(port, int) else PORT,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        proxies=tuple(behind_proxy or ()),
        insecure=insecure_http,
        name=name,
        stun_port=stun_port or None,
        tunnel=tunnel,
        database=database,
        tokens=read_tokens(token_file) if token_file is not None else (),
        limits=read_limits(limits) if limits is not None else AnchorLimits(),
    )

    def on_ready(serving: Serving) -> None:
        stun = f", STUN on UDP port {serving.stun_port}" if serving.stun_port is not None else ""
        tell(f"the anchor is up at {serving.url}{stun}")

    set_up_logging()
    run_anchor(options, on_ready)
