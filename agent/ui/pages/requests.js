// What clients have asked lately, at whichever node, and how it went.

import { get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { DASH, clock, micros } from "../lib/format.js";
import { badge, choice, endpointLink, link, missingNote, panel, table, trouble } from "../lib/parts.js";

const EVERY_MS = 3000;
const COLUMNS = [["When"], ["Request"], ["Endpoint"], ["Status"], ["Came to"], ["Served by"], ["Waited", "r opt"], ["First token", "r"], ["Took", "r"], ["Tokens in / out", "r"], ["Tries", "r opt"]];

export function requests({ update }) {
  let [answer, problem, filter, which, paused] = [undefined, undefined, "", "all", false];

  async function look() {
    if (paused) return;
    try {
      answer = await get("/v1/requests?limit=200");
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    update();
  }

  const set = (change) => (value) => {
    change(value);
    update();
  };
  const matches = ({ id, endpoint, key, error, status, outcome }) => {
    const wrong = outcome !== "finished" || status === null || status >= 400;
    return (which === "all" || wrong) && `${id} ${endpoint ?? ""} ${key ?? ""} ${error ?? ""} ${status}`.toLowerCase().includes(filter.toLowerCase());
  };

  look();
  const timer = setInterval(look, EVERY_MS);
  return {
    stop: () => clearInterval(timer),
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Requests"), h("span", { class: "grow" }),
        choice("Which", [["all", "All"], ["wrong", "Gone wrong"]], which, set((value) => (which = value))),
        h("button", { type: "button", "aria-pressed": String(paused), on: { click: () => set((value) => (paused = value))(!paused) } }, paused ? "Go on" : "Pause"),
        h("input", { type: "search", "data-filter": true, placeholder: "Filter by id, endpoint, key, error  /", "aria-label": "Filter", value: filter, on: { input: (event) => set((value) => (filter = value))(event.target.value) } })),
      trouble(problem),
      panel(undefined,
        answer ? table(COLUMNS, answer.requests.filter(matches).map((one) => row(one, answer.names)), answer.requests.length > 0 ? "None matches." : "No request in the last ten minutes.") : h("p", { class: "empty" }, "Asking all nodes…"),
        missingNote(answer?.missing),
        h("p", { class: "note" }, "The newest 200, once they have ended; each ingress remembers ten minutes. No prompts, no answers.")),
    ],
  };
}

/** How a request went, in a badge. */
export function went({ outcome, status, error }) {
  if (outcome === "cancelled") return badge("cancelled", "given up");
  if (outcome === "broken") return badge("broken", `${status ?? ""} broken off`);
  const good = status !== null && status < 400;
  return badge(good ? "finished" : "failed", error ? `${status} ${error}` : String(status ?? DASH));
}

function row(one, names) {
  const tries = one.resumes > 0 ? `${one.attempts}, ${one.resumes} resumed` : one.attempts;
  return {
    key: `${one.ingress} ${one.id} ${one.arrived}`,
    cells: [
      clock(one.arrived), link(`#/requests/${encodeURIComponent(one.id)}`, one.id.length > 14 ? `${one.id.slice(0, 12)}…` : one.id, { class: "mono", title: one.id }),
      one.endpoint ? endpointLink(one.endpoint) : DASH, went(one), names[one.ingress] ?? one.ingress.slice(0, 8), one.node ? names[one.node] ?? one.node.slice(0, 8) : DASH,
      micros(one.queuedUs), micros(one.firstTokenUs), micros(one.tookUs), `${one.tokens.exact ? "" : "~"}${one.tokens.input} / ${one.tokens.output}`, tries,
    ],
  };
}
