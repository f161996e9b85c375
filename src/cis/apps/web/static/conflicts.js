// Conflicts: the values side by side, how they differ, and one of them, or another, kept.

import { ask } from "./api.js";
import { complain, element, find, moment, name, say, show } from "./dom.js";

const idOf = (one) => `${one.space}\n${one.key}`;
const writing = new Set();
let found = [];
let count = null;

export async function freshenConflicts() {
  found = await ask("conflicts");
  const badge = find("conflict-count");
  badge.textContent = String(found.length);
  badge.hidden = !found.length;
  if (count !== null && found.length > count) say("There is a new conflict");
  count = found.length;
  if (!writing.size) showConflicts();
}

function showConflicts() {
  const list = find("conflict-list");
  show(list, found.length ? found.map(conflictView) : element("p", { class: "well" }, "There are none."));
  for (const button of list.querySelectorAll("button")) button.onclick = () => act(button);
}

function conflictView(one) {
  const id = idOf(one);
  return element(
    "article",
    { "data-of": id, "aria-label": `Conflict over ${one.key}` },
    element("h2", {}, name(one.key), element("span", { class: "hint" }, " in ", name(one.space))),
    element("div", { class: "values" }, one.values.map((value, place) => valueView(one, value, place))),
    element("button", { type: "button", "data-id": `${id}\nwrite` }, "Write another value"),
  );
}

function valueView(conflict, value, place) {
  const title = `Value ${place + 1}${place ? "" : ", shown elsewhere"}`;
  return element(
    "section",
    { "aria-label": `${title} of ${conflict.key}` },
    element("h3", {}, title),
    element("p", { class: "hint" }, name(value.author), ", ", moment(value.updated_ms), ` · ${value.kind} · `, name(value.category)),
    element(
      "pre",
      { class: "value scroll", tabindex: "0", role: "region", "aria-label": title, dir: "auto", "data-id": `${value.version}\ntext` },
      value.text,
      value.cut ? "\n…" : null,
    ),
    conflict.differences[place].length
      ? element(
          "details",
          {},
          element("summary", { "data-id": `${value.version}\nhow` }, "How it differs from value 1"),
          element("pre", { class: "differences" }, conflict.differences[place].map(differenceView)),
        )
      : null,
    element("button", { type: "button", "data-id": `${idOf(conflict)}\n${value.version}` }, `Keep value ${place + 1}`),
  );
}

function differenceView(line) {
  const tag = line.startsWith("+") ? "ins" : line.startsWith("-") ? "del" : "span";
  return [element(tag, {}, line), "\n"];
}

async function act(button) {
  const article = button.closest("article");
  const one = found.find((conflict) => idOf(conflict) === article.dataset.of);
  const chosen = button.dataset.id.slice(article.dataset.of.length + 1);
  if (chosen === "write") write(article, one);
  else await resolve(one, { keep: chosen });
}

function write(article, one) {
  const id = idOf(one);
  const form = element(
    "form",
    { class: "fields" },
    element("label", { class: "wide" }, "The value to keep ", element("textarea", { name: "text", rows: "10", dir: "auto" })),
    element("button", { type: "submit" }, "Keep this"),
    element("button", { type: "button", listen: { click: close } }, "Cancel"),
  );
  function close() {
    writing.delete(id);
    form.remove();
    showConflicts();
    article.querySelector("button")?.focus();
  }
  form.elements.text.value = one.values[0].form === null || one.values[0].cut ? "" : one.values[0].text;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    resolve(one, { text: form.elements.text.value, form: one.values[0].form ?? "text" }).then((done) => done && writing.delete(id));
  });
  writing.add(id);
  article.querySelector(`[data-id="${CSS.escape(`${id}\nwrite`)}"]`).replaceWith(form);
  form.elements.text.focus();
}

async function resolve(one, choice) {
  try {
    complain("");
    await ask("resolve", { key: one.key, space: one.space, seen: one.values.map((value) => value.version), ...choice });
  } catch (error) {
    complain(error.message);
    return false;
  }
  writing.delete(idOf(one));
  say(`Resolved ${one.key}`);
  count = null;
  await freshenConflicts();
  find("conflicts-title").focus();
  return true;
}
