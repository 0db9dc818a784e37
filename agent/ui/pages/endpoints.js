// Which services there are, whether they are served, and how busy they are.

import { h } from "../lib/dom.js";
import { DASH, count, millis, percent } from "../lib/format.js";
import { badge, endpointLink, link, panel, progress, table } from "../lib/parts.js";
import { lastMinute } from "../lib/series.js";
import { endpoints as known } from "../lib/store.js";

const COLUMNS = [["Name"], ["State"], ["Ready", "r"], ["On its way"], ["Model", "opt"], ["Engine", "opt"], ["Req/s", "r"], ["TTFT p95", "r"], ["Running", "r"], ["Waiting", "r"], ["KV cache", "r"], ["Failed", "r opt"]];

export function endpoints({ update }) {
  let filter = "";
  const typed = (event) => {
    filter = event.target.value;
    update();
  };
  const matches = ({ metadata, spec }) => `${metadata.name} ${spec.model}`.toLowerCase().includes(filter.toLowerCase());

  return {
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Endpoints"), h("span", { class: "grow" }),
        h("input", { type: "search", "data-filter": true, placeholder: "Filter by name or model  /", "aria-label": "Filter", value: filter, on: { input: typed } }),
        link("#/endpoints//new", "New…")),
      panel(undefined, table(COLUMNS, known().filter(matches).map(row), known().length > 0 ? "None matches." : "None yet."),
        h("p", { class: "note" }, "Traffic is of the last minute, over all nodes that answered.")),
    ],
  };
}

/** The fullest KV cache among replicas, as far as heard. */
const kv = (replicas) => {
  const heard = replicas.map(({ load }) => load?.kvCache).filter((value) => value !== undefined);
  return heard.length > 0 ? `${Math.max(...heard)}%` : DASH;
};

function row({ metadata, spec, status }) {
  const now = lastMinute(metadata.name);
  const coming = status.replicas.find((replica) => replica.progress) ?? status.replicas.find((replica) => !["ready", "failed", "asleep"].includes(replica.state));
  return {
    key: metadata.name,
    cells: [
      endpointLink(metadata.name), badge(status.health), `${status.ready} / ${status.desired}`,
      coming ? h("span", { class: "row" }, badge(coming.state), coming.progress && progress(coming.progress)) : DASH,
      spec.model, spec.engine?.kind ?? DASH, count(now.requests), millis(now.p95), count(now.inflight), count(now.held), kv(status.replicas), percent(now.failed),
    ],
  };
}
