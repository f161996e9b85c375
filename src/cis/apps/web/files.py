"""The page itself: a few files of this package, and what a browser may do with what it gets from us.

Nothing is asked of any other origin, no script or style stands in the page, none is made of text (Trusted Types), and
nobody frames the page (CSP 3, W3C).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

from cis.api.http_serving import Answer

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = (
    ("cache-control", "no-store"),
    ("content-security-policy", _POLICY),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
)
"""With every answer."""
_MEDIA = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def load_files() -> Mapping[str, Answer]:
    """Return the files by their paths; ``/`` is the page."""
    found = {}
    for file in resources.files(__package__).joinpath("static").iterdir():
        media = _MEDIA.get(file.name.rpartition(".")[2])
        if media is not None:
            found[f"/{file.name}"] = Answer(200, media, file.read_bytes(), HEADERS)
    found["/"] = found.pop("/index.html")
    return found
