// The cells by type: select, retype by key, drag or menu, take out, comment, undo.

import { all, base, element, find, mayReview, say, unsureBelow } from "./page.js";
import { change, review, send } from "./review.js";

const box = find(".gallery-box");
const tiles = new Map(all(".tile").map((tile) => [Number(tile.dataset.cell), tile]));
const machine = new Map([...tiles].map(([cell, tile]) => [cell, { ...tile.dataset }]));
const groups = new Map(all(".group").map((group) => [group.dataset.group, group]));
// Cells that the page does not hold, of each group: there may be too many of them.
const beyond = new Map([...groups].map(([id, group]) => [id, Number(find("[data-count]", group).textContent) - all(".tile", group).length]));
const keys = new Map(all(".palette .type").map((b) => [b.getAttribute("aria-keyshortcuts"), b.dataset.type]));
const selected = new Set();
let comments = {};
let anchor = null;
let labels = {};
let clicks = [null, null]; // the tiles of the last two clicks

export const commentsOf = (cell) => comments[cell] ?? [];
export const labelOf = (cell) => labels[cell];
export const tileOf = (cell) => tiles.get(cell);
export const shownCells = () => all(".group:not([hidden]) .tile", box).map((tile) => Number(tile.dataset.cell));
export const currentType = (cell) => tiles.get(cell)?.dataset.type;

export function startGallery({ enlarge }) {
  if (!box) return;
  roving();
  box.addEventListener("click", (event) => clicked(event));
  box.addEventListener("dblclick", (event) => {
    const tile = event.target.closest(".tile");
    // Two quick taps on neighbours are a double one to the browser, too.
    if (tile && clicks.every((clicked) => clicked === tile)) enlarge(Number(tile.dataset.cell));
  });
  box.addEventListener("keydown", (event) => pressed(event, enlarge));
  box.addEventListener("contextmenu", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || !mayReview) return;
    event.preventDefault();
    if (!selected.has(Number(tile.dataset.cell))) only(tile);
    openMenu();
  });
  dragging();
  tools();
  dialogs();
  retryPictures();
  review.addEventListener("state", (event) => arrange(event.detail));
}

const groupOf = (tile) => tile.closest(".group").dataset.group;
const chosen = () => (selected.size ? [...selected] : focused() ? [Number(focused().dataset.cell)] : []);
const focused = () => (document.activeElement?.matches?.(".tile") ? document.activeElement : null);

function clicked(event) {
  const tile = event.target.closest(".tile");
  clicks = [clicks[1], tile];
  if (tile) {
    if (event.shiftKey && anchor) range(anchor, tile);
    else if (event.ctrlKey || event.metaKey || matchMedia("(pointer: coarse)").matches) toggle(tile);
    else if (selected.size === 1 && selected.has(Number(tile.dataset.cell))) clear();
    else only(tile);
    focus(tile);
    return;
  }
  const type = event.target.closest(".palette .type");
  if (type) {
    if (selected.size && mayReview) retype(type.dataset.type);
    else groups.get(type.dataset.type)?.scrollIntoView({ block: "start", behavior: "smooth" });
    return;
  }
  const act = event.target.closest("[data-act]")?.dataset.act;
  if (act === "all") {
    const members = all(".tile", event.target.closest(".group"));
    const every = members.every((t) => selected.has(Number(t.dataset.cell)));
    members.forEach((t) => mark(t, !every));
    summary();
  } else if (act) acts[act]?.();
}

const acts = {
  clear,
  undo: () => mayReview && !find('[data-act="undo"]').disabled && send("undo", {}),
  menu: () => openMenu(),
  exclude: () => retype("excluded"),
  confirm: () => confirmTypes(),
  comment: () => {
    if (!chosen().length) return;
    find("#comment textarea").value = "";
    find("#comment").showModal();
  },
};

function pressed(event, enlarge) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
    event.preventDefault();
    return acts.undo();
  }
  const tile = event.target.closest(".tile");
  if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
  const list = all(".tile", box).filter((t) => t.offsetParent !== null);
  const at = list.indexOf(tile);
  const beneath = (direction) => nearest(list, tile, direction);
  const to = {
    ArrowRight: list[at + 1],
    ArrowLeft: list[at - 1],
    ArrowDown: beneath(1),
    ArrowUp: beneath(-1),
    Home: list[0],
    End: list[list.length - 1],
  }[event.key];
  if (event.key in { ArrowRight: 1, ArrowLeft: 1, ArrowDown: 1, ArrowUp: 1, Home: 1, End: 1 }) {
    event.preventDefault();
    if (to) {
      focus(to);
      if (event.shiftKey) {
        mark(tile, true);
        mark(to, true);
        summary();
      }
    }
  } else if (event.key === " ") {
    event.preventDefault();
    toggle(tile);
  } else if (event.key === "Enter") {
    event.preventDefault();
    enlarge(Number(tile.dataset.cell));
  } else if (event.key === "Escape") clear();
  else if (event.key === "F2") openMenu();
  else if (typeOfKey(event)) {
    event.preventDefault();
    retype(typeOfKey(event));
  }
}

