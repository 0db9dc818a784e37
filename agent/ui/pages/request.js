// Why one request went where it did.

import { get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { DASH, dateTime, micros } from "../lib/format.js";
import { endpointLink, facts, link, panel, table, trouble } from "../lib/parts.js";
import { went } from "./requests.js";

export function request({ args: [id], update }) {
  let [found, problem] = [];
  get(`/v1/requests/${encodeURIComponent(id)}/why`)
    .then((answer) => (found = answer), (error) => (problem = error))
    .finally(update);

  return {
    render: () => [
      h("div", { class: "head" }, link("#/requests", "Requests"), h("h1", { class: "mono" }, id)),
      trouble(problem),
      !found && !problem && h("p", { class: "empty" }, "Asking all nodes…"),
      found?.requests.map((one) => [about(one, found.names), one.decisions.map((made, index) => decision(made, index, one, found.names))]),
    ],
  };
}

function about(one, names) {
  const { tokens } = one;
  return h("div", { class: "columns even" },
    panel("What was asked", facts([
      ["Came to", names[one.ingress] ?? one.ingress], ["From", one.client], ["When", dateTime(one.arrived)], ["Path", h("span", { class: "mono" }, one.path)],
      ["Endpoint", one.endpoint ? endpointLink(one.endpoint) : DASH], one.model && ["As", one.model], one.key && ["Key", h("span", { class: "mono" }, one.key)], ["Stream", one.stream ? "yes" : "no"],
    ])),
    panel("What came of it", facts([
      ["Result", went(one)], ["Waited", micros(one.queuedUs)], ["First byte", micros(one.firstByteUs)], ["First token", micros(one.firstTokenUs)], ["Took", micros(one.tookUs)],
      ["Tokens", `${tokens.input} in, ${tokens.cached} of them cached; ${tokens.output} out${tokens.exact ? "" : " (estimated)"}`], ["Resumed", one.resumes],
    ])));
}

function decision(made, index, one, names) {
  const chosen = made.considered[made.chosen];
  const name = (claim) => {
    // NODE.GENERATION.COUNTER
    const [node] = claim.split(".");
    return names[node] ?? node.slice(0, 8);
  };
  const rows = made.considered.map((replica) => [
    replica === chosen ? h("b", {}, "chosen") : "", name(replica.claim), replica.local ? "this node" : "", replica.own,
    replica.load === null || replica.load === undefined ? "?" : `${replica.load}${replica.loadAgeUs ? ` (${micros(replica.loadAgeUs)} ago)` : ""}`,
    micros(replica.costUs), [replica.suspect && "failed a moment ago", replica.tried && "tried before"].filter(Boolean).join(", "),
  ]);
  const came = made.failed ? `It gave no answer (${made.failed.reason}): ${made.failed.error}` : made.endedUs === undefined ? "Nothing came of it." : `Its answer began after ${micros(made.endedUs)}.`;
  return panel(`Choice ${index + 1} of ${one.decisions.length}, after ${micros(made.afterUs)}`,
    h("p", {}, chosen ? `Chose ${name(chosen.claim)} in ${micros(made.tookUs)}: ${made.why || "the only one"}. ${came}` : "There was nobody to choose."),
    table([[""], ["Node"], ["Where"], ["From here", "r"], ["Load", "r"], ["Cost", "r"], ["Note", "wrap"]], rows, "No replica was there."),
    made.more > 0 && h("p", { class: "note" }, `${made.more} more were there.`));
}
