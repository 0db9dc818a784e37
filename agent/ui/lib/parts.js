// What several pages are made of.

import { h } from "./dom.js";
import { DASH, age, bytes, sizeOf } from "./format.js";
import { changed, since, state } from "./store.js";

const TONES = {
  alive: "good", ready: "good", finished: "good", idle: "quiet", asleep: "quiet", left: "quiet", claimed: "busy", preparing: "busy",
  starting: "busy", loading: "busy", warming: "busy", progressing: "busy", draining: "warn", leaving: "warn", paused: "warn",
  cancelled: "quiet", backoff: "bad", failed: "bad", suspect: "bad", gone: "bad", unplaceable: "bad", "rolled-back": "bad", broken: "bad",
};

/** A word for a state, with a dot that says whether it is good. */
export const badge = (word, text = word.replace("-", " ")) => h("span", { class: `badge ${TONES[word] ?? "quiet"}` }, text);

/** How a node is, in a word: whether it is heard of comes before what it said last. */
export function nodeWord(node) {
  if (node.liveness === "left") return "left";
  if (node.liveness !== "alive") return "gone";
  if (!node.departure) return "alive";
  return node.departure.reason === "drain" ? "draining" : "leaving";
}

/** How long a node that is not heard of has been silent, in milliseconds. */
export const silentFor = (node) => Date.now() - (node.liveness.suspect?.since ?? Date.now());

export function nodeBadge(node) {
  const word = nodeWord(node);
  return badge(word, word === "gone" ? `gone for ${age(silentFor(node))}` : word);
}

/** Age of what a node said last, as of now. It came by gossip: it is as old as that, at least. */
export const newsAge = (node) => (node.name === state.status.node ? "own" : `${age(node.ageMs + since())} ago`);

export const newsAgeOf = (name) => {
  const node = state.status.nodes.find((one) => one.name === name);
  return node ? newsAge(node) : DASH;
};

/** GPUs of whole devices and slices that count: a divided one is counted by its slices. */
export const counted = (node) => node.gpus.filter((gpu) => use(gpu) !== "partitioned");

/** `free`, `replica`, `foreign`, `partitioned`, `unknown`. */
export const use = (gpu) => (typeof gpu.usedBy === "string" ? gpu.usedBy : Object.keys(gpu.usedBy)[0]);

const gpuTone = (gpu) => (gpu.fault ? "ill" : use(gpu));

/** One small box for each GPU, filled as far as its memory is, coloured by who has it. */
export function gpuStrip(node) {
  const box = (gpu) => {
    const [used, all] = [sizeOf(gpu.memoryUsed), sizeOf(gpu.memory)];
    const share = used !== undefined && all ? used / all : undefined;
    const parts = [gpu.fault ? `${gpu.fault.action}: ${gpu.fault.reason}` : use(gpu)];
    if (gpu.utilization !== undefined) parts.push(`${gpu.utilization}% busy`);
    if (share !== undefined) parts.push(`${bytes(used)} of ${bytes(all)}`);
    if (gpu.temperature !== undefined) parts.push(`${gpu.temperature} °C`);
    const fill = share !== undefined && h("i", { css: { height: `${Math.round(share * 100)}%` } });
    return h("span", { class: `gpu ${gpuTone(gpu)}`, title: parts.join(", ") }, fill);
  };
  const gpus = counted(node);
  if (gpus.length === 0) return h("span", { class: "dim" }, "no GPU");
  const taken = gpus.filter((gpu) => use(gpu) !== "free").length;
  return h("span", { class: "gpus", role: "img", "aria-label": `${taken} of ${gpus.length} GPUs in use` }, gpus.map(box));
}

/** What the boxes mean. */
export const gpuLegend = () =>
  h("p", { class: "legend" }, [["replica", "a replica's"], ["free", "free"], ["foreign", "somebody else's"], ["ill", "ill"], ["unknown", "not known"]].map(
    ([tone, text]) => h("span", { class: "key" }, h("span", { class: `gpu ${tone}` }), text)));

/** How far a phase has come. */
export function progress({ done, total, unit }) {
  const share = total > 0 ? Math.min(1, done / total) : 0;
  const text = unit === "bytes" ? `${bytes(done)} of ${bytes(total)}` : unit === "shards" ? `${done} of ${total} shards` : `${done}%`;
  return h("span", { class: "progress" }, h("progress", { max: 1, value: share, "aria-label": text }), h("span", { class: "num" }, text));
}

/** A part of two amounts as a bar. */
export const meter = (share, tone = "") =>
  h("span", { class: `meter ${tone}`, "aria-hidden": "true" }, h("i", { css: { width: `${Math.round(Math.max(0, Math.min(1, share ?? 0)) * 100)}%` } }));

/** Columns of `[title, class]`, rows of cells. On a narrow screen those of class `opt` are left out. */
export function table(columns, rows, empty = "Nothing here.") {
  if (rows.length === 0) return h("p", { class: "empty" }, empty);
  const cell = (content, index) => h("td", { class: columns[index][1] }, content);
  const row = (cells) => (Array.isArray(cells) ? h("tr", {}, cells.map(cell)) : h("tr", { class: cells.class, "data-key": cells.key }, cells.cells.map(cell)));
  return h("div", { class: "scroll", tabindex: 0 },
    h("table", {},
      h("thead", {}, h("tr", {}, columns.map(([title, kind]) => h("th", { class: kind, scope: "col" }, title)))),
      h("tbody", {}, rows.map(row))));
}

/** Names and values, one below the other. */
export const facts = (pairs) => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? DASH)]));

/** What went wrong, and what to do about it. */
export const trouble = (problem) =>
  problem && h("p", { class: "trouble", role: "alert" }, problem.message, problem.hint && h("span", { class: "hint" }, problem.hint));

export const panel = (title, ...content) => h("section", { class: "panel" }, title && h("h2", {}, title), content);

/** Choices of which one is made. */
export const choice = (label, options, chosen, choose) =>
  h("div", { class: "choice", role: "group", "aria-label": label }, options.map(([value, text]) =>
    h("button", { type: "button", "aria-pressed": String(value === chosen), on: { click: () => choose(value) } }, text)));

/** Over which time charts go. */
export const span = () =>
  choice("Time that charts show", [[5, "5 min"], [15, "15 min"], [60, "1 h"]], state.minutes, (minutes) => {
    state.minutes = minutes;
    changed();
  });

export const link = (href, text, props) => h("a", { href, ...props }, text);
export const nodeLink = (name) => link(`#/nodes/${encodeURIComponent(name)}`, name);
export const endpointLink = (name) => link(`#/endpoints/${encodeURIComponent(name)}`, name);

/** Nodes that did not say their part. */
export const missingNote = (missing) =>
  missing?.length > 0 && h("p", { class: "note" }, `Without ${missing.map(({ node }) => node).join(", ")}: `, missing[0].reason, ".");
