// The study page. Without it the page is complete but for changing anything.

import { api, find } from "./page.js";
import { enlarge, startCloseup } from "./closeup.js";
import { startGallery } from "./gallery.js";
import { startSigning } from "./signing.js";
import { showInImage, startViewer } from "./viewer.js";

startGallery({ enlarge });
startCloseup({ showInImage });
startViewer({ enlarge });
startSigning();
find("#print").addEventListener("click", () => window.print());

// Whose smear it is, from the FHIR server; the page does not wait for it. Told once the report is written.
async function tellWhose(pause) {
  const answer = await fetch(`${api}/patient`, { headers: { Accept: "application/json" } }).catch(() => null);
  const patient = answer?.ok ? await answer.json().catch(() => null) : null;
  if (patient?.name) {
    find("#patient-name").textContent = patient.name;
    find("#patient-birth").textContent = patient.birth_date ? `*${patient.birth_date}` : "";
  } else if (patient?.soon && pause < 60000) setTimeout(() => tellWhose(2 * pause), pause);
}
tellWhose(2000);
