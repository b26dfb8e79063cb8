// An image of the study in tiles, to move and zoom in, with its cells marked.

import { decimal } from "../texts.js";
import { all, api, base, element, find, say, tell } from "./page.js";
import { currentType, labelOf, tileOf } from "./gallery.js";
import { review } from "./review.js";

const box = find("#viewer");
let viewer = null;
let shown = null;
let wanted = null;
let enlarge = () => {};

export function startViewer(parts) {
  enlarge = parts.enlarge;
  if (!box) return;
  const select = find("#image");
  select.addEventListener("change", () => open(Number(select.value)));
  find("#marks").addEventListener("change", () => box.classList.toggle("unmarked", !find("#marks").checked));
  all("[data-view]").forEach((button) => button.addEventListener("click", () => act(button.dataset.view)));
  review.addEventListener("state", label);
  // Not before somebody comes near it: the library and the first image are not needed for a look at the cells.
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) {
      observer.disconnect();
      open(Number(select.value));
    }
  }, { rootMargin: "300px" }).observe(box);
}

export function showInImage(cell) {
  if (!box) return;
  const image = Number(tileOf(cell)?.dataset.image);
  find("#viewer-box").scrollIntoView({ block: "start" });
  find("#image").value = String(image);
  wanted = cell;
  open(image);
  box.focus({ preventScroll: true });
}

function act(what) {
  const select = find("#image");
  if (what === "previous" || what === "next") {
    const to = select.selectedIndex + (what === "next" ? 1 : -1);
    if (to < 0 || to >= select.options.length) return;
    select.selectedIndex = to;
    return open(Number(select.value));
  }
  if (!viewer?.isOpen()) return;
  if (what === "whole") viewer.viewport.goHome();
  else viewer.viewport.zoomBy(what === "in" ? 1.5 : 1 / 1.5);
}

async function open(index) {
  if (shown?.index === index && viewer?.isOpen()) return go();
  const { OpenSeadragon } = await library();
  let image;
  try {
    const answer = await fetch(`${api}/images/${index}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error((await answer.json()).issue[0].diagnostics);
    image = await answer.json();
  } catch (error) {
    return tell("image", say("viewer_out", { why: error.message }));
  }
  shown = { ...image, index };
  viewer ??= OpenSeadragon({
    element: box,
    showNavigationControl: false,
    gestureSettingsMouse: { clickToZoom: false },
    maxZoomPixelRatio: 8,
    minZoomImageRatio: 0.8,
    visibilityRatio: 0.4,
    animationTime: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 0.6,
    crossOriginPolicy: false,
    tileRetryMax: 4,
    tileRetryDelay: 1500,
    drawer: "canvas",
  });
  viewer.removeAllHandlers("open");
  viewer.addHandler("open", () => {
    marks(OpenSeadragon);
    go();
    scale();
  });
  viewer.addHandler("zoom", scale);
  viewer.open({
    width: image.width,
    height: image.height,
    tileSize: image.tile,
    minLevel: 0,
    maxLevel: image.levels - 1,
    getTileUrl: (level, x, y) => `${base}/images/${index}/tiles/${level}/${x}_${y}.jpg`,
  });
}

function marks(OpenSeadragon) {
  viewer.clearOverlays();
  const side = shown.um_per_px ? 18 / shown.um_per_px : 90;
  for (const cell of shown.cells) {
    const ring = element("button", { type: "button", className: "ring" }, element("span"));
    ring.dataset.cell = cell.position;
    new OpenSeadragon.MouseTracker({ element: ring, clickHandler: () => enlarge(cell.position) });
    ring.addEventListener("keydown", (event) => event.key === "Enter" && enlarge(cell.position));
    const where = viewer.viewport.imageToViewportRectangle(cell.column - side / 2, cell.row - side / 2, side, side);
    viewer.addOverlay({ element: ring, location: where });
  }
  label();
}

function label() {
  for (const ring of all(".ring", box)) {
    const cell = Number(ring.dataset.cell);
    const type = currentType(cell);
    const made = labelOf(cell);
    const out = made && made.type === "";
    ring.classList.toggle("out", Boolean(out));
    ring.classList.toggle("human", Boolean(made));
    ring.title = tileOf(cell)?.getAttribute("aria-label") ?? "";
    const short = out ? "×" : (shown.short[type] ?? type ?? "");
    find("span", ring).textContent = short;
    ring.setAttribute("aria-label", `${short}: ${ring.title}`);
  }
}

function go() {
  if (wanted === null || !viewer?.isOpen()) return;
  const cell = shown.cells.find((c) => c.position === wanted);
  wanted = null;
  if (!cell) return;
  const side = shown.um_per_px ? 40 / shown.um_per_px : 200;
  viewer.viewport.fitBounds(viewer.viewport.imageToViewportRectangle(cell.column - side / 2, cell.row - side / 2, side, side), true);
  all(".ring", box).forEach((ring) => ring.classList.toggle("this", Number(ring.dataset.cell) === cell.position));
}

// Micrometres that 100 pixels of the screen are, in round numbers.
function scale() {
  if (!viewer?.isOpen() || !shown.um_per_px) return (find("#scale").textContent = "");
  const zoom = viewer.viewport.viewportToImageZoom(viewer.viewport.getZoom(true));
  const um = (100 * shown.um_per_px) / zoom;
  find("#scale").textContent = `100 px = ${decimal(um, um < 10 ? 1 : 0)} µm`;
}

let loading = null;
function library() {
  loading ??= new Promise((resolve, reject) => {
    // The library adds a style element, which our content security policy forbids, unless it finds its mark:
    // an element of that name, but of no namespace, so that the browser takes it for no style.
    const marker = document.createElementNS(null, "style");
    marker.setAttribute("data-openseadragon-mobile-css", "true");
    document.head.append(marker);
    const script = element("script", { src: new URL("../vendor/openseadragon/openseadragon.min.js", import.meta.url).href });
    script.addEventListener("load", () => resolve({ OpenSeadragon: window.OpenSeadragon }));
    script.addEventListener("error", reject);
    document.head.append(script);
  });
  return loading;
}
