// The guidance of one page: hooks go out, cards come back, and a later answer of a service takes the place of its earlier
// one (CDS Hooks 2.0, "Update Stale Guidance"). An outage is told beside the cards that were there, never as "no cards".

import { ehr, fhirAccess, markdown, Trouble, user } from "./ehr.js";
import { carryOut, prefetch } from "./fhir.js";
import { call, servicesUnder } from "./service.js";
import { cardElement } from "./card.js";
import { element } from "./dom.js";

// Topics of cards that say "ask again": the smear waits, or is being read.
const UNDER_WAY = ["smear-queued", "smear-running"];
const FIRST_PAUSE_MS = 1_000;
const LAST_PAUSE_MS = 15_000;
const place = (id) => document.getElementById(id);

export class Guidance {
  #shown = new Map(); // service id to Map of card key to {json, node}
  #dismissed = new Set();
  #asked = 0;
  #pause = FIRST_PAUSE_MS;
  #timer = null;
  #last = null;
  #onAnswer;
  #onDraft;

  /** onAnswer: hears the cards of each answer. onDraft: called after a suggestion was drafted. */
  constructor({ onAnswer = () => {}, onDraft = () => {} } = {}) {
    this.#onAnswer = onAnswer;
    this.#onDraft = onDraft;
    place("ask-again").addEventListener("click", () => this.#last && this.ask(...this.#last));
  }

  /** Send the hook to every service under it. extra: its context besides user and patient. */
  async ask(hook, extra = {}) {
    this.#last = [hook, extra];
    this.#pause = FIRST_PAUSE_MS;
    await this.#send(hook, extra);
  }

  async #send(hook, extra) {
    clearTimeout(this.#timer);
    const number = ++this.#asked;
    const isLate = () => number !== this.#asked; // a newer hook is on its way
    if (this.#pause === FIRST_PAUSE_MS) {
      place("guidance-status").textContent = "Asking…";
      place("guidance-time").textContent = "";
    }
    const problems = [];
    const cards = [];
    try {
      const services = await servicesUnder(hook);
      if (!services.length) throw new Trouble("malformed", `It offers no service under ${hook}.`);
      for (const service of services) {
        try {
          const answer = await call(service, await this.#request(service, hook, extra));
          if (isLate()) return;
          await this.#replace(service.id, answer.cards, isLate);
          if (isLate()) return;
          await this.#carryOut(answer.systemActions);
          cards.push(...answer.cards);
        } catch (error) {
          if (!(error instanceof Trouble)) throw error;
          problems.push(error);
        }
      }
    } catch (error) {
      if (!(error instanceof Trouble)) throw error;
      problems.push(error);
    }
    if (isLate()) return;
    this.#tell(hook, problems);
    if (!problems.length) this.#onAnswer(cards);
    this.#again(hook, extra, problems, cards);
  }

  async #request(service, hook, extra) {
    const context = { userId: user(), patientId: ehr.patient, ...extra };
    return {
      hook,
      hookInstance: crypto.randomUUID(),
      context,
      fhirServer: ehr.fhir,
      fhirAuthorization: await fhirAccess(),
      prefetch: await prefetch(service, context),
    };
  }

  /** Cards that have not changed keep their place and whatever the user has begun in them. */
  async #replace(serviceId, cards, isLate) {
    const wanted = cards.filter((card) => !this.#dismissed.has(card.uuid));
    const before = this.#shown.get(serviceId) ?? new Map();
    const fresh = wanted.filter((card) => before.get(card.uuid)?.json !== JSON.stringify(card));
    const details = fresh.map((card) => card.detail ?? "");
    const html = await markdown(details).catch((error) => {
      if (!(error instanceof Trouble)) throw error;
      return details.map(() => null);
    });
    if (isLate()) return;
    const after = new Map();
    for (const card of wanted) {
      const number = fresh.indexOf(card);
      const known = before.get(card.uuid);
      const node = number < 0 ? known.node : this.#made(serviceId, card, html[number]);
      after.set(card.uuid ?? Symbol("no uuid"), { json: JSON.stringify(card), node, card });
    }
    this.#shown.set(serviceId, after);
    this.#show();
  }

  #made(serviceId, card, html) {
    return cardElement(serviceId, card, html, {
      changed: () => this.#onDraft(),
      dealtWith: (sentence) => {
        this.#dismissed.add(card.uuid);
        this.#shown.get(serviceId)?.delete(card.uuid);
        this.#show();
        place("done").append(element("p", { class: "dealt-with", tabindex: "-1" }, sentence));
        place("done").lastElementChild.focus();
      },
    });
  }

  #show() {
    const nodes = [...this.#shown.values()].flatMap((cards) => [...cards.values()].map(({ node }) => node));
    const list = place("cards");
    for (const child of [...list.children]) if (!nodes.includes(child)) child.remove();
    nodes.forEach((node, number) => {
      if (list.children[number] !== node) list.insertBefore(node, list.children[number] ?? null);
    });
  }

  async #carryOut(actions) {
    if (!actions.length) return;
    if (!ehr.systemActions) {
      this.#note("The service sent actions to carry out by itself. This hospital has not agreed to that: nothing was done.");
      return;
    }
    for (const action of actions) {
      try {
        const stored = await carryOut(action);
        this.#note(`Carried out without being asked, as agreed: ${action.description ?? action.type} (${stored.resourceType}/${stored.id})`);
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        this.#note(`Not carried out: ${action.description ?? action.type}. ${error.message}`);
      }
    }
  }

  #note(sentence) {
    place("done").append(element("p", { class: "dealt-with" }, sentence));
  }

  #tell(hook, problems) {
    const left = place("cards").children.length;
    const at = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    place("outage").replaceChildren(
      ...problems.map((problem) =>
        element(
          "div",
          { class: "outage", role: "alert" },
          element("strong", {}, "Decision support did not answer. "),
          `${problem.message} This is an outage, not a finding: it does not mean that there is nothing to say.`,
          left ? " The cards below are from an earlier answer and may be out of date." : "",
        ),
      ),
    );
    const status = problems.length
      ? "Not answered."
      : left
        ? `${left === 1 ? "1 card" : `${left} cards`}.`
        : "No cards: the service has answered, and has nothing more to say. What you have dealt with is not shown again.";
    // Read out only where it says something else than before; the time is for who looks.
    if (place("guidance-status").textContent !== status) place("guidance-status").textContent = status;
    place("guidance-time").textContent = `${at} (${hook})`;
  }

  /** While a smear is being read, and after an outage that may pass, the same hook is sent again; ever more seldom. */
  #again(hook, extra, problems, cards) {
    const passing = problems.some((problem) => problem.kind !== "refused");
    if (!passing && !cards.some((card) => UNDER_WAY.includes(card.source.topic?.code))) return;
    const told = Math.max(0, ...problems.map((problem) => problem.retryAfterSeconds ?? 0));
    this.#timer = setTimeout(() => this.#send(hook, extra), Math.max(this.#pause, 1000 * told));
    this.#pause = Math.min(1.5 * this.#pause, LAST_PAUSE_MS);
  }
}
