// One host, closely. What gossip does not carry is asked of the node itself.

import { get, post } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { DASH, age, bytes, dateTime, millis, sizeOf } from "../lib/format.js";
import { badge, endpointLink, facts, link, meter, newsAge, nodeBadge, nodeWord, panel, progress, table, trouble, use } from "../lib/parts.js";
import { nodeByName, nodeNames, since } from "../lib/store.js";
import { eventFeed } from "./events.js";

const EVERY_MS = 5000;

export function node({ args: [name], update }) {
  let detail;
  let problem;
  let asking = false;

  async function look() {
    try {
      detail = await get(`/v1/nodes/${encodeURIComponent(nodeByName(name)?.id ?? name)}/detail`);
      problem = undefined;
    } catch (error) {
      detail = undefined;
      problem = error;
    }
    update();
  }

  async function drain(drain) {
    const words = drain ? `Drain ${name}? Its replicas move elsewhere and it gets no new ones.` : `Take ${name} back into use?`;
    if (!confirm(words)) return;
    asking = true;
    try {
      await post(`/v1/nodes/${encodeURIComponent(nodeByName(name).id)}/drain`, { drain });
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    asking = false;
    update();
  }

  look();
  const timer = setInterval(look, EVERY_MS);
  const feed = eventFeed({ query: `limit=50&about=node/${encodeURIComponent(name)}`, update });

  return {
    stop: () => {
      clearInterval(timer);
      feed.stop();
    },
    render: () => {
      const node = nodeByName(name);
      if (!node) return h("p", { class: "empty" }, `There is no node ${name} (any more).`);
      const draining = node.departure?.reason === "drain";
      return [
        h("div", { class: "head" }, link("#/nodes", "Nodes"), h("h1", {}, node.name), nodeBadge(node), h("span", { class: "grow" }),
          nodeWord(node) !== "gone" && h("button", { type: "button", disabled: asking, on: { click: () => drain(!draining) } }, draining ? "Undrain" : "Drain…")),
        trouble(problem),
        h("div", { class: "columns even" }, about(node), machine(node)),
        gpus(node, detail),
        replicas(node),
        detail && links(detail),
        detail?.models.length > 0 && models(detail.models),
        feed.render(undefined, "Events"),
      ];
    },
  };
}

function about(node) {
  const { labels } = node.facts;
  const { cluster, cloud, region, zone, capacityType, price, ...others } = labels;
  return panel("Where it stands", facts([
    ["Cluster", cluster], cloud && ["Cloud", cloud], region && ["Region", region], ["Zone", zone], ["Capacity", capacityType],
    price !== undefined && ["Price", `$${price.toFixed(2)} per GPU-hour`],
    ...Object.entries(others),
    node.departure && ["Leaves", `${node.departure.reason}${node.departure.deadline ? ` by ${dateTime(node.departure.deadline)}` : ""}${node.departure.detail ? `: ${node.departure.detail}` : ""}`],
    ["Said something new", newsAge(node)], ["Round trip", millis(node.rttMs)],
  ]));
}

const machine = ({ id, facts: { version, host, engines, started, addresses, ingress, issuer } }) =>
  panel("What it is", facts([
    ["Version", version], ["Daemon since", dateTime(started)], ["Host", `${host.cpus} CPUs, ${host.memory}`], ["System", host.os],
    ["Engines", engines.join(", ")], ["Mesh address", addresses.join(", ")], ["Ingress", ingress ?? "loopback only"], ["Issuer", issuer ? "yes" : "no"], ["Id", h("span", { class: "mono" }, id)],
  ]));

function gpus(node, detail) {
  const close = new Map((detail?.gpus ?? []).map((gpu) => [gpu.id, gpu]));
  const holders = new Map(node.replicas.map((replica) => [JSON.stringify(replica.claim), replica.name]));
  const rows = node.gpus.map((gpu) => {
    const { power, powerLimit, throttle, eccUncorrected } = close.get(gpu.id) ?? {};
    const [used, all] = [sizeOf(gpu.memoryUsed), sizeOf(gpu.memory)];
    const kind = use(gpu);
    const holder = kind === "replica" ? holders.get(JSON.stringify(gpu.usedBy.replica)) ?? "a replica" : kind === "foreign" ? gpu.usedBy.foreign : kind;
    return [
      h("span", { class: "mono" }, gpu.id), gpu.mig ?? gpu.name, holder,
      used === undefined ? gpu.memory : h("span", { class: "row" }, meter(used / all), `${bytes(used)} / ${bytes(all)}`),
      gpu.utilization === undefined ? DASH : `${gpu.utilization}%`, gpu.temperature === undefined ? DASH : `${gpu.temperature} °C`,
      power ? `${Math.round(power / 1000)} / ${Math.round((powerLimit ?? 0) / 1000)} W` : DASH,
      eccUncorrected ?? DASH, throttle?.length ? throttle.join(", ") : DASH,
      gpu.fault ? badge("failed", `${gpu.fault.action}: ${gpu.fault.reason}`) : DASH,
    ];
  });
  const columns = [["GPU"], ["Kind", "opt"], ["Held by"], ["Memory"], ["Busy", "r"], ["Temp", "r"], ["Power", "r opt"], ["ECC", "r opt"], ["Throttled", "opt"], ["Fault", "wrap"]];
  const made = node.facts.gpuSource === "simulated" ? " (simulated: there is no such hardware)" : "";
  return panel(`GPUs${made}`, table(columns, rows, "None."));
}

function replicas(node) {
  const rows = node.replicas.map((replica) => [
    replica.name, endpointLink(replica.endpoint), h("span", { class: "row" }, badge(replica.state), replica.progress && progress(replica.progress)),
    age(replica.sinceMs + since()), replica.gpus, replica.load?.inflight ?? DASH, replica.leaving ?? replica.reason ?? "",
  ]);
  return panel("Replicas", table([["Name"], ["Endpoint"], ["State"], ["For", "r"], ["GPUs", "r"], ["In flight", "r"], ["Why", "wrap"]], rows, "None."));
}

function links(detail) {
  const names = nodeNames();
  const rows = detail.links.map((one) => [names.get(one.node) ?? one.node, millis(one.rttMs)]);
  return panel("Connections, as this node measures them", table([["To"], ["Round trip", "r"]], rows, "None at this moment."));
}

const models = (all) =>
  panel("Models on its disk", table([["Model"], ["Revision", "opt"], ["Complete"]], all.map(({ model, revision, complete }) => [model, revision, complete ? "yes" : "in part"])));
