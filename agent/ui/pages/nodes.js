// Which hosts there are, and how they and their GPUs are.

import { h } from "../lib/dom.js";
import { DASH, millis } from "../lib/format.js";
import { gpuLegend, gpuStrip, newsAge, nodeBadge, nodeLink, nodeWord, panel, table } from "../lib/parts.js";
import { nodes as known } from "../lib/store.js";

const COLUMNS = [["Name"], ["State"], ["Cluster / zone"], ["Capacity", "opt"], ["GPUs"], ["Hottest", "r"], ["Free", "r"], ["Replicas", "r"], ["RTT", "r opt"], ["Said", "r"], ["Version", "opt"]];

export function nodes({ update }) {
  let filter = "";
  const matches = ({ name, facts }) => {
    const { cluster, zone, cloud, region } = facts.labels;
    return [name, cluster, zone, cloud, region].some((text) => text?.toLowerCase().includes(filter.toLowerCase()));
  };
  const typed = (event) => {
    filter = event.target.value;
    update();
  };

  return {
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Nodes"), h("span", { class: "grow" }),
        h("input", { type: "search", "data-filter": true, placeholder: "Filter by name or place  /", "aria-label": "Filter", value: filter, on: { input: typed } })),
      panel(undefined, table(COLUMNS, known().filter(matches).map(row), "No node matches."), gpuLegend(),
        h("p", { class: "note" }, "All but this node's own came by gossip: “said” is when a node last said something new. One that has nothing to say is silent and well; one that is not heard of is marked gone.")),
      ill(),
    ],
  };
}

function row(node) {
  const { labels } = node.facts;
  const hottest = Math.max(...node.gpus.map((gpu) => gpu.temperature ?? -1));
  const price = labels.price === undefined ? "" : `, $${labels.price.toFixed(2)}`;
  return {
    key: node.id,
    class: nodeWord(node) === "gone" || node.liveness === "left" ? "gone" : undefined,
    cells: [
      nodeLink(node.name), nodeBadge(node), `${labels.cluster} / ${labels.zone ?? DASH}`, `${labels.capacityType}${price}`, gpuStrip(node),
      hottest >= 0 ? `${hottest} °C` : DASH, node.gpusFree, node.replicas.filter((replica) => replica.state !== "failed").length,
      millis(node.rttMs), newsAge(node), node.facts.version,
    ],
  };
}

function ill() {
  const rows = known().flatMap((node) => node.gpus.filter((gpu) => gpu.fault).map((gpu) => [nodeLink(node.name), h("span", { class: "mono" }, gpu.id), gpu.fault.action, gpu.fault.reason]));
  return rows.length > 0 && panel("GPUs that are ill", table([["Node"], ["GPU"], ["What is done"], ["Why", "wrap"]], rows));
}
