// One card as this chart shows it (CDS Hooks 2.0, "Card Attributes").

import { ehr, launchHandle, Trouble } from "./ehr.js";
import { carryOut } from "./fhir.js";
import { accepted, overridden } from "./feedback.js";
import { element, icon, webAddress } from "./dom.js";

const WORDS = { info: "Information", warning: "Warning", critical: "Critical" };

/**
 * html: of the card's detail, or null where it could not be made: then the detail is shown as it was written.
 * changed: called after an order was drafted. dealtWith: called with a sentence once the card was dismissed.
 */
export function cardElement(serviceId, card, html, { changed, dealtWith }) {
  const indicator = card.indicator in WORDS ? card.indicator : "info";
  return element(
    "article",
    { class: `card ${indicator}` },
    element("p", { class: "indicator" }, icon(indicator), WORDS[indicator]),
    element("h3", {}, card.summary),
    detail(card, html, indicator),
    suggestions(serviceId, card, changed),
    links(card),
    element("div", { class: "foot" }, source(card), dismissal(serviceId, card, dealtWith)),
  );
}

function detail(card, html, indicator) {
  if (!card.detail) return null;
  const body = element("div", { class: "detail" });
  if (html === null) {
    body.append(element("pre", {}, card.detail));
  } else {
    // Made by the EHR's own server, which lets no HTML of the card's through (hooks/demo/desk.py).
    body.innerHTML = html;
    for (const link of body.querySelectorAll("a")) outward(link);
    for (const table of body.querySelectorAll("table")) {
      const holder = element("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table of this card" });
      table.replaceWith(holder);
      holder.append(table);
    }
  }
  return element("details", { open: indicator !== "info" }, element("summary", {}, "Details"), body);
}

function outward(link) {
  link.target = "_blank";
  link.rel = "noopener noreferrer";
}

function source(card) {
  const { label, url, topic } = card.source;
  const address = url ? webAddress(url) : null;
  const name = address ? element("a", { href: address.href }, label) : label;
  if (address) outward(name);
  return element("p", { class: "source" }, "From ", name, topic?.display ? ` · ${topic.display}` : "");
}

function links(card) {
  const shown = (card.links ?? []).map((link) => {
    const address = webAddress(link.url);
    if (!address) return element("span", {}, `${link.label} (its address is not one that a page may open)`);
    const anchor = element("a", {}, link.label);
    const told = element("span", { class: "faint" });
    outward(anchor);
    if (link.type === "smart") launched(link, address, anchor, told);
    else {
      anchor.href = address.href;
      told.textContent = " (opens in a new tab)";
    }
    return element("span", {}, anchor, told);
  });
  return shown.length ? element("p", { class: "links" }, ...shown) : null;
}

/** SMART App Launch, EHR launch: the app asks the FHIR server `iss` what the launch was about. */
async function launched(link, address, anchor, told) {
  if (!ehr.smart) {
    told.textContent = " (a SMART app; this hospital offers no launch)";
    return;
  }
  try {
    address.searchParams.set("launch", await launchHandle(link.appContext));
    address.searchParams.set("iss", ehr.fhir);
    anchor.href = address.href;
    told.textContent = " (SMART app, opens in a new tab)";
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    told.textContent = ` (cannot be launched: ${error.message})`;
  }
}

let made = 0;

function suggestions(serviceId, card, changed) {
  const offered = card.suggestions ?? [];
  if (!offered.length) return null;
  const one = card.selectionBehavior === "at-most-one";
  const group = `suggestions-${++made}`;
  const told = element("p", { class: "status", role: "status" });
  const choices = offered.map((suggestion) => {
    const input = element("input", { type: one ? "radio" : "checkbox", name: group });
    const state = element("span", { class: "faint" });
    const line = element(
      "label",
      {},
      input,
      element(
        "span",
        {},
        suggestion.label,
        " ",
        suggestion.isRecommended ? element("span", { class: "recommended" }, "recommended") : null,
        " ",
        state,
      ),
    );
    return { suggestion, input, state, line };
  });
  const button = element("button", { type: "button", onclick: draftChosen }, one ? "Draft this order" : "Draft chosen orders");

  async function draftChosen() {
    const chosen = choices.filter(({ input }) => input.checked && !input.disabled);
    if (!chosen.length) {
      told.textContent = "Choose an order first.";
      return;
    }
    button.disabled = true;
    let drafted = 0;
    try {
      for (const { suggestion, input, state } of chosen) {
        const stored = [];
        for (const action of suggestion.actions ?? []) stored.push(await carryOut(action, suggestion));
        input.disabled = true;
        state.textContent = `drafted: ${stored.map((each) => `${each.resourceType}/${each.id}`).join(", ")}`;
        accepted(serviceId, card, suggestion);
        drafted += 1;
        // The others are no longer to be had: at most one, says the card.
        if (one) for (const other of choices) other.input.disabled = true;
      }
      told.textContent = drafted === 1 ? "1 order drafted. It is to be signed under Orders." : `${drafted} orders drafted. They are to be signed under Orders.`;
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      told.textContent = `${drafted} drafted; then it failed: ${error.message}`;
    } finally {
      button.disabled = choices.every(({ input }) => input.disabled);
      if (document.activeElement === document.body) {
        // What had the focus cannot be pressed any more: go on from what is told about it.
        told.tabIndex = -1;
        told.focus();
      }
      if (drafted) changed();
    }
  }

  const legend = one ? "Suggested orders, at most one" : "Suggested orders";
  return element(
    "fieldset",
    { class: "suggestions" },
    element("legend", {}, legend),
    ...choices.map(({ line }) => line),
    element("div", { class: "row" }, button),
    told,
  );
}

function dismissal(serviceId, card, dealtWith) {
  if (!card.uuid) return null;
  const reasons = card.overrideReasons ?? [];
  const group = `reasons-${++made}`;
  const told = element("p", { class: "status", role: "status" });
  const choices = reasons.map((reason, number) => {
    const input = element("input", { type: "radio", name: group, value: String(number) });
    return element("label", {}, input, element("span", {}, reason.display ?? reason.code));
  });
  const comment = element("textarea", { rows: "2", maxlength: "1000" });
  const form = element(
    "form",
    { class: "dismissal", hidden: true },
    reasons.length ? element("fieldset", {}, element("legend", {}, "Why is it not followed?"), ...choices) : null,
    element("label", { class: "comment" }, "Comment (optional)", comment),
    told,
    element(
      "div",
      { class: "row" },
      element("button", { type: "submit" }, "Dismiss the card"),
      element("button", { type: "button", class: "quiet", onclick: close }, "Keep it"),
    ),
  );
  const opener = element("button", { type: "button", class: "quiet", "aria-expanded": "false", onclick: open }, "Dismiss…");

  function open() {
    form.hidden = false;
    opener.hidden = true;
    opener.setAttribute("aria-expanded", "true");
    (form.querySelector("input") ?? comment).focus();
  }
  function close() {
    form.hidden = true;
    opener.hidden = false;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = form.querySelector("input:checked");
    if (reasons.length && !chosen) {
      told.textContent = "Choose a reason first.";
      return;
    }
    const reason = chosen ? reasons[Number(chosen.value)] : null;
    overridden(serviceId, card, reason, comment.value.trim());
    const because = reason ? ` (${reason.display ?? reason.code})` : "";
    dealtWith(`Dismissed: ${card.summary}${because}`);
  });
  return element("div", { class: "dismiss" }, opener, form);
}
