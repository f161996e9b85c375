"""What `cis p2p topology`, `stats`, `latency-test` and `cis status` print of what a node answers."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from cis.api.peers.network_schema import NodeStatus, PeerGlance
from cis.api.telemetry.telemetry_schema import Standing, Topology, TopologyMember, TopologyTie
from cis.apps.cli.drawing import dot, svg, tree
from cis.apps.cli.status import LISTED_MAX, _parts
from cis.apps.cli.telemetry import BAR_MAX, histogram, histogram_lines

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'eve"]; <script>\x1b[2J'


def member(name: str, standing: Standing = "told") -> TopologyMember:
    return TopologyMember(name=name, did=f"did:key:{name}", standing=standing)


def tie(first: str, second: str, path: str = "lan", *told_by: str, neighbour: bool = True) -> TopologyTie:
    return TopologyTie(
        ends=(first, second), path=path, neighbour=neighbour, rtt_ms=None, told_by=told_by or (first, second)
    )


def topology(*ties: TopologyTie, **standings: Standing) -> Topology:
    return Topology((member("me", "self"), *(member(name, how) for name, how in standings.items())), ties)


def test_the_tree_shows_the_shortest_ways_and_what_is_on_none_of_them() -> None:
    found = topology(
        tie("a", "me"),
        tie("b", "me"),
        tie("a", "c", "relayed"),
        tie("a", "b"),
        tie("b", "c"),
        a="told",
        b="told",
        c="told",
    )
    assert list(tree(found)) == [
        "me (this node)",
        "├─ a  lan",
        "│  └─ c  relayed; also with b",
        "└─ b  lan; also with a",
    ]


def test_the_tree_leads_on_below_the_last_branch() -> None:
    found = topology(tie("a", "me"), tie("a", "b"), tie("b", "c"), a="told", b="told", c="told")
    assert list(tree(found)) == ["me (this node)", "└─ a  lan", "   └─ b  lan", "      └─ c  lan"]


def test_who_is_elsewhere_or_says_nothing_is_named_apart() -> None:
    found = topology(tie("a", "b"), a="told", b="told", c="silent", d="away", e="told")
    assert list(tree(found)) == [
        "me (this node)",
        "not known to be connected with this node:",
        "a",
        "└─ b  lan",
        "up, and connected with nobody: e",
        "up, and did not say whom it is connected with: c",
        "not up, as far as is known: d",
    ]


def test_a_connection_only_one_of_two_that_told_speaks_of_says_so() -> None:
    assert "says a alone" in list(tree(topology(tie("a", "me", "lan", "a"), a="told")))[1]
    assert "alone" not in list(tree(topology(tie("a", "me", "lan", "me"), a="silent")))[1]


def test_names_that_members_choose_stay_text_in_graphs_and_pictures() -> None:
    found = topology(tie(HOSTILE, "me", HOSTILE[:16]), **{HOSTILE: "told"})
    lines = list(dot(found))
    assert lines[-2] == ('  "eve\\"]; <script>\\\\x1b[2J" -- "me" [label="eve\\"]; <script>\\\\x1b"];')
    picture = ET.fromstring("\n".join(svg(found)))
    assert "\x1b" not in "".join(picture.itertext())
    assert [one.text for one in picture.iter(f"{SVG}text")] == ["me", 'eve"]; <script>\\x1b[2J']
    assert not list(picture.iter("script"))
    assert len(list(picture.iter(f"{SVG}line"))) == 1


def test_a_picture_holds_every_member_inside_it_however_many_there_are() -> None:
    names = [f"node-{number}" for number in range(300)]
    picture = ET.fromstring("\n".join(svg(topology(**dict.fromkeys(names, "told")))))
    side = float(picture.attrib["viewBox"].split()[2])
    places = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in picture.iter(f"{SVG}circle")]
    assert len(places) == len(set(places)) == 301
    assert all(0 < x < side and 0 < y < side for x, y in places)


def test_spans_of_a_histogram_double_and_leave_no_gap() -> None:
    assert histogram([0.3, 0.4, 3.0]) == [(0.25, 0.5, 2), (0.5, 1.0, 0), (1.0, 2.0, 0), (2.0, 4.0, 1)]
    assert histogram([0.0, 0.01, 0.125]) == [(0.0, 0.125, 2), (0.125, 0.25, 1)]
    assert histogram([]) == []


def test_the_longest_bar_is_that_of_the_fullest_span_and_none_that_holds_any_is_empty() -> None:
    bars = [line.count("█") for line in histogram_lines([1.0] * 1000 + [3.0, 9.0])]
    assert bars == [BAR_MAX, 1, 0, 1]


def glance(name: str, here: int | None = 0, there: int | None = 0) -> PeerGlance:
    return PeerGlance(
        name=name,
        path="lan",
        rtt_ms=0.4,
        syncing=False,
        in_step_s=1.0,
        behind_here=here,
        behind_there=there,
        last_error="",
    )


def status_of(*peers: PeerGlance, **changed: object) -> dict[str, list[str]]:
    values: dict[str, object] = {
        "running": True,
        "name": "me",
        "did": "did:key:me",
        "cluster": "ab" * 32,
        "role": "admin",
        "home": "/home/me/.cis",
        "version": "1",
        "members": ("away", "me", *(one.name for one in peers)),
        "memories": 3,
        "uptime_s": 5.0,
        "networking": True,
        "connected": tuple(one.name for one in peers),
        "peers": peers,
    }
    return {title: list(lines) for title, lines in _parts(NodeStatus(**(values | changed)))}


@pytest.mark.parametrize(
    ("peers", "said"),
    [
        ((glance("a"),), "with the connected member"),
        ((glance("a"), glance("b")), "with all 2 connected members"),
        ((glance("a"), glance("b", 3)), "not with 1 of 2 connected members"),
        ((glance("a"), glance("b", None, None)), "with 1 of 2 connected members; the others did not say in time"),
    ],
)
def test_status_says_whether_the_node_is_in_step(peers: tuple[PeerGlance, ...], said: str) -> None:
    assert status_of(*peers)["in step"][0].startswith(said)


def test_status_shows_peers_by_path_and_who_is_not_connected() -> None:
    assert status_of(glance("a"), glance("bob", 12, 3))["connected"] == [
        "a    lan, 0.4 ms, in step",
        "bob  lan, 0.4 ms, 12 changes to come, 3 to go",
        "not with away",
    ]
    assert status_of()["connected"] == ["none: cis p2p connect NAME says what fails"]


def test_status_shows_the_newest_problem_first_with_what_to_type() -> None:
    shown = status_of(
        problems={"mdns on eth0": "no multicast", "dht": "no node"},
        problem_ages_s={"mdns on eth0": 90.0, "dht": 5.0},
        remedies={"dht": "cis p2p dht status"},
    )
    assert shown["problem"] == [
        "dht: no node (5 s ago)",
        "  try: cis p2p dht status",
        "mdns on eth0: no multicast (90 s ago)",
    ]


def test_status_stays_one_screen_however_many_peers_and_problems_there_are() -> None:
    shown = status_of(
        *(glance(f"peer-{number}") for number in range(100)), problems={f"h{number}:1": "x" for number in range(64)}
    )
    assert sum(map(len, shown.values())) < 3 * LISTED_MAX
    assert "and 88 more: cis p2p peers --connected" in shown["connected"]
    assert "and 52 more: cis status --json" in shown["problem"]