// What that key makes of a cell: a type, "excluded", or nothing.
export function typeOfKey(event) {
  if (!mayReview || event.ctrlKey || event.metaKey || event.altKey) return undefined;
  return event.key === "Delete" || event.key === "Backspace" ? "excluded" : keys.get(event.key.toLowerCase());
}

// The tile of the row above or below that is nearest to this one.
function nearest(list, tile, direction) {
  const from = tile.getBoundingClientRect();
  let best = null;
  let distance = Infinity;
  for (const other of list) {
    const r = other.getBoundingClientRect();
    const down = (r.top - from.top) * direction;
    if (down < from.height / 2) continue;
    const away = down * 4 + Math.abs(r.left - from.left);
    if (away < distance) [best, distance] = [other, away];
  }
  return best;
}

export function retype(type, cells = chosen()) {
  if (!cells.length || !mayReview) return Promise.resolve(false);
  const next = following(cells);
  if (type === "excluded") return change("exclude", cells).then((stored) => after(stored, next));
  return change("reclassify", cells, type).then((stored) => after(stored, next));
}

function confirmTypes() {
  const byType = new Map();
  for (const cell of chosen()) {
    const type = currentType(cell);
    byType.set(type, [...(byType.get(type) ?? []), cell]);
  }
  for (const [type, cells] of byType) retype(type, cells);
}

// Where the focus goes when these cells have moved away.
function following(cells) {
  const list = shownCells();
  const moved = new Set(cells);
  const from = list.indexOf(cells[cells.length - 1]);
  return list.slice(from).find((cell) => !moved.has(cell)) ?? list.slice(0, from).reverse().find((cell) => !moved.has(cell));
}

function after(stored, next) {
  if (!stored) return stored;
  const inGallery = focused() || document.activeElement === document.body;
  clear();
  if (inGallery && next !== undefined) focus(tiles.get(next), false);
  return stored;
}

// Puts every cell where the review has it now.
function arrange(state) {
  labels = state.cells;
  comments = state.comments;
  const undo = find('[data-act="undo"]');
  if (undo) undo.disabled = !state.undoable;
  for (const [cell, tile] of tiles) {
    const label = labels[cell];
    const original = machine.get(cell);
    const type = label?.type || original.machineType;
    const unlabelled = Number(original.p) < unsureBelow ? "unsure" : type;
    const group = label ? label.type || "excluded" : unlabelled;
    tile.dataset.type = type;
    tile.classList.toggle("human", Boolean(label));
    const name = label ? label.name : original.machine;
    const percent = find(".cap", tile).textContent;
    tile.setAttribute("aria-label", `${name}, ${percent}${label ? `, ${label.by}` : ""}`);
    pencil(tile, (comments[cell] ?? []).length);
    const list = find(".tiles", groups.get(group) ?? groups.get("excluded"));
    if (tile.parentElement !== list) insert(list, tile);
  }
  counts();
  roving();
}

function pencil(tile, many) {
  const held = find(".has-comment", tile);
  if (many && !held) tile.append(element("span", { className: "has-comment", textContent: "✎", title: say("comment") }));
  else if (!many && held) held.remove();
}

function insert(list, tile) {
  const sign = find("#order").value === "most" ? -1 : 1;
  const place = all(".tile", list).find((t) => sign * (Number(t.dataset.p) - Number(tile.dataset.p)) > 0);
  list.insertBefore(tile, place ?? null);
}

function counts() {
  for (const [id, group] of groups) {
    const many = all(".tile", group).length + beyond.get(id);
    group.hidden = many === 0;
    all(`[data-count="${id}"]`).forEach((where) => (where.textContent = many));
  }
}

function mark(tile, on) {
  const cell = Number(tile.dataset.cell);
  if (on) selected.add(cell);
  else selected.delete(cell);
  tile.setAttribute("aria-selected", String(on));
}

function only(tile) {
  selected.forEach((cell) => mark(tiles.get(cell), false));
  mark(tile, true);
  anchor = tile;
  summary();
}

function toggle(tile) {
  mark(tile, !selected.has(Number(tile.dataset.cell)));
  anchor = tile;
  summary();
}

