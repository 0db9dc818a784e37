// Where nodes stand, and how far they are from each other, as each of them measures it.

import { get } from "../lib/api.js";
import { h, s } from "../lib/dom.js";
import { DASH, millis } from "../lib/format.js";
import { counted, nodeWord, panel, use } from "../lib/parts.js";
import { nodes as known } from "../lib/store.js";

const EVERY_MS = 5000;
/** Nodes that are asked for their connections, and shown one by one in the matrix. */
const NODES_MAX = 32;
/** Beyond so many nodes, lines between all of them hide more than they show. */
const EDGES_MAX = 12;
const LIMITS = [2, 10, 50, 150];
const WORDS = ["below 2 ms", "below 10 ms", "below 50 ms", "below 150 ms", "150 ms and more"];
const HOST = { width: 148, height: 50, gap: 34 };
const PAD = 14;
const HEAD = 22;

const tone = (rtt) => `rtt${LIMITS.filter((limit) => rtt >= limit).length}`;

export function topology({ update }) {
  /** Round trips by `from` and `to`, both ids. */
  let links = new Map();
  let running = true;

  async function look() {
    const asked = known().filter((node) => nodeWord(node) !== "gone" && node.liveness !== "left").slice(0, NODES_MAX);
    const answers = await Promise.allSettled(asked.map((node) => get(`/v1/nodes/${node.id}/detail`)));
    if (!running) return;
    links = new Map();
    answers.forEach(({ value }, index) => links.set(asked[index].id, new Map((value?.links ?? []).map((link) => [link.node, link.rttMs]))));
    update();
  }

  look();
  const timer = setInterval(look, EVERY_MS);
  return {
    stop: () => {
      running = false;
      clearInterval(timer);
    },
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Topology")),
      panel("Clusters, zones and nodes", map(links), h("p", { class: "legend below" }, WORDS.map((word, index) => h("span", { class: "key" }, h("span", { class: `gpu rtt${index}` }), word)))),
      panel("Round trips", matrix(links), h("p", { class: "note" }, `Row: who measures; asked every ${EVERY_MS / 1000} s. A connection that carries nothing may be closed: then there is nothing to measure.`)),
    ],
  };
}

function clusters() {
  const all = new Map();
  for (const node of known()) {
    const { cluster, zone } = node.facts.labels;
    const zones = all.get(cluster) ?? new Map();
    zones.set(zone ?? DASH, [...(zones.get(zone ?? DASH) ?? []), node]);
    all.set(cluster, zones);
  }
  return [...all].sort(([a], [b]) => a.localeCompare(b));
}

function map(links) {
  const [places, shapes] = [new Map(), []];
  const zoneWidth = HOST.width + 2 * PAD;
  const width = Math.max(320, Math.min(document.documentElement.clientWidth - 60, 1080));
  let [left, top, lowest] = [0, 0, 0];
  for (const [cluster, zones] of clusters()) {
    const across = zones.size * (zoneWidth + PAD) + PAD;
    const tall = Math.max(...[...zones.values()].map((nodes) => nodes.length)) * (HOST.height + HOST.gap) - HOST.gap + 2 * HEAD + 2 * PAD + 8;
    if (left > 0 && left + across > width) [left, top] = [0, lowest + 28];
    shapes.push(s("rect", { x: left + 1, y: top + 1, width: across, height: tall, rx: 6, class: "cluster" }), s("text", { x: left + PAD, y: top + 19 }, cluster));
    [...zones].sort().forEach(([zone, nodes], column) => {
      const x = left + PAD + column * (zoneWidth + PAD);
      shapes.push(s("rect", { x, y: top + HEAD + 8, width: zoneWidth, height: tall - HEAD - PAD - 8, rx: 4, class: "zone" }), s("text", { x: x + 10, y: top + HEAD + 24, class: "quiet" }, zone));
      nodes.forEach((node, row) => places.set(node.id, { node, x: x + PAD, y: top + 2 * HEAD + 10 + row * (HOST.height + HOST.gap) }));
    });
    lowest = Math.max(lowest, top + tall);
    left += across + 90;
  }
  const right = Math.max(320, ...[...places.values()].map(({ x }) => x + HOST.width + 2 * PAD + 4));
  const edges = places.size <= EDGES_MAX ? pairs(links, places).map(edge) : [];
  return h("div", { class: "scroll", tabindex: 0 },
    s("svg", { class: "map", viewBox: `0 0 ${right} ${lowest + 4}`, css: { "max-width": `${right}px` }, role: "img", "aria-label": "Nodes by cluster and zone" },
      shapes, edges, [...places.values()].map(host), edges.map((_, index) => label(pairs(links, places)[index]))));
}

