// What the user did about the cards goes back to their service (CDS Hooks 2.0, "Feedback"): in batches, again until it
// is taken, and over to the next page of this tab.

import { Trouble } from "./ehr.js";
import { sendFeedback } from "./service.js";

const KEPT = "feedback";
const GATHER_MS = 800;
const FIRST_RETRY_MS = 2_000;
const LAST_RETRY_MS = 60_000;
const MAX_ITEMS = 100;

let waiting = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
let pause = FIRST_RETRY_MS;
let timer = null;
let underWay = [];
let listener = () => {};

/** `told` hears, in words, how it stands with the feedback. */
export function startFeedback(told) {
  listener = told;
  if (waiting.length) later(0);
  window.addEventListener("online", () => waiting.length && later(0));
}

export function accepted(serviceId, card, suggestion) {
  if (suggestion.uuid) add(serviceId, { ...about(card), outcome: "accepted", acceptedSuggestions: [{ id: suggestion.uuid }] });
}

/** reason: a Coding of the card's overrideReasons, or null. */
export function overridden(serviceId, card, reason, comment) {
  const because = { ...(reason ? { reason } : {}), ...(comment ? { userComment: comment } : {}) };
  add(serviceId, {
    ...about(card),
    outcome: "overridden",
    ...(Object.keys(because).length ? { overrideReason: because } : {}),
  });
}

function about(card) {
  return { card: card.uuid, outcomeTimestamp: new Date().toISOString() };
}

function add(serviceId, item) {
  if (!item.card) return; // a card without a uuid takes no feedback
  const same = waiting.find(
    (known) => known.item.card === item.card && item.outcome === "accepted" && known.item.outcome === "accepted",
  );
  if (same) same.item.acceptedSuggestions.push(...item.acceptedSuggestions);
  else waiting.push({ serviceId, item });
  keep();
  later(GATHER_MS);
}

function later(ms) {
  clearTimeout(timer);
  timer = setTimeout(send, ms);
}

function keep() {
  // What is under way too: told twice is stored once, lost is lost.
  sessionStorage.setItem(KEPT, JSON.stringify([...underWay, ...waiting]));
}

async function send() {
  if (underWay.length || !waiting.length) return;
  const serviceId = waiting[0].serviceId;
  // What is added meanwhile goes with the next batch: a batch under way is not changed.
  underWay = waiting.filter((known) => known.serviceId === serviceId).slice(0, MAX_ITEMS);
  waiting = waiting.filter((known) => !underWay.includes(known));
  const many = underWay.length === 1 ? "1 card" : `${underWay.length} cards`;
  try {
    await sendFeedback(serviceId, underWay.map((known) => known.item));
    pause = FIRST_RETRY_MS;
    listener(`Feedback sent: ${many}.`);
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    if (error.status === 400) {
      listener(`The service cannot use the feedback on ${many}; it is not sent again. ${error.message}`);
    } else {
      waiting = [...underWay, ...waiting];
      listener(`Feedback is kept and sent again in ${Math.round(pause / 1000)} s. ${error.message}`);
    }
  } finally {
    underWay = [];
    keep();
  }
  if (waiting.length) {
    later(pause);
    pause = Math.min(2 * pause, LAST_RETRY_MS);
  }
}
