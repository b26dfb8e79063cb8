// The review on the server: changes are sent one after the other, each upon the version that its author saw.

import { api, csrf, find, firstSigned, firstVersion, quiet, say, tell } from "./page.js";

const POLL_MS = 10000;

export const review = new EventTarget();
let version = firstVersion;
let signed = firstSigned;
let last = Promise.resolve();
let waiting = 0;
let unstored = 0;

// A change, an undo or a signature; resolves to whether it was stored.
export function send(path, body) {
  waiting += 1;
  last = last.then(() => attempt(path, body)).catch(() => false).then((stored) => {
    waiting -= 1;
    if (!stored) unstored += 1;
    return stored;
  });
  return last;
}

// When nothing is on its way any more; resolves to whether all that was has been stored.
export async function settled() {
  const before = unstored;
  await last;
  return unstored === before;
}

export const change = (kind, cells, value = "") => send("changes", { kind, cells, value });

// Nothing is lost when the page is left: what is still on its way is told of.
window.addEventListener("beforeunload", (event) => {
  if (waiting) event.preventDefault();
});

async function attempt(path, body) {
  let answer;
  try {
    answer = await fetch(`${api}/${path}`, {
      method: "POST",
      headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRF-Token": csrf },
      body: JSON.stringify({ ...body, version }),
    });
  } catch {
    notStored(say("offline"), path, body);
    return false;
  }
  if (answer.ok) {
    quiet("problem");
    quiet("conflict");
    take(await answer.json());
    return true;
  }
  if (answer.status === 409) {
    await conflict(path, body);
    return false;
  }
  notStored(await why(answer), path, body, answer.status >= 500);
  return false;
}

async function conflict(path, body) {
  const state = await look();
  if (!state) return notStored(say("offline"), path, body);
  const names = [...new Set((state.news ?? []).map((n) => n.by))].join(", ") || "?";
  const what = (state.news ?? []).map((n) => `${n.by}: ${n.text}`).join("; ");
  tell("conflict", say("conflict", { name: names, what }), [
    [say("apply_mine"), () => send(path, body)],
    [say("drop_mine"), () => {}],
  ]);
}

function notStored(reason, path, body, again = true) {
  const choices = again ? [[say("retry"), () => send(path, body)], [say("drop_mine"), () => look("fresh")]] : [];
  tell("problem", say("not_stored", { why: reason }), choices);
  review.dispatchEvent(new CustomEvent("refused"));
}

async function why(answer) {
  try {
    return (await answer.json()).issue[0].diagnostics;
  } catch {
    return `HTTP ${answer.status}`;
  }
}

// The review as it is now; what others changed since is in `news`.
async function look(how) {
  try {
    const since = how === "fresh" ? -1 : version;
    // What the page asks by itself does not keep the session alive.
    const headers = { Accept: "application/json", ...(how === "poll" ? { "X-Poll": "1" } : {}) };
    const answer = await fetch(`${api}/review?since=${since}&signed=${signed}`, { headers });
    if (!answer.ok) return null;
    const state = await answer.json();
    if (state.html) take(state);
    return state;
  } catch {
    return null;
  }
}

function take(state) {
  version = state.version;
  signed = state.signed;
  find("main > .notice").textContent = state.notice;
  for (const [name, html] of Object.entries(state.html)) {
    const part = find(`[data-part="${name}"]`);
    if (part && !(name === "signing" && part.contains(document.activeElement) && busy(part))) part.innerHTML = html;
  }
  review.dispatchEvent(new CustomEvent("state", { detail: state }));
}

// Whoever types into the form keeps it.
function busy(part) {
  return document.activeElement.matches("textarea, select") && part.contains(document.activeElement);
}

setInterval(async () => {
  if (document.hidden || waiting) return;
  const before = version;
  const state = await look("poll");
  const news = state?.news ?? [];
  if (state && state.version !== before && news.length) {
    const name = [...new Set(news.map((n) => n.by))].join(", ");
    tell("others", say("others", { name, what: news.map((n) => n.text).join("; ") }));
  }
}, POLL_MS);
