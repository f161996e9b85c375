"""Public STUN servers that have stood for years, run by different hands: used only where the user has agreed."""

from __future__ import annotations

PUBLIC_STUN: tuple[tuple[str, int], ...] = (
    ("stun.cloudflare.com", 3478),
    ("stun.l.google.com", 19302),
    ("stun.nextcloud.com", 3478),
    ("stun.sipgate.net", 3478),
)
