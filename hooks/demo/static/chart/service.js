// The CDS service as a client meets it (CDS Hooks 2.0): discovery, hooks, feedback, and what can go wrong in words.

import { ehr, jwt, Trouble } from "./ehr.js";

const PATIENCE_MS = 12_000;
const SERVICES = `${ehr.service}/cds-services`;

let discovered = null;

/** The services under that hook; discovery is asked once for each page. */
export async function servicesUnder(hook) {
  discovered ??= exchange(SERVICES).then((document) => {
    if (!Array.isArray(document.services)) throw malformed("its discovery holds no list of services");
    return document.services;
  });
  try {
    return (await discovered).filter((service) => service.hook === hook);
  } catch (error) {
    discovered = null;
    throw error;
  }
}

/** `{cards, systemActions}` of one hook. Raises Trouble; an outage is never an empty list. */
export async function call(service, request) {
  const answer = await exchange(`${SERVICES}/${encodeURIComponent(service.id)}`, request);
  if (!Array.isArray(answer.cards)) throw malformed("its answer holds no list of cards");
  if (!answer.cards.every((card) => card && typeof card.summary === "string" && card.source)) {
    throw malformed("a card of its answer lacks its summary or source");
  }
  return { cards: answer.cards, systemActions: answer.systemActions ?? [] };
}

export async function sendFeedback(serviceId, items) {
  await exchange(`${SERVICES}/${encodeURIComponent(serviceId)}/feedback`, { feedback: items });
}

async function exchange(url, content = null) {
  const headers = { Authorization: `Bearer ${await jwt(url)}` };
  if (content) headers["Content-Type"] = "application/json";
  let answer;
  let text;
  try {
    answer = await fetch(url, {
      method: content ? "POST" : "GET",
      headers,
      body: content ? JSON.stringify(content) : undefined,
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    text = await answer.text();
  } catch (error) {
    const words =
      error.name === "TimeoutError"
        ? `It did not answer within ${PATIENCE_MS / 1000} s.`
        : "It cannot be reached, or does not let this page call it.";
    throw new Trouble("unreachable", words);
  }
  const said = parsed(text);
  if (!answer.ok) throw refusal(answer, said);
  if (typeof said !== "object" || said === null) throw malformed("its answer is not JSON");
  return said;
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}

function refusal(answer, said) {
  const issues = said?.resourceType === "OperationOutcome" && Array.isArray(said.issue) ? said.issue : [];
  const told = issues.map((issue) => issue.diagnostics ?? issue.details?.text ?? "").filter(Boolean).join(" ");
  const details = { status: answer.status, retryAfterSeconds: Number(answer.headers.get("Retry-After")) || null };
  if (answer.status === 401) {
    return new Trouble("refused", "It does not accept who this hospital says it is (401): its key, or the clock, is not what it knows.", details);
  }
  const kind =
    {
      400: "It does not understand what it was sent (400).",
      403: "It does not allow this hospital to ask (403).",
      404: "It does not know what was asked (404).",
      412: "It lacks data that it needs (412).",
      429: "It is asked too often (429).",
      503: "It is out of order for the moment (503).",
    }[answer.status] ?? (answer.status >= 500 ? `It failed (${answer.status}).` : `It refused (${answer.status}).`);
  return new Trouble("failed", told ? `${kind} It says: ${told}` : kind, details);
}

function malformed(why) {
  return new Trouble("malformed", `It does not answer as CDS Hooks has it: ${why}.`);
}
