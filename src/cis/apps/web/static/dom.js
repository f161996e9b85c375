// Elements made of text: what comes from memories and peers is never read as HTML.

// What could reorder or hide text: controls, bidirectional marks, halves of characters, letters that nobody sees.
const UNSAFE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\p{Cs}\u{e0000}-\u{e007f}]/gu;
const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

export function visible(text) {
  return String(text).replace(UNSAFE, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);
}

export function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

export function drawn(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(made, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name === "listen") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  append(made, children);
  return made;
}

export function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== "") {
      parent.append(child instanceof Node ? child : visible(child));
    }
  }
}

// Replace what is in an element where it differs; by data-id, what has the focus keeps it, and what is open stays so.
export function show(parent, ...children) {
  const made = document.createDocumentFragment();
  append(made, children);
  for (const summary of parent.querySelectorAll("details[open] > summary[data-id]")) {
    const same = made.querySelector(`summary[data-id="${CSS.escape(summary.dataset.id)}"]`);
    if (same) same.parentNode.open = true;
  }
  const before = [...parent.childNodes];
  const after = [...made.childNodes];
  if (before.length === after.length && before.every((node, place) => node.isEqualNode(after[place]))) return;
  const focused = parent.contains(document.activeElement) ? document.activeElement.dataset.id : undefined;
  parent.replaceChildren(made);
  if (focused !== undefined) parent.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
}

export const name = (text) => element("bdi", {}, text);

export function say(text) {
  find("said").textContent = visible(text);
}

export function complain(text) {
  const banner = find("failed");
  if (banner.textContent !== visible(text)) banner.textContent = visible(text);
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

export function size(bytes) {
  for (const [unit, step] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (bytes >= step) return `${(bytes / step).toFixed(1)} ${unit}`;
  }
  return `${bytes} B`;
}

export function moment(milliseconds) {
  const date = new Date(milliseconds);
  return element("time", { datetime: date.toISOString() }, date.toLocaleString());
}

export const rtt = (milliseconds) => (milliseconds === null ? "" : `${milliseconds.toFixed(1)} ms`);
