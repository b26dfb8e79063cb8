// The form: verdict, conclusion and remark are stored as they are given; then the signature.

import { find, mayReview, say } from "./page.js";
import { change, review, send, settled } from "./review.js";

const part = find('[data-part="signing"]');
let typing = null;

export function startSigning() {
  if (!mayReview) return;
  part.addEventListener("change", (event) => {
    const { name, value } = event.target;
    if (name === "verdict") store("decide", value, event.target);
    if (name === "conclusion") store("conclude", value, event.target);
    if (name === "remark") flush();
  });
  part.addEventListener("input", (event) => {
    if (event.target.name !== "remark") return;
    clearTimeout(typing);
    typing = setTimeout(flush, 1500);
  });
  part.addEventListener("submit", async (event) => {
    event.preventDefault();
    document.activeElement.blur();
    flush();
    // What could not be stored is told on the page: nobody signs without it, or upon what was not seen.
    if (!(await settled())) return;
    const undecided = find(".message.conflict button");
    if (undecided) return undecided.focus();
    if (window.confirm(say("sign_confirm"))) send("signature", {});
  });
  review.addEventListener("state", () => {
    const saved = find("[data-saved]", part);
    if (saved) saved.textContent = `${say("stored")} ✓`;
  });
}

async function store(kind, value, input) {
  const where = input.name;
  const held = input.value;
  if (await change(kind, [], value)) find(`[name="${where}"][value="${held}"], select[name="${where}"]`, part)?.focus();
}

async function flush() {
  clearTimeout(typing);
  const text = find('textarea[name="remark"]', part);
  if (!text || text.value === text.defaultValue) return;
  const { value, defaultValue } = text;
  text.defaultValue = value;
  if (!(await change("remark", [], value))) text.defaultValue = defaultValue;
}