/** Each pair of nodes once, with what either has measured. */
function pairs(links, places) {
  const all = [...places.keys()];
  return all.flatMap((from, index) => all.slice(index + 1).flatMap((to) => {
    const rtt = links.get(from)?.get(to) ?? links.get(to)?.get(from);
    return rtt === undefined ? [] : [{ rtt, ...ends(places.get(from), places.get(to)) }];
  }));
}

/** Where a line leaves one host and reaches the other: at their sides if they stand beside each other. */
function ends(a, b) {
  const [first, second] = a.x <= b.x ? [a, b] : [b, a];
  const middle = (place) => place.y + HOST.height / 2;
  if (second.x - first.x > HOST.width) return { x1: first.x + HOST.width, y1: middle(first), x2: second.x, y2: middle(second) };
  const [upper, lower] = a.y <= b.y ? [a, b] : [b, a];
  const neighbours = lower.y - upper.y <= HOST.height + HOST.gap;
  const x = upper.x + HOST.width / 2;
  return neighbours
    ? { x1: x, y1: upper.y + HOST.height, x2: lower.x + HOST.width / 2, y2: lower.y }
    : { x1: upper.x + HOST.width, y1: middle(upper), x2: lower.x + HOST.width, y2: middle(lower), bow: 26 };
}

function edge({ rtt, x1, y1, x2, y2, bow }) {
  const path = bow ? `M${x1} ${y1} C${x1 + bow} ${y1} ${x2 + bow} ${y2} ${x2} ${y2}` : `M${x1} ${y1} L${x2} ${y2}`;
  return s("path", { d: path, class: `edge ${tone(rtt)}` });
}

const label = ({ rtt, x1, y1, x2, y2, bow }) =>
  s("text", { x: (x1 + x2) / 2 + (bow ?? 0), y: (y1 + y2) / 2 + 3, "text-anchor": "middle", class: "ms" }, millis(rtt));

function host({ node, x, y }) {
  const gpus = counted(node);
  const side = Math.min(12, (HOST.width - 16) / Math.max(1, gpus.length) - 2);
  const slots = gpus.map((gpu, index) => s("rect", { x: x + 8 + index * (side + 2), y: y + 28, width: side, height: 13, rx: 1.5, class: `slot ${gpu.fault ? "ill" : use(gpu)}` }));
  const word = nodeWord(node);
  return s("a", { href: `#/nodes/${encodeURIComponent(node.name)}`, "data-key": node.id, "aria-label": `${node.name}, ${word}` },
    s("rect", { x, y, width: HOST.width, height: HOST.height, rx: 4, class: `host ${word}` }),
    s("text", { x: x + 8, y: y + 18 }, node.name), s("text", { x: x + HOST.width - 8, y: y + 18, "text-anchor": "end", class: "quiet" }, word), slots);
}

function matrix(links) {
  const shown = known().filter((node) => node.liveness !== "left").slice(0, NODES_MAX);
  const cell = (from, to) => {
    if (from.id === to.id) return h("td", { class: "dim" }, "·");
    const rtt = links.get(from.id)?.get(to.id);
    return h("td", { class: rtt === undefined ? "dim" : tone(rtt) }, rtt === undefined ? DASH : millis(rtt));
  };
  const rest = known().length - shown.length;
  return h("div", { class: "scroll", tabindex: 0 },
    h("table", { class: "matrix" },
      h("thead", {}, h("tr", {}, h("th", {}), shown.map((node) => h("th", { scope: "col" }, node.name)))),
      h("tbody", {}, shown.map((from) => h("tr", {}, h("th", { scope: "row" }, from.name), shown.map((to) => cell(from, to)))))),
    rest > 0 && h("p", { class: "note" }, `${rest} more nodes are not shown.`));
}