function range(from, to) {
  const list = all(".tile", box).filter((t) => t.offsetParent !== null);
  const [a, b] = [list.indexOf(from), list.indexOf(to)].sort((x, y) => x - y);
  list.slice(a, b + 1).forEach((tile) => mark(tile, true));
  summary();
}

function clear() {
  selected.forEach((cell) => mark(tiles.get(cell), false));
  summary();
}

function summary() {
  const many = selected.size;
  all(".selection [data-act]").forEach((button) => (button.disabled = many === 0 && button.dataset.act !== "undo"));
  find("#selected").textContent = say(many === 0 ? "selected_none" : "selected", { count: many });
}

function focus(tile, visible = true) {
  if (!tile) return;
  all('.tile[tabindex="0"]', box).forEach((t) => (t.tabIndex = -1));
  tile.tabIndex = 0;
  tile.focus({ preventScroll: !visible });
  tile.scrollIntoView({ block: "nearest" });
}

// One tile of each list can be reached by the Tab key.
function roving() {
  for (const group of groups.values()) {
    const list = all(".tile", group);
    if (list.length && !list.some((t) => t.tabIndex === 0)) list[0].tabIndex = 0;
  }
}

function dragging() {
  if (!mayReview) return all(".tile").forEach((tile) => (tile.draggable = false));
  box.addEventListener("dragstart", (event) => {
    const tile = event.target.closest?.(".tile");
    if (!tile) return;
    if (!selected.has(Number(tile.dataset.cell))) only(tile);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", [...selected].join(","));
    box.classList.add("dragging");
  });
  const target = (event) => event.target.closest?.(".palette .type, .group");
  const typeOf = (where) => where.dataset.type ?? where.dataset.group;
  box.addEventListener("dragover", (event) => {
    const where = target(event);
    if (!where || typeOf(where) === "unsure") return;
    event.preventDefault();
    all(".over", box).forEach((old) => old !== where && old.classList.remove("over"));
    where.classList.add("over");
  });
  box.addEventListener("dragend", ended);
  box.addEventListener("drop", (event) => {
    const where = target(event);
    ended();
    if (!where) return;
    event.preventDefault();
    const cells = event.dataTransfer.getData("text/plain").split(",").map(Number);
    const moved = cells.filter((cell) => tiles.has(cell) && groupOf(tiles.get(cell)) !== typeOf(where));
    if (moved.length) retype(typeOf(where), moved);
  });
}

function ended() {
  box.classList.remove("dragging");
  all(".over", box).forEach((old) => old.classList.remove("over"));
}

function tools() {
  find("#order").addEventListener("change", () => {
    for (const group of groups.values()) {
      const list = find(".tiles", group);
      const sign = find("#order").value === "most" ? -1 : 1;
      const sorted = all(".tile", list).sort((a, b) => sign * (Number(a.dataset.p) - Number(b.dataset.p)));
      list.append(...sorted);
    }
  });
  const size = find("#size");
  const resize = () => box.style.setProperty("--tile", `${size.value}px`);
  size.addEventListener("input", resize);
  find("#activation").addEventListener("change", (event) => {
    for (const [cell, tile] of tiles) {
      find("img", tile).src = event.target.checked ? `${base}/cells/${cell}/activation.jpg` : `${base}/cells/${cell}.jpg`;
    }
  });
}

export function openMenu() {
  if (chosen().length && mayReview) find("#types").showModal();
}

function dialogs() {
  const types = find("#types");
  let about = [];
  types.addEventListener("click", (event) => {
    const type = event.target.closest("[data-type]")?.dataset.type;
    if (!type) return;
    types.close();
    retype(type, about.length ? about : chosen());
  });
  new MutationObserver(() => types.open && (about = chosen())).observe(types, { attributes: true, attributeFilter: ["open"] });
  const comment = find("#comment");
  let commented = [];
  new MutationObserver(() => comment.open && (commented = chosen())).observe(comment, { attributes: true, attributeFilter: ["open"] });
  find("form", comment).addEventListener("submit", () => {
    const text = find("textarea", comment).value.trim();
    if (text && commented.length) change("comment", commented, text);
  });
}

// The archive may be busy: a picture that did not come is asked for again, ever more rarely.
function retryPictures() {
  box.addEventListener(
    "error",
    (event) => {
      const image = event.target;
      const tries = Number(image.dataset.tries ?? 0);
      if (image.tagName !== "IMG" || tries >= 4) return;
      image.dataset.tries = tries + 1;
      const source = image.src;
      setTimeout(() => {
        if (image.src !== source) return;
        image.removeAttribute("src");
        image.src = source;
      }, 1500 * 2 ** tries);
    },
    true,
  );
}
