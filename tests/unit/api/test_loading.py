"""While code is loaded no garbage is looked for, and afterwards it is looked for as before."""

from __future__ import annotations

import gc

import pytest

from cis.api.loading import loading


def test_garbage_is_looked_for_again_whatever_becomes_of_the_loading() -> None:
    found: list[bool] = []

    def load() -> None:
        with loading():
            found.append(gc.isenabled())
            raise ImportError

    with pytest.raises(ImportError):
        load()
    assert (found, gc.isenabled()) == ([False], True)


def test_who_had_it_off_has_it_off_afterwards() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
