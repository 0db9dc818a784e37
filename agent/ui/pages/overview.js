// Is all well, how is it used, and how do I use it.

import { lineChart } from "../lib/chart.js";
import { h } from "../lib/dom.js";
import { count, millis, percent, plural } from "../lib/format.js";
import { badge, choice, counted, endpointLink, meter, missingNote, nodeWord, panel, span, table, trouble, use } from "../lib/parts.js";
import { lastMinute, quantile, rates, requests, traffic, values } from "../lib/series.js";
import { endpoints, nodes, state } from "../lib/store.js";

const KINDS = [["curl", "curl"], ["python", "Python"], ["javascript", "JavaScript"]];

export function overview({ update }) {
  let kind = "curl";
  let copied = false;

  async function copy(text) {
    await navigator.clipboard.writeText(text);
    copied = true;
    update();
    setTimeout(() => {
      copied = false;
      update();
    }, 1500);
  }

  function urlCard() {
    const name = endpoints()[0]?.metadata.name ?? "ENDPOINT";
    const text = example(kind, `${state.status.ingress}/v1`, name, state.status.keyNeeded);
    const choose = (value) => {
      kind = value;
      update();
    };
    return panel("One URL for every endpoint",
      h("div", { class: "row spread" }, h("b", { class: "mono" }, `${state.status.ingress}/v1`), choice("Language", KINDS, kind, choose)),
      h("pre", { class: "below", tabindex: 0 }, text),
      h("div", { class: "row below" },
        navigator.clipboard && h("button", { type: "button", on: { click: () => copy(text) } }, copied ? "Copied" : "Copy"),
        h("span", { class: "dim" }, "Any node answers for every endpoint. ", state.status.keyNeeded ? "A key is needed: shoal key create NAME." : "No key is needed here.")));
  }

  return {
    render: () => [
      h("div", { class: "head" }, h("h1", {}, sentence()), h("span", { class: "grow" }), span()),
      problems(),
      tiles(),
      charts(),
      h("div", { class: "wide-narrow" }, h("div", { class: "columns" }, zones(), serving()), urlCard()),
      missingNote(state.missing),
      trouble(state.problem),
    ],
  };
}

function sentence() {
  const there = nodes().filter((node) => node.liveness !== "left");
  const gone = there.filter((node) => nodeWord(node) === "gone").length;
  const ready = endpoints().filter((one) => ["ready", "idle"].includes(one.status.health)).length;
  const hosts = gone === 0 ? `${plural(there.length, "node")}, all there` : `${gone} of ${plural(there.length, "node")} gone`;
  const all = endpoints().length;
  const services = all === 0 ? "no endpoint yet" : ready === all ? `${plural(all, "endpoint")}, all served` : `${ready} of ${plural(all, "endpoint")} fully served`;
  return `${hosts}; ${services}.`;
}

const problems = () =>
  state.status.problems.length > 0 && h("ul", { class: "problems panel" }, state.status.problems.map((problem) => h("li", {}, problem)));

const tile = (name, value, more) => h("div", { class: "tile" }, h("span", {}, name), h("b", {}, value), h("span", {}, more ?? "\u00a0"));

function tiles() {
  const now = lastMinute();
  const gpus = nodes().filter((node) => nodeWord(node) !== "gone").flatMap(counted);
  const taken = gpus.filter((gpu) => use(gpu) !== "free").length;
  const free = nodes().filter((node) => nodeWord(node) === "alive").reduce((sum, node) => sum + node.gpusFree, 0);
  return h("div", { class: "tiles", "aria-label": "The last minute" },
    tile("Requests per second", count(now.requests), "last minute"),
    tile("First token, median", millis(now.p50), `95 % within ${millis(now.p95)}`),
    tile("Output tokens per second", count(now.output), `input ${count(now.input)}`),
    tile("Failed", percent(now.failed), `refused ${percent(now.refused)}`),
    tile("Running", count(now.inflight), `waiting ${count(now.held)}`),
    tile("GPUs used", `${taken} / ${gpus.length}`, `${free} free to place on`));
}

