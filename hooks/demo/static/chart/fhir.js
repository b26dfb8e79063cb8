// The hospital's FHIR server as the chart uses it: prefetch for hooks, and the orders.

import { ehr, fhirAccess, Trouble, user } from "./ehr.js";

const SUGGESTION = "urn:leukocds:demo:suggestion";

async function exchange(method, path, content = null, headers = {}) {
  const { access_token: token } = await fhirAccess();
  let answer;
  try {
    answer = await fetch(`${ehr.fhir}/${path}`, {
      method,
      headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/fhir+json", ...headers },
      body: content ? JSON.stringify(content) : undefined,
    });
  } catch {
    throw new Trouble("unreachable", "The hospital's FHIR server cannot be reached.");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    throw new Trouble("failed", `The FHIR server answered ${answer.status}. ${said.issue?.[0]?.diagnostics ?? ""}`);
  }
  return said;
}

/** What the templates of a service ask for (CDS Hooks 2.0, "Prefetch Template"); what cannot be had is left out. */
export async function prefetch(service, context) {
  const found = await Promise.all(
    Object.entries(service.prefetch ?? {}).map(async ([key, template]) => {
      const query = template.replace(/\{\{context\.(\w+)\}\}/g, (_, name) => encodeURIComponent(context[name] ?? ""));
      try {
        return [key, await exchange("GET", query)];
      } catch (error) {
        if (!(error instanceof Trouble)) throw error;
        console.warn(`prefetch of ${key} left out`);
        return null;
      }
    }),
  );
  return Object.fromEntries(found.filter(Boolean));
}

/** The patient's ServiceRequests of those states. */
export async function orders(...states) {
  const bundle = await exchange("GET", `ServiceRequest?patient=${ehr.patient}&status=${states.join(",")}`);
  return (bundle.entry ?? []).map((entry) => entry.resource);
}

export async function draft(coding) {
  return exchange("POST", "ServiceRequest", {
    resourceType: "ServiceRequest",
    status: "draft",
    intent: "order",
    code: { coding: [coding], text: coding.display },
    subject: { reference: `Patient/${ehr.patient}` },
    requester: { reference: user() },
    authoredOn: new Date().toISOString(),
  });
}

export async function update(resource) {
  return exchange("PUT", `${resource.resourceType}/${resource.id}`, resource);
}

/**
 * Carry out an action (CDS Hooks 2.0, "Action"); gives what is stored now. The same suggestion never makes a second
 * draft: its uuid goes along as an identifier, and the create is conditional on it.
 */
export async function carryOut(action, suggestion = null) {
  const resource = action.resource;
  if (action.type === "update" && resource?.id) return update(resource);
  if (action.type !== "create" || !resource?.resourceType) {
    throw new Trouble("failed", `This chart does not carry out an action of the type "${action.type}".`);
  }
  if (!suggestion?.uuid || resource.resourceType !== "ServiceRequest") {
    return exchange("POST", resource.resourceType, resource);
  }
  const identifier = [...(resource.identifier ?? []), { system: SUGGESTION, value: suggestion.uuid }];
  const marked = { ...resource, identifier, requester: { reference: user() }, authoredOn: new Date().toISOString() };
  const once = `identifier=${SUGGESTION}|${suggestion.uuid}&status=draft`;
  return exchange("POST", "ServiceRequest", marked, { "If-None-Exist": once });
}

/** What an order asks for, in words. */
export function ordered(order) {
  return order.code?.text ?? order.code?.coding?.[0]?.display ?? `${order.resourceType}/${order.id}`;
}
