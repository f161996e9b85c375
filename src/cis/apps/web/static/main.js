// The page: which part is shown, and how often the node is asked while somebody looks.

import { ask, enter } from "./api.js";
import { freshenConflicts } from "./conflicts.js";
import { complain, find, say } from "./dom.js";
import { freshen, loadSpaces, startMemories } from "./memories.js";
import { showNode, startNode } from "./node.js";

const PULSE_MS = 3000;
const CONFLICTS_EVERY = 5;
const PARTS = ["node", "memories", "conflicts"];
let pulses = 0;
let timer = null;
let broken = null;

function part() {
  const named = location.hash.replace(/^#\//, "");
  return PARTS.includes(named) ? named : PARTS[0];
}

function route() {
  const now = part();
  for (const one of PARTS) find(one).hidden = one !== now;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${now}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function pulse() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      await look();
      if (broken !== null) {
        complain("");
        say("The node answers again");
      }
      broken = null;
    } catch (error) {
      if (broken !== error.message) complain(error.message);
      broken = error.message;
      find("standing").textContent = "not answering";
      if (error.kind === "Denied") return;
    }
  }
  timer = setTimeout(pulse, PULSE_MS);
}

async function look() {
  showNode(await ask("live"));
  if (pulses === 0 || broken !== null) await loadSpaces();
  if (part() === "memories" || pulses === 0) await freshen();
  if (part() === "conflicts" || pulses % CONFLICTS_EVERY === 0) await freshenConflicts();
  pulses += 1;
}

addEventListener("hashchange", () => {
  if (location.hash.startsWith("#token=")) {
    start();
  } else if (location.hash.startsWith("#/")) {
    route();
    find(`${part()}-title`).focus();
    pulse();
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) pulse();
});

async function start() {
  try {
    await enter();
    complain("");
  } catch (error) {
    complain(error.message);
    broken = error.message;
  }
  route();
  await pulse();
}

startNode();
startMemories();
await start();
