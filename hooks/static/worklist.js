// Keeps the worklist up to date: asks for its rows every few seconds and shows them where they are others. Without this
// script the page is the same, as of when it was loaded.
import { speaker } from "./texts.js";

const EVERY_MS = 5000;
const rows = document.getElementById("rows");
const status = document.getElementById("updates");
const asked = new URLSearchParams(location.search);
asked.delete("said");
const address = "/worklist/rows?" + asked;

const said = speaker(status.dataset.texts);

const say = (name) => {
  const text = said(name);
  if (status.textContent !== text) status.textContent = text;
};

const age = (since) => {
  const minutes = Math.max(0, Math.floor((Date.now() - Date.parse(since)) / 60000));
  if (minutes < 60) return said("minutes", { count: minutes });
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? said("hours", { count: hours }) : said("days", { count: Math.floor(hours / 24) });
};

const showAges = () => {
  for (const time of rows.querySelectorAll("time")) time.textContent = age(time.dateTime);
};

const update = async () => {
  if (document.hidden) return;
  const have = rows.firstElementChild.dataset.digest;
  try {
    const answer = await fetch(address, {
      headers: { "X-Poll": "1", "If-None-Match": `"${have}"` },
      cache: "no-store",
      redirect: "error",
    });
    if (answer.status === 200) {
      const focused = document.activeElement && rows.contains(document.activeElement) ? document.activeElement.id : "";
      rows.innerHTML = await answer.text(); // our own page's rows, escaped by its template
      if (focused) document.getElementById(focused)?.focus();
      say("updated");
    } else if (answer.status === 304) {
      say("updates");
    } else {
      say("failed");
    }
  } catch {
    say("failed");
  }
  showAges();
};

say("updates");
setInterval(update, EVERY_MS);
document.addEventListener("visibilitychange", update);
