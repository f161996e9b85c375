"""The access list: what each mode admits, denying before allowing, patterns on assigned names and DIDs alone."""

from __future__ import annotations

import pytest

from cis.errors import UsageError
from cis.model import NodeId, did_of
from cis.trust.acl import Access, Acl, Mode, check_pattern, spelt_out

NODE = NodeId(bytes(range(32)))
DID = did_of(NODE)


def access(acl: Acl, name: str = "workstation") -> Access:
    return acl.judge(NODE, name).access


@pytest.mark.parametrize(
    ("mode", "neither", "allowed", "denied", "both"),
    [
        (Mode.OPEN, Access.ADMIT, Access.ADMIT, Access.REFUSE, Access.REFUSE),
        (Mode.WHITELIST, Access.REFUSE, Access.ADMIT, Access.REFUSE, Access.REFUSE),
        (Mode.SOLITARY, Access.REFUSE, Access.REFUSE, Access.REFUSE, Access.REFUSE),
        (Mode.QUARANTINE, Access.QUARANTINE, Access.QUARANTINE, Access.REFUSE, Access.REFUSE),
    ],
)
def test_each_mode_treats_a_member_as_its_table_says(
    mode: Mode, neither: Access, allowed: Access, denied: Access, both: Access
) -> None:
    listed = ("did:cis:work*",)
    assert access(Acl(mode)) is neither
    assert access(Acl(mode, allowed=listed)) is allowed
    assert access(Acl(mode, denied=listed)) is denied
    assert access(Acl(mode, allowed=listed, denied=listed)) is both


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("workstation", True),
        ("did:cis:workstation", True),
        ("work*", True),
        ("did:cis:w?rk*", True),
        ("[vw]ork*", True),
        ("*", True),
        ("work", False),
        ("did:cis:station", False),
        ("[!w]*", False),
        (DID, True),
        (DID[:20] + "*", True),
        ("did:key:*", True),
        (DID[:-1], False),
        (DID.lower(), False),
    ],
)
def test_a_pattern_matches_the_whole_of_the_assigned_name_or_the_did(pattern: str, matches: bool) -> None:
    assert (access(Acl(denied=(check_pattern(pattern),))) is Access.REFUSE) is matches


def test_a_name_that_looks_like_a_did_matches_no_pattern_on_dids() -> None:
    assert access(Acl(denied=("did:key:q*",)), name="did:key:qx") is Access.ADMIT


def test_the_verdict_says_which_rule_decided() -> None:
    assert Acl(denied=("b*", "work*")).judge(NODE, "workstation").why == "denied by work*"
    assert "work*" in Acl(Mode.WHITELIST, allowed=("work*",)).judge(NODE, "workstation").why
    assert "whitelist" in Acl(Mode.WHITELIST).judge(NODE, "workstation").why
    assert "solitary" in Acl(Mode.SOLITARY).judge(NODE, "workstation").why


@pytest.mark.parametrize(
    "text", ["", "did:cis:", "did:key:", "Work", "did:cis:Work", "a b", "a\n", "did:web:x", "a" * 81, "\u202ea", "é*"]
)
def test_what_could_match_no_member_is_no_pattern(text: str) -> None:
    with pytest.raises(UsageError, match="is no pattern"):
        check_pattern(text)


def test_two_spellings_of_one_pattern_are_one() -> None:
    assert spelt_out("work*") == spelt_out("did:cis:work*") == "did:cis:work*"
    assert spelt_out(DID) == DID
