// The chart's page: `patient-view` when it opens.

import { offerUsers } from "./ehr.js";
import { startFeedback } from "./feedback.js";
import { Guidance } from "./guidance.js";

const reports = document.getElementById("reports");

// The card comes from the store, the report by way of the FHIR server: a little later.
const LOOKS_MS = [0, 2_500, 10_000];
let looks = [];

function lookForReports() {
  looks.forEach(clearTimeout);
  looks = LOOKS_MS.map((ms) => setTimeout(refreshReports, ms));
}

async function refreshReports() {
  const answer = await fetch(reports.dataset.address);
  if (answer.ok) {
    // A part of this very page, made and escaped by the EHR's own server.
    reports.innerHTML = await answer.text();
  }
}

offerUsers();
startFeedback((words) => (document.getElementById("feedback-status").textContent = words));
await new Guidance({ onAnswer: lookForReports }).ask("patient-view");
