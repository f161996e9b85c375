// How the node is: facts, problems with what to type, the cluster, and peers with how far they are in step.

import { ask } from "./api.js";
import { complain, element, find, name, rtt, say, show, size, span } from "./dom.js";
import { heads, topologyView } from "./topology.js";

const TOPOLOGY_MS = 60_000;
const behindMost = new Map();
let connected = null;
let problems = null;
let drawnAt = -Infinity;
let drawing = false;

export function startNode() {
  find("ask-topology").addEventListener("click", () => drawTopology(true));
}

export function showNode(live) {
  const { status } = live;
  find("node-name").textContent = status.name;
  find("standing").textContent = standing(live);
  document.title = `${status.name} · cis`;
  announce(status);
  show(find("facts"), facts(status));
  show(find("problems"), problemList(live));
  show(find("peers"), peerTable(live.peers, status));
  const now = performance.now();
  if (status.networking && !find("node").hidden && now - drawnAt > TOPOLOGY_MS) drawTopology(false);
}

function standing({ status, peers }) {
  if (status.removed_by !== null) return `removed from its cluster by ${status.removed_by}`;
  if (!status.networking) return "networking is off";
  if (!status.connected.length) return "connected with nobody";
  const behind = peers.filter((one) => one.state === "connected" && (one.behind_here || one.behind_there)).length;
  return `${status.connected.length} connected, ${behind ? `not in step with ${behind}` : "in step"}`;
}

function announce(status) {
  const now = new Set(status.connected);
  const told = Object.keys(status.problems);
  if (connected !== null) {
    const come = [...now].filter((one) => !connected.has(one));
    const gone = [...connected].filter((one) => !now.has(one));
    const worse = told.filter((one) => !problems.has(one));
    if (come.length || gone.length) drawnAt = -Infinity;
    const words = [
      come.length ? `connected with ${come.join(", ")}` : "",
      gone.length ? `no longer connected with ${gone.join(", ")}` : "",
      worse.length ? `does not work: ${worse.join(", ")}` : "",
    ].filter(Boolean);
    if (words.length) say(words.join("; "));
  }
  connected = now;
  problems = new Set(told);
}

function facts(status) {
  const pairs = [
    ["Node", [name(status.name), ` (${status.role}), up for ${span(status.uptime_s)}`]],
    ["Identity", element("code", {}, status.did)],
    ["Cluster", name(status.members.join(", "))],
    ["Listens on", status.listen ?? "no socket"],
    ["Memories", `${status.memories} public`],
    ["Version", status.version],
  ];
  return pairs.map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value)));
}

function problemList({ status, notes }) {
  const age = (place) => status.problem_ages_s[place] ?? 0;
  const found = Object.entries(status.problems).sort(([one], [other]) => age(one) - age(other));
  const items = [
    ...found.map(([place, text]) => ["problem", `${place}: ${text}`, status.remedies[place]]),
    ...notes.map(([about, text, fix]) => ["note", `${about}: ${text}`, fix]),
  ];
  if (!items.length) return element("p", { class: "well" }, "Nothing that is known of.");
  return element(
    "ul",
    { class: "problems" },
    items.map(([kind, text, remedy]) =>
      element("li", { class: kind }, element("p", {}, text), remedy ? element("p", {}, "Try: ", element("code", {}, remedy)) : null),
    ),
  );
}

async function drawTopology(asked) {
  if (drawing) return;
  drawing = true;
  drawnAt = performance.now();
  try {
    show(find("topology"), topologyView(await ask("topology")));
    if (asked) say("The picture is as the members told just now.");
  } catch (error) {
    if (asked) complain(error.message);
  } finally {
    drawing = false;
  }
}

function peerTable(peers, status) {
  if (!status.networking) return element("p", {}, "Networking is off: ", element("code", {}, "cis config set p2p.enabled true"));
  if (!peers.length) return element("p", {}, "None yet: ", element("code", {}, "cis invite"), " lets another device join.");
  return element(
    "table",
    {},
    element("thead", {}, element("tr", {}, heads("Peer", "State", "Path", "Round trip", "In step", "Received", "Sent"))),
    element("tbody", {}, peers.map(peerRow)),
  );
}

function peerRow(one) {
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, name(one.name)),
    element("td", {}, one.state),
    element("td", {}, one.path),
    element("td", {}, rtt(one.rtt_ms)),
    element("td", {}, howFar(one), one.last_error ? element("p", { class: "bad" }, `failed: ${one.last_error}`) : null),
    element("td", {}, size(one.bytes_received)),
    element("td", {}, size(one.bytes_sent)),
  );
}

function howFar(one) {
  const behind = (one.behind_here ?? 0) + (one.behind_there ?? 0);
  const most = Math.max(behind, behindMost.get(one.did ?? one.name) ?? 0);
  behindMost.set(one.did ?? one.name, behind ? most : 0);
  if (one.state !== "connected" || (one.behind_here === null && !one.syncing)) {
    return one.in_step_s === null ? "not compared yet" : `last ${span(one.in_step_s)} ago`;
  }
  if (!behind) return one.syncing ? "synchronising" : "in step";
  const left = `${one.behind_here} changes to come, ${one.behind_there} to go`;
  const done = element("progress", { max: most, value: most - behind, "aria-label": `In step with ${one.name}` });
  return [left, " ", done];
}
