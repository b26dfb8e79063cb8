// What every module of the page needs: its texts, its addresses, and messages to the reader.

import { speaker } from "../texts.js";

const data = document.body.dataset;

export const api = data.api;
export const base = data.base;
export const mayReview = data.mayReview === "yes";
export const unsureBelow = Number(data.unsure);
export const firstVersion = Number(data.version);
export const firstSigned = data.signed;
export const csrf = document.querySelector('meta[name="csrf-token"]').content;

export const say = speaker(data.texts);

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const messages = find("#messages");

// A message stays until it is closed or another of its kind comes; choices: [text, what to do] each.
export function tell(kind, text, choices = []) {
  quiet(kind);
  const box = element("div", { className: `message ${kind}` }, element("p", { textContent: text }));
  box.dataset.kind = kind;
  const buttons = element("p", { className: "tools" });
  for (const [label, act] of [...choices, ...(choices.length ? [] : [[say("close"), () => {}]])]) {
    const button = element("button", { type: "button", textContent: label });
    button.addEventListener("click", () => {
      box.remove();
      act();
    });
    buttons.append(button);
  }
  box.append(buttons);
  messages.append(box);
}

export function quiet(kind) {
  all(`[data-kind="${kind}"]`, messages).forEach((box) => box.remove());
}
