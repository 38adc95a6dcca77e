"use strict";

/* Asks the endpoint about a picture, as any client does, and says in words what went wrong. */

const ACCEPT = "application/json;format=objects";
const DECLARED = new Set(["image/jpeg", "image/png"]);

const TITLES = new Map([
  [400, "The endpoint cannot read this file as a picture"],
  [413, "This file is too large for the endpoint"],
  [429, "The endpoint has too much to do now"],
  [500, "The endpoint failed"],
  [502, "The endpoint cannot be reached behind its proxy"],
  [503, "The endpoint cannot answer now"],
  [504, "The endpoint did not answer in time"],
]);
const PASSING = new Set([429, 502, 503, 504]);

/* What went wrong, for a reader; `answer` is the text that came, and `passing` says to try again. */
class Failure extends Error {
  constructor(title, { what = "", hint = "", answer = "", passing = false } = {}) {
    super(title);
    Object.assign(this, { what, hint, answer, passing });
  }
}

/*
 * The answer to a picture: its predictions, its text, the milliseconds until it was here, and the
 * stages that the endpoint tells of. Throws Failure, or AbortError when `signal` says so.
 */
async function ask(picture, signal) {
  // What the bytes are decides; types that the endpoint does not list would only be refused.
  const type = DECLARED.has(picture.type) ? picture.type : "application/octet-stream";
  const start = performance.now();
  let response, text;
  try {
    const headers = { "Content-Type": type, Accept: ACCEPT };
    response = await fetch("invocations", { method: "POST", headers, body: picture, signal });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The endpoint does not answer", {
      what: "It may have stopped, the connection may be lost, or the file cannot be read any more.",
      passing: true,
    });
  }
  const milliseconds = performance.now() - start;
  if (!response.ok) throw refusal(response, text);
  return { predictions: predictionsIn(text), text, milliseconds, stages: stagesOf(response.headers.get("Server-Timing")) };
}

function refusal(response, text) {
  const said = parsed(text);
  const passing = PASSING.has(response.status);
  const title = TITLES.get(response.status) ?? `The endpoint answers with an error, HTTP ${response.status}`;
  if (typeof said?.error !== "string") {
    // Not the endpoint's own words but, say, a proxy's page.
    return new Failure(title, { what: `HTTP ${response.status} ${response.statusText}`.trim() + ".", passing });
  }
  const hint = typeof said.hint === "string" ? said.hint : "";
  return new Failure(title, { what: sentence(said.error), hint, answer: text, passing });
}

function predictionsIn(text) {
  const found = parsed(text)?.predictions;
  if (!Array.isArray(found) || !found.every(isPrediction)) {
    throw new Failure("The answer is not one that this page understands", { answer: text });
  }
  return found.toSorted((one, other) => other.score - one.score);
}

function isPrediction(one) {
  return Number.isInteger(one?.class_id) && typeof one.class_name === "string" && Number.isFinite(one.score)
    && Array.isArray(one.bbox) && one.bbox.length === 4 && one.bbox.every(Number.isFinite);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
