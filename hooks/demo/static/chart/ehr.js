// What this page knows of its EHR, and what it asks of the EHR's own server (hooks/demo/desk.py).

export const ehr = JSON.parse(document.getElementById("ehr").textContent);

const USER = "user";

/** What went wrong, in words for a clinician. `kind`: "unreachable", "refused", "failed" or "malformed"; `status`: of HTTP. */
export class Trouble extends Error {
  constructor(kind, words, { status = null, retryAfterSeconds = null } = {}) {
    super(words);
    this.kind = kind;
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

async function ask(path, content = {}) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Chart-Token": ehr.csrf },
      body: JSON.stringify(content),
    });
  } catch {
    throw new Trouble("unreachable", "This hospital's own server cannot be reached.");
  }
  if (!answer.ok) throw new Trouble("failed", `This hospital's own server answered ${answer.status}.`);
  return answer.json();
}

/** A JWT for one call of that endpoint of the service. The key that signs it is not in this page. */
export async function jwt(endpoint) {
  return (await ask("/ehr/jwt", { aud: endpoint })).token;
}

let lent = null;

/** fhirAuthorization of a hook, and what this page itself uses at the FHIR server. */
export async function fhirAccess() {
  if (!lent || Date.now() > lent.until) {
    const access = await ask("/ehr/access");
    lent = { access, until: Date.now() + 1000 * (access.expires_in - 60) };
  }
  return lent.access;
}

/** Handle with which the app of a smart link is launched, for whoever sits here and for this patient. */
export async function launchHandle(appContext) {
  const [, person] = user().split("/");
  return (await ask("/ehr/launch", { person, patient: ehr.patient, appContext })).launch;
}

/** HTML of Markdown texts, in which every HTML that they held is text. */
export async function markdown(texts) {
  return texts.length ? (await ask("/ehr/markdown", { texts })).html : [];
}

/** Reference of who looks at the chart. */
export function user() {
  const known = sessionStorage.getItem(USER);
  return `Practitioner/${known in ehr.people ? known : Object.keys(ehr.people)[0]}`;
}

/** Let somebody else sit down at this page; everything is asked anew, for them. */
export function offerUsers() {
  const choice = document.getElementById("user");
  choice.value = user().split("/")[1];
  choice.addEventListener("change", () => {
    sessionStorage.setItem(USER, choice.value);
    location.reload();
  });
}
