// Memories: found, read, written and deleted.

import { ask } from "./api.js";
import { complain, element, find, moment, name, say, show } from "./dom.js";

const idOf = (one) => `${one.space}\n${one.key}`;
let asked = {};
let hits = [];
let next = null;
let extended = false;
let opened = null;
let spaces = ["public"];

export function startMemories() {
  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(search);
  });
  find("more").addEventListener("click", () => guarded(more));
  find("new-memory").addEventListener("click", () => edit(null));
}

export async function loadSpaces() {
  spaces = await ask("spaces");
  show(find("search").elements.space, element("option", { value: "" }, "all"), options());
}

// Look again, for what others changed; not under the hands of somebody who searches or reads on.
export async function freshen() {
  if (asked.query || extended) return;
  const now = asked;
  const page = await ask("memories", now);
  if (now !== asked || extended) return;
  ({ hits, next } = page);
  showHits();
}

export async function open(key, space) {
  const one = await ask("memory", { key, space });
  if (one === null) {
    complain(`There is no memory ${key} any more.`);
    return;
  }
  opened = one;
  showHits();
  showOpened();
}

async function guarded(work) {
  try {
    complain("");
    await work();
  } catch (error) {
    complain(error.message);
  }
}

async function search() {
  const given = new FormData(find("search"));
  asked = {};
  for (const [field, value] of given) if (value.trim()) asked[field] = value.trim();
  extended = false;
  const page = await ask("memories", asked);
  ({ hits, next } = page);
  find("found-title").textContent = asked.query ? "Found" : "Latest changed";
  find("found-note").textContent = page.note;
  showHits();
  say(`${hits.length}${next ? " or more" : ""} ${hits.length === 1 ? "memory" : "memories"} found`);
}

async function more() {
  const page = await ask("memories", { ...asked, after: next });
  const first = page.hits[0];
  extended = true;
  hits = [...hits, ...page.hits];
  next = page.next;
  showHits();
  if (first) find("found").querySelector(`[data-id="${CSS.escape(idOf(first.memory))}"]`)?.focus();
}

function showHits() {
  find("more").hidden = next === null;
  show(find("found"), hits.length ? hits.map(hitView) : element("li", { class: "hint" }, "There is none."));
  for (const button of find("found").querySelectorAll("button")) {
    const one = hits.find((hit) => idOf(hit.memory) === button.dataset.id)?.memory;
    button.onclick = one ? () => guarded(() => open(one.key, one.space)) : null;
  }
}

function hitView({ memory, parts, why }) {
  const current = opened !== null && idOf(opened) === idOf(memory);
  return element(
    "li",
    {},
    element(
      "button",
      { type: "button", class: "hit", "data-id": idOf(memory), "aria-current": current ? "true" : null },
      element("span", { class: "key" }, name(memory.key)),
      memory.conflicts ? element("span", { class: "count" }, `${memory.conflicts + 1} values`) : null,
      element(
        "span",
        { class: "snippet", dir: "auto" },
        parts.map(([text, marked]) => (marked ? element("mark", {}, text) : text)),
        memory.cut ? " …" : null,
      ),
      element(
        "span",
        { class: "hint" },
        [memory.space, memory.category, ...memory.tags].filter(Boolean).map((word) => [name(word), " · "]),
        name(memory.author),
        ", ",
        moment(memory.updated_ms),
        why ? ` · ${why}` : null,
      ),
    ),
  );
}

function showOpened() {
  const one = opened;
  const pairs = [
    ["Space", name(one.space)],
    ["Kind", one.kind],
    ["Category", name(one.category)],
    ["Tags", one.tags.length ? name(one.tags.join(", ")) : "none"],
    ["Changed", [moment(one.updated_ms), " by ", name(one.author)]],
    ["Forgotten", one.expires_ms === null ? "never" : moment(one.expires_ms)],
  ];
  fillOpened(
    element("h2", { id: "opened-title", tabindex: "-1" }, name(one.key)),
    one.conflicts
      ? element("p", { class: "bad" }, `It has ${one.conflicts + 1} values: `, element("a", { href: "#/conflicts" }, "see them"))
      : null,
    element("pre", { class: "value scroll", tabindex: "0", role: "region", "aria-label": "Value", dir: "auto" }, one.text),
    element(
      "dl",
      { class: "facts" },
      pairs.map(([title, value]) => element("div", {}, element("dt", {}, title), element("dd", {}, value))),
    ),
    element(
      "div",
      { class: "row" },
      one.form === null
        ? element("p", { class: "hint" }, "This kind is changed on the command line: cis memory --help")
        : element("button", { type: "button", listen: { click: () => edit(one) } }, "Edit"),
      element("button", { type: "button", class: "grave", listen: { click: () => guarded(() => erase(one)) } }, "Delete"),
    ),
  );
}

function edit(one) {
  opened = one;
  showHits();
  const field = (title, properties, tag = "input", ...children) =>
    element("label", {}, `${title} `, element(tag, properties, ...children));
  const form = element(
    "form",
    { class: "fields", autocomplete: "off" },
    field("Key", { name: "key", required: true, readonly: one !== null }),
    field("Space", { name: "space", disabled: one !== null }, "select", options()),
    field(
      "Kind",
      { name: "form" },
      "select",
      element("option", { value: "text" }, "text"),
      element("option", { value: "json" }, "JSON"),
    ),
    field("Category", { name: "category", required: true }),
    field("Tags, with commas between", { name: "tags" }),
    element("label", { class: "wide" }, "Value ", element("textarea", { name: "text", rows: "12", dir: "auto" })),
    element("button", { type: "submit" }, "Save"),
    element("button", { type: "button", listen: { click: () => (one ? showOpened() : closeOpened()) } }, "Cancel"),
  );
  const fields = form.elements;
  fields.key.value = one?.key ?? "";
  fields.space.value = one?.space ?? "public";
  fields.form.value = one?.form ?? "text";
  fields.category.value = one?.category ?? "note";
  fields.tags.value = one?.tags.join(", ") ?? "";
  fields.text.value = one?.text ?? "";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(() => save(one, fields));
  });
  const title = one ? ["Edit ", name(one.key)] : "New memory";
  fillOpened(element("h2", { id: "opened-title", tabindex: "-1" }, title), form);
}

async function save(before, fields) {
  const one = {
    key: before?.key ?? fields.key.value,
    space: before?.space ?? fields.space.value,
    form: fields.form.value,
    text: fields.text.value,
    category: fields.category.value,
    tags: fields.tags.value.split(",").map((tag) => tag.trim()).filter(Boolean),
    version: before?.version ?? null,
  };
  await ask("save", one);
  say(`Saved ${one.key}`);
  await open(one.key, one.space);
  await freshen();
}

async function erase(one) {
  const dialog = find("confirm");
  show(find("confirm-text"), "Delete ", name(one.key), " on all devices that share it?");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  await ask("erase", { key: one.key, space: one.space });
  hits = hits.filter((hit) => idOf(hit.memory) !== idOf(one));
  closeOpened();
  say(`Deleted ${one.key}`);
}

function fillOpened(...children) {
  const panel = find("opened");
  panel.hidden = false;
  panel.replaceChildren(...children.filter((child) => child !== null));
  find("opened-title").focus();
}

function closeOpened() {
  opened = null;
  find("opened").hidden = true;
  find("opened").replaceChildren();
  showHits();
  find("found-title").focus();
}

function options() {
  return spaces.map((space) => element("option", { value: space }, space));
}
