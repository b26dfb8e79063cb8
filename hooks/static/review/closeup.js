// One cell large: the image's own pixels, with or without the activation map, and what was said of it.

import { all, base, element, find, say } from "./page.js";
import { commentsOf, labelOf, retype, shownCells, tileOf, typeOfKey } from "./gallery.js";

const dialog = find("#closeup");
let cell = null;

export function startCloseup({ showInImage }) {
  dialog.addEventListener("click", (event) => {
    const what = event.target.closest("[data-close]")?.dataset.close;
    if (what === "close" || event.target === dialog) dialog.close();
    else if (what === "show") {
      dialog.close();
      showInImage(cell);
    } else if (what) step(what === "next" ? 1 : -1);
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
    if (typeOfKey(event)) {
      event.preventDefault();
      give(typeOfKey(event));
    }
  });
  dialog.addEventListener("close", () => tileOf(cell)?.focus());
  find("#closeup-activation").addEventListener("change", map);
  for (const other of all("dialog:not(#closeup)")) {
    other.addEventListener("click", (event) => event.target.closest('[data-close="close"]') && other.close());
  }
}

export function enlarge(which) {
  cell = which;
  const tile = tileOf(cell);
  const label = labelOf(cell);
  const percent = find(".cap", tile).textContent;
  const said = say("machine_type", { type: tile.dataset.machine, percent });
  find("#closeup-title").textContent = label ? `${label.name} (${label.by})` : tile.dataset.machine;
  find("#closeup-pixels").src = `${base}/cells/${cell}/pixels.png`;
  find("#closeup-pixels").alt = tile.getAttribute("aria-label");
  map();
  const lines = [said, ...commentsOf(cell).map((c) => `${c.by}: ${c.text}`)];
  find("#closeup-said").replaceChildren(...lines.map((text) => element("p", { textContent: text })));
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const cells = shownCells();
  const next = cells[cells.indexOf(cell) + by];
  if (next !== undefined) enlarge(next);
}

// Gives the cell that type and goes on to the next one, as it stood before this one moved away.
function give(type) {
  const about = cell;
  step(1);
  const last = cell === about;
  retype(type, [about]).then((stored) => {
    if (!stored) dialog.close(); // what keeps it is told on the page
    else if (last && dialog.open) enlarge(about);
  });
}

function map() {
  const on = find("#closeup-activation").checked;
  find("#closeup-map-box").hidden = !on;
  if (on) find("#closeup-map").src = `${base}/cells/${cell}/activation.jpg`;
}
