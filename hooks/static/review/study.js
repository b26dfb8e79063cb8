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

// Whose smear it is, from the FHIR server; the page does not wait for it.
fetch(`${api}/patient`, { headers: { Accept: "application/json" } })
  .then((answer) => (answer.ok ? answer.json() : null))
  .then((patient) => {
    if (!patient?.name) return;
    find("#patient-name").textContent = patient.name;
    find("#patient-birth").textContent = patient.birth_date ? `*${patient.birth_date}` : "";
  })
  .catch(() => {});
