// The form: verdict, conclusion and remark are stored as they are given; then the signature.

import { find, mayReview, say } from "./page.js";
import { change, review, send } from "./review.js";

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
    const text = find('textarea[name="remark"]', part);
    document.activeElement.blur();
    if (text.value !== text.defaultValue) await flush();
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

function flush() {
  clearTimeout(typing);
  const text = find('textarea[name="remark"]', part);
  if (!text || text.value === text.defaultValue) return Promise.resolve(true);
  const value = text.value;
  text.defaultValue = value;
  return change("remark", [], value);
}