function charts() {
  const data = traffic();
  const { bars } = data;
  const times = (share) => values(data, (bar) => quantile(bar.ttft, share));
  return h("div", { class: "charts" },
    lineChart({ id: "requests", title: "Requests per second", bars, format: count, lines: [{ label: "all", tone: "one", values: rates(data, requests) }] }),
    lineChart({ id: "ttft", title: "Time to first token", bars, format: millis, lines: [{ label: "p50", tone: "one", values: times(0.5) }, { label: "p95", tone: "two", values: times(0.95) }] }),
    lineChart({ id: "tokens", title: "Tokens per second", bars, format: count, lines: [{ label: "output", tone: "one", values: rates(data, (bar) => bar.output) }, { label: "input", tone: "four", values: rates(data, (bar) => bar.input) }] }),
    lineChart({ id: "errors", title: "Requests that went wrong, per second", bars, format: count, lines: [{ label: "failed", tone: "three", values: rates(data, (bar) => bar.failed) }, { label: "refused", tone: "two", values: rates(data, (bar) => bar.refused) }, { label: "given up", tone: "four", values: rates(data, (bar) => bar.cancelled) }] }));
}

function zones() {
  const places = new Map();
  for (const node of nodes().filter((one) => nodeWord(one) !== "gone" && one.liveness !== "left")) {
    const { cluster, zone } = node.facts.labels;
    const name = `${cluster}\n${zone ?? ""}`;
    const place = places.get(name) ?? { cluster, zone, nodes: 0, gpus: 0, taken: 0, free: 0 };
    place.nodes += 1;
    place.gpus += counted(node).length;
    place.taken += counted(node).filter((gpu) => use(gpu) !== "free").length;
    place.free += nodeWord(node) === "alive" ? node.gpusFree : 0;
    places.set(name, place);
  }
  const rows = [...places].sort().map(([, place]) => [
    place.cluster, place.zone ?? "–", place.nodes, h("span", { class: "row" }, meter(place.gpus ? place.taken / place.gpus : 0), `${place.taken} / ${place.gpus}`), place.free,
  ]);
  return panel("GPUs by zone", table([["Cluster"], ["Zone"], ["Nodes", "r"], ["Used"], ["Free", "r"]], rows, "No node."));
}

function serving() {
  const rows = endpoints().map(({ metadata, status }) => {
    const now = lastMinute(metadata.name);
    return [endpointLink(metadata.name), badge(status.health), `${status.ready} / ${status.desired}`, count(now.requests), millis(now.p95)];
  });
  return panel("Endpoints", table([["Name"], ["State"], ["Ready", "r"], ["Req/s", "r"], ["TTFT p95", "r"]], rows, "None yet: shoal apply -f endpoint.yaml, or Endpoints, New."));
}

function example(kind, url, model, keyNeeded) {
  if (kind === "python") {
    return `from openai import OpenAI

client = OpenAI(base_url="${url}", api_key="${keyNeeded ? "sk-shoal-…" : "none"}")
stream = client.chat.completions.create(
    model="${model}", stream=True,
    messages=[{"role": "user", "content": "Hello"}])
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="")`;
  }
  if (kind === "javascript") {
    return `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${url}", apiKey: "${keyNeeded ? "sk-shoal-…" : "none"}" });
const stream = await client.chat.completions.create({
  model: "${model}", stream: true,
  messages: [{ role: "user", content: "Hello" }] });
for await (const chunk of stream)
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");`;
  }
  const key = keyNeeded ? "  -H \"authorization: Bearer $SHOAL_KEY\" \\\n" : "";
  return `curl -N ${url}/chat/completions \\
  -H 'content-type: application/json' \\
${key}  -d '{"model": "${model}", "stream": true,
       "messages": [{"role": "user", "content": "Hello"}]}'`;
}
