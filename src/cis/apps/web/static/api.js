// Questions to the server of this page, and the way in: the link's token is used up for a cookie and a key.

const KEY = "cis-key";
const PATIENCE_MS = 130_000;

export class Failure extends Error {
  constructor(told) {
    super(told.error);
    this.kind = told.kind;
  }
}

export async function enter() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(null, "", `${location.pathname}#/node`);
  const entered = await post("/enter", { token });
  localStorage.setItem(KEY, entered.key);
}

export function ask(question, body = {}) {
  return post(`/api/${question}`, body);
}

async function post(path, body) {
  let answer, told;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-cis-key": localStorage.getItem(KEY) ?? "" },
      body: JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    told = await answer.json();
  } catch {
    throw new Failure({ kind: "Ended", error: "The server of this page does not answer: run `cis web` again." });
  }
  if (!answer.ok) throw new Failure(told);
  return told;
}
