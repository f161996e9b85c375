"""What a node in the background is started with."""

from __future__ import annotations

import pytest

from cis.api.starting import _listen, flags_of


@pytest.mark.parametrize("listen", [None, "127.0.0.1:0", "127.0.0.1", ":7700", "[::1]:7700", "[::1]"])
def test_a_node_in_the_background_has_the_flags_it_was_given_and_no_others(listen: str | None) -> None:
    words = _listen(flags_of(listen))
    assert flags_of(words[1] if words else None) == flags_of(listen)
    assert bool(words) == (listen is not None)
