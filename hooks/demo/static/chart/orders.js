// The order page: `order-select` when a draft is chosen, `order-sign` before the drafts are signed.

import { offerUsers, Trouble } from "./ehr.js";
import { draft, ordered, orders, update } from "./fhir.js";
import { startFeedback } from "./feedback.js";
import { Guidance } from "./guidance.js";
import { element } from "./dom.js";

const place = (id) => document.getElementById(id);
const guidance = new Guidance({ onDraft: () => settled(refresh) });
let drafts = [];

/** draftOrders as the order hooks have them. */
function draftOrders() {
  return {
    resourceType: "Bundle",
    type: "collection",
    entry: drafts.map((resource) => ({ resource })),
  };
}

async function refresh() {
  const all = await orders("draft", "active");
  drafts = all.filter((order) => order.status === "draft");
  list(place("drafts"), drafts, "No drafts.", removal);
  list(place("signed"), all.filter((order) => order.status === "active"), "None.");
  place("review").disabled = !drafts.length;
  review(false);
}

function list(where, held, empty, extra = () => null) {
  const items = held.map((order) =>
    element(
      "li",
      {},
      element("span", {}, ordered(order), element("span", { class: "faint" }, [order.priority, `ServiceRequest/${order.id}`].filter(Boolean).join(" · "))),
      extra(order),
    ),
  );
  where.replaceChildren(...(items.length ? items : [element("li", { class: "faint" }, empty)]));
}

function removal(order) {
  const remove = () =>
    settled(async () => {
      await update({ ...order, status: "revoked" });
      await refresh();
      tell(`Removed: ${ordered(order)}.`);
      place("code").focus();
    });
  return element("button", { type: "button", class: "quiet", "aria-label": `Remove ${ordered(order)}`, onclick: remove }, "Remove");
}

/** Whether the drafts are being looked at before they are signed. */
function review(on) {
  place("review").hidden = on;
  place("sign").hidden = place("back").hidden = !on;
  place("sign").textContent = drafts.length === 1 ? "Sign 1 order" : `Sign ${drafts.length} orders`;
}

function tell(words) {
  place("orders-status").textContent = words;
}

/** Does it; what goes wrong at the FHIR server is told where the orders are. */
async function settled(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    tell(error.message);
  }
}

place("new-order").addEventListener("submit", (event) => {
  event.preventDefault();
  settled(async () => {
    const option = place("code").selectedOptions[0];
    const made = await draft({ system: option.dataset.system, code: option.value, display: option.textContent });
    await refresh();
    tell(`Drafted: ${ordered(made)}.`);
    await guidance.ask("order-select", {
      selections: [`ServiceRequest/${made.id}`],
      draftOrders: draftOrders(),
    });
  });
});

place("review").addEventListener("click", async () => {
  review(true);
  place("sign").focus();
  // Whatever the service answers, or does not: whether to sign is the clinician's to decide.
  await guidance.ask("order-sign", { draftOrders: draftOrders() });
});

place("back").addEventListener("click", () => {
  review(false);
  place("review").focus();
});

place("sign").addEventListener("click", () =>
  settled(async () => {
    const signed = drafts.length;
    for (const order of drafts) await update({ ...order, status: "active", intent: "order" });
    await refresh();
    tell(signed === 1 ? "1 order signed." : `${signed} orders signed.`);
    place("code").focus();
  }),
);

offerUsers();
startFeedback((words) => (place("feedback-status").textContent = words));
place("guidance-status").textContent = "Decision support is asked when an order is chosen, and before signing.";
await settled(refresh);
