// The cluster as a picture: its members on a ring, a line for each connection.

import { drawn, element, name, rtt } from "./dom.js";

const WIDTH = 760;
const HEIGHT = 440;
const SIDE = 90;
const ABOVE = 30;
const BELOW = 60;
const SHOWN_MAX = 60;
const FEW = 3;
const ONE_RING = 16;
const LABELLED_MAX = 14;
const NAME_MAX = 16;
const STANDINGS = { self: "this node", told: "up", silent: "up, did not say", away: "not up" };

export function topologyView(topology) {
  const members = topology.members.slice(0, SHOWN_MAX);
  const left = topology.members.length - members.length;
  return [
    picture(members, topology.ties),
    left > 0 ? element("p", { class: "hint" }, `${left} more members are not drawn.`) : null,
    element(
      "p",
      { class: "hint" },
      "Solid lines carry gossip, dashed ones do not. It is what the members told when they were asked.",
    ),
    element("details", {}, element("summary", { "data-id": "ties" }, "The same as a table"), table(topology)),
  ];
}

// On a ring, this node on top: no line between two of them runs through a third.
function places(members, height) {
  const first = members.length === 2 ? Math.PI : -Math.PI / 2;
  const points = members.map((member, place) => {
    const angle = first + (2 * Math.PI * place) / members.length;
    const near = members.length > ONE_RING && place % 2 ? 0.62 : 1;
    return [near * Math.cos(angle), near * Math.sin(angle)];
  });
  const downs = points.map(([, down]) => down);
  const top = Math.min(...downs);
  const extent = Math.max(...downs) - top;
  const room = height - ABOVE - BELOW;
  return new Map(
    members.map((member, place) => {
      const [right, down] = points[place];
      const share = extent < 0.1 ? 0.5 : (down - top) / extent;
      return [member.name, [Math.round(WIDTH / 2 + right * (WIDTH / 2 - SIDE)), Math.round(ABOVE + share * room)]];
    }),
  );
}

function picture(members, ties) {
  const height = members.length <= FEW ? HEIGHT / 2 : HEIGHT;
  const at = places(members, height);
  const seen = ties.filter((tie) => tie.ends.every((end) => at.has(end)));
  const label =
    `${members.length} members, ${seen.length} connections: ` +
    seen.map((tie) => `${tie.ends[0]} with ${tie.ends[1]}`).join(", ");
  return drawn(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label, class: "topology" },
    seen.map((tie) => line(tie, at, seen.length <= LABELLED_MAX)),
    members.map((member) => dot(member, at.get(member.name))),
  );
}

function line(tie, at, labelled) {
  const [[x1, y1], [x2, y2]] = tie.ends.map((end) => at.get(end));
  const text = [tie.path, rtt(tie.rtt_ms)].filter(Boolean).join(" ");
  return [
    drawn("line", { x1, y1, x2, y2, class: tie.neighbour ? "tie" : "tie loose" }),
    labelled ? drawn("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 5, class: "tie-name" }, text) : null,
  ];
}

function dot(member, [x, y]) {
  const short = member.name.length > NAME_MAX ? `${member.name.slice(0, NAME_MAX - 1)}…` : member.name;
  return drawn(
    "g",
    { class: `member ${member.standing}` },
    drawn("title", {}, `${member.name}: ${STANDINGS[member.standing]}`),
    drawn("circle", { cx: x, cy: y, r: member.standing === "self" ? 17 : 13 }),
    drawn("text", { x, y: y + 32 }, short),
    member.standing === "away" ? drawn("text", { x, y: y + 46, class: "tie-name" }, "not up") : null,
  );
}

function table(topology) {
  const rows = topology.ties.map((tie) =>
    element(
      "tr",
      {},
      element("td", {}, name(tie.ends[0])),
      element("td", {}, name(tie.ends[1])),
      element("td", {}, tie.path),
      element("td", {}, rtt(tie.rtt_ms)),
      element("td", {}, tie.neighbour ? "yes" : "no"),
    ),
  );
  const away = topology.members.filter((member) => member.standing === "away").map((member) => member.name);
  return [
    element(
      "table",
      {},
      element("thead", {}, element("tr", {}, heads("One", "The other", "Path", "Round trip", "Gossip"))),
      element("tbody", {}, rows),
    ),
    away.length ? element("p", {}, "Not up, as far as is known: ", name(away.join(", "))) : null,
  ];
}

export function heads(...titles) {
  return titles.map((title) => element("th", { scope: "col" }, title));
}
