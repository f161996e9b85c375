"""Editing a node's access list: in the file, with its comments; for the next connection, and for the living ones."""

from __future__ import annotations

import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from cis.api.membership.access import PATTERNS_MAX, AccessOperations, acl_of
from cis.api.membership.trust_schema import AccessEdited, EditAccess, SetAccessMode
from cis.errors import UsageError
from cis.model import NodeId
from cis.node.home.folder import Home
from cis.trust.acl import Acl, Mode

OWN = NodeId(b"o" * 32)
FILE = """# my settings
[p2p.sync]
interval = 30  # seconds

[p2p]
enabled = true

[p2p.acl]  # who may connect
whitelist = [
  "did:cis:work*",  # at the desk
  # and the one upstairs
  "server",
]
"""


class Node:
    """What editing the list needs of a node whose fellow members are workstation, server and phone."""

    def __init__(self, folder: Path) -> None:
        self.home, self.identity = Home(folder), SimpleNamespace(node=OWN)
        names = ("self", "workstation", "server", "phone")
        nodes = (OWN, *(NodeId(name[:1].encode() * 32) for name in names[1:]))
        members = [SimpleNamespace(node=node, name=name) for node, name in zip(nodes, names, strict=True)]
        self.cluster = SimpleNamespace(membership=SimpleNamespace(members=lambda: members), acl=Acl())
        self.recorded: list[tuple[str, str]] = []
        self.judged = 0
        self.access = AccessOperations(self, self._judge_again)

    def _judge_again(self) -> None:
        self.judged += 1

    def record(self, what: str, node: NodeId | None, detail: str) -> None:
        self.recorded.append((what, detail))

    def edit(self, verb: str, pattern: str, *, remove: bool = False) -> AccessEdited:
        return self.access.edit(EditAccess(verb=verb, pattern=pattern, remove=remove))

    def mode(self, mode: str) -> AccessEdited:
        return self.access.set_mode(SetAccessMode(mode=mode))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def changes(edited: AccessEdited) -> dict[str, str]:
    return {one.name: one.after for one in edited.affected}


def test_an_edit_is_written_recorded_and_holds_at_once(node: Node) -> None:
    edited = node.edit("deny", "phone")
    assert edited.changed
    assert changes(edited) == {"phone": "refuse"}
    assert node.cluster.acl == acl_of(node.home.folder) == Acl(denied=("phone",))
    assert node.recorded == [("denied", "phone")]
    assert node.judged == 1
    assert stat.S_IMODE(node.home.config.stat().st_mode) == 0o600


def test_what_is_denied_no_longer_is_admitted_again(node: Node) -> None:
    node.edit("deny", "did:cis:phone")
    edited = node.edit("deny", "phone", remove=True)
    assert changes(edited) == {"phone": "admit"}
    assert edited.access.denied == ()
    assert node.recorded[-1] == ("no longer denied", "phone")


def test_the_mode_turns_members_away_and_quarantines_them(node: Node) -> None:
    node.edit("allow", "work*")
    assert changes(node.mode("whitelist")) == {"server": "refuse", "phone": "refuse"}
    assert changes(node.mode("quarantine")) == dict.fromkeys(("workstation", "server", "phone"), "quarantine")
    assert changes(node.mode("solitary")) == dict.fromkeys(("workstation", "server", "phone"), "refuse")
    assert changes(node.mode("open")) == dict.fromkeys(("workstation", "server", "phone"), "admit")
    assert node.cluster.acl.mode is Mode.OPEN


def test_comments_and_all_other_settings_stay_where_they_are(node: Node) -> None:
    node.home.config.write_text(FILE)
    node.edit("allow", "phone")
    node.edit("allow", "did:cis:server", remove=True)
    node.edit("deny", "old-*")
    node.mode("whitelist")
    text = node.home.config.read_text()
    for line in ("# my settings", "interval = 30  # seconds", "[p2p.acl]  # who may connect", "# and the one upstairs"):
        assert line in text
    assert '"did:cis:work*",  # at the desk' in text
    assert acl_of(node.home.folder) == Acl(Mode.WHITELIST, ("did:cis:work*", "phone"), ("old-*",))


def test_the_other_spelling_of_the_mode_never_contradicts_it(node: Node) -> None:
    node.home.config.write_text("[p2p.acl]\nwhitelist_only = true  # for now\n")
    assert node.mode("open").access.mode == "open"
    assert node.mode("whitelist").access.mode == "whitelist"
    assert "# for now" in node.home.config.read_text()


def test_an_edit_that_changes_nothing_writes_and_records_nothing(node: Node) -> None:
    node.home.config.write_text('[p2p.acl]\nwhitelist=["work*"]\n')
    assert not node.edit("allow", "did:cis:work*").changed
    assert not node.edit("deny", "phone", remove=True).changed
    assert not node.mode("open").changed
    assert node.home.config.read_text() == '[p2p.acl]\nwhitelist=["work*"]\n'
    assert node.recorded == []


def test_what_the_environment_decides_is_not_written_in_vain(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIS_P2P__ACL__MODE", "solitary")
    with pytest.raises(UsageError, match=r"environment CIS_P2P__ACL__MODE decides about p2p\.acl\.mode"):
        node.mode("open")
    assert not node.home.config.exists()
    assert node.edit("deny", "phone").changed


@pytest.mark.parametrize("text", ['[p2p]\nacl = {mode = "open"}\n', "[p2p\n", "[p2p.acl]\nmode = 3\n"])
def test_a_file_that_cannot_be_edited_stays_as_it_is_and_the_list_in_force_too(node: Node, text: str) -> None:
    node.home.config.write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        node.edit("deny", "phone")
    assert node.home.config.read_text() == text
    assert node.cluster.acl == Acl()


@pytest.mark.parametrize(
    "text", ['p2p.acl.mode = "open"\n', '[p2p.acl]\nmode = "open"\n[p2p.sync]\ninterval = 1\n[p2p]\nenabled = true\n']
)
def test_sections_may_be_written_in_any_order_and_form(node: Node, text: str) -> None:
    node.home.config.write_text(text)
    node.edit("deny", "phone")
    assert acl_of(node.home.folder) == Acl(denied=("phone",))


def test_notes_say_what_an_edit_does_not_do(node: Node) -> None:
    assert "cis acl revoke phone" in node.edit("deny", "phone").note
    assert "denied too" in node.edit("allow", "phone").note
    assert "cis acl mode whitelist" in node.edit("allow", "server").note
    node.edit("allow", "server", remove=True)
    assert "connects to nobody" in node.mode("whitelist").note
    assert "no member has such a name" in node.edit("allow", "printer").note
    assert node.edit("allow", "workstation").note == ""


def test_a_list_has_an_end(node: Node) -> None:
    patterns = ", ".join(f'"n{number}"' for number in range(PATTERNS_MAX))
    node.home.config.write_text(f"[p2p.acl]\nblacklist = [{patterns}]\n")
    with pytest.raises(UsageError, match="write fewer"):
        node.edit("deny", "phone")


def test_a_list_that_was_edited_by_hand_holds_once_it_is_read_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (tmp_path / "config.toml").write_text('[p2p.acl]\nblacklist = ["did:cis:phone"]\n')
    node.access.again()
    assert (node.cluster.acl, node.judged) == (Acl(denied=("did:cis:phone",)), 1)
    node.access.again()
    assert node.judged == 1, "nothing has changed"
