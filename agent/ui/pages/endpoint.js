// One service: its replicas, its latencies, why it stands as it does, its spec and its logs.

import { get, getText, pieces, post } from "../lib/api.js";
import { heatMap, lineChart } from "../lib/chart.js";
import { h } from "../lib/dom.js";
import { DASH, age, count, dateTime, millis, percent } from "../lib/format.js";
import { badge, facts, link, meter, newsAgeOf, nodeLink, panel, progress, span, table, trouble } from "../lib/parts.js";
import { quantile, rates, requests, traffic, values } from "../lib/series.js";
import { endpointByName, since } from "../lib/store.js";
import { eventFeed } from "./events.js";
import { spec } from "./spec.js";

const EVERY_MS = 5000;
/** Characters of a log that are kept. */
const LOG_MAX = 400_000;

const TABS = [["", "Replicas", replicas], ["latency", "Latency", latency], ["why", "Why", why], ["spec", "Spec", spec], ["events", "Events", happened], ["logs", "Logs", logs]];

export function endpoint({ args: [name, tab = ""], update }) {
  if (name === "" && tab === "new") return fresh(update);
  const [, , make] = TABS.find(([path]) => path === tab) ?? TABS[0];
  const view = make({ name, update });
  const tabs = h.bind(undefined, "div", { class: "tabs" });
  return {
    stop: () => view.stop?.(),
    render: () => {
      const known = endpointByName(name);
      if (!known) return h("p", { class: "empty" }, `There is no endpoint ${name} (any more).`);
      const { status } = known;
      return [
        h("div", { class: "head" }, link("#/endpoints", "Endpoints"), h("h1", {}, name), badge(status.health), h("b", {}, `${status.ready} of ${status.desired} ready`), h("span", { class: "grow" }), ["", "latency"].includes(tab) && span()),
        tabs(TABS.map(([path, title]) => h("a", { href: `#/endpoints/${encodeURIComponent(name)}${path && `/${path}`}`, "aria-current": path === tab ? "page" : undefined }, title))),
        view.render(known),
      ];
    },
  };
}

function fresh(update) {
  const view = spec({ update });
  return { render: () => [h("div", { class: "head" }, link("#/endpoints", "Endpoints"), h("h1", {}, "A new endpoint")), view.render()] };
}

/** Asks again every few seconds until it is stopped. */
function asking(ask, update) {
  const asked = { answer: undefined, problem: undefined };
  async function look() {
    try {
      Object.assign(asked, { answer: await ask(), problem: undefined });
    } catch (problem) {
      Object.assign(asked, { problem });
    }
    update();
  }
  look();
  const timer = setInterval(look, EVERY_MS);
  return { asked, look, stop: () => clearInterval(timer) };
}

function happened({ name, update }) {
  const feed = eventFeed({ query: `limit=200&about=endpoint/${encodeURIComponent(name)}`, update });
  return { stop: feed.stop, render: () => feed.render() };
}

function replicas({ name, update }) {
  const { asked, look, stop } = asking(() => get(`/v1/endpoints/${encodeURIComponent(name)}/rollout`), update);

  async function steer(action) {
    try {
      await post(`/v1/endpoints/${encodeURIComponent(name)}/rollout`, { action });
    } catch (problem) {
      asked.problem = problem;
    }
    look();
  }

  const row = (replica) => ({
    key: replica.name,
    class: replica.liveness === "alive" ? undefined : "gone",
    cells: [
      replica.name, replica.liveness === "alive" ? badge(replica.state) : badge("gone", `node gone, was ${replica.state}`),
      replica.progress ? progress(replica.progress) : DASH, age(replica.sinceMs + since()), nodeLink(replica.node), replica.zone ?? DASH,
      replica.load?.inflight ?? DASH, replica.load?.waiting ?? DASH,
      replica.load?.kvCache === undefined ? DASH : h("span", { class: "row" }, meter(replica.load.kvCache / 100), `${replica.load.kvCache}%`),
      newsAgeOf(replica.node), replica.leaving ?? replica.reason ?? "",
    ],
  });
  const columns = [["Replica"], ["State"], ["Progress"], ["For", "r"], ["Node"], ["Zone", "opt"], ["In flight", "r"], ["Queued", "r"], ["KV cache"], ["Heard", "r"], ["Why", "wrap"]];

  return {
    stop,
    render: ({ status, metadata }) => {
      const data = traffic(metadata.name);
      return [
        panel(undefined, table(columns, status.replicas.map(row), "None."), status.reason && h("p", { class: "note" }, `Why so many: ${status.reason}.`)),
        h("div", { class: "charts" },
          lineChart({ id: "endpoint-requests", title: "Requests per second", bars: data.bars, format: count, lines: [{ label: "all", tone: "one", values: rates(data, requests) }, { label: "failed", tone: "three", values: rates(data, (bar) => bar.failed) }] }),
          lineChart({ id: "endpoint-queue", title: "Requests at the same time", bars: data.bars, format: count, lines: [{ label: "running", tone: "one", values: values(data, (bar) => bar.inflight) }, { label: "waiting", tone: "two", values: values(data, (bar) => bar.held) }] })),
        rollout(asked, steer),
      ];
    },
  };
}

function rollout({ answer, problem }, steer) {
  if (!answer) return trouble(problem);
  const rows = answer.revisions.map((one) => [
    dateTime(one.revision.time), `${one.ready} / ${one.desired}`, `${one.weight}%`, one.requests, one.errorRate === undefined ? DASH : percent(one.errorRate), one.ttftP95 ?? DASH,
  ]);
  const paused = answer.phase === "paused";
  return panel("Rollout", h("div", { class: "row spread" },
    facts([["Phase", phase(answer)], ["Why", answer.reason || DASH]]),
    h("span", { class: "row" },
      h("button", { type: "button", on: { click: () => steer(paused ? "resume" : "pause") } }, paused ? "Resume" : "Pause"),
      h("button", { type: "button", on: { click: () => confirm("Go back to the revision before?") && steer("undo") } }, "Undo…"))),
  trouble(problem),
  table([["Revision of"], ["Ready", "r"], ["Share", "r"], ["Requests, 5 min", "r"], ["Failed", "r"], ["TTFT p95", "r"]], rows));
}

const PHASES = { complete: "complete", progressing: "progressing", paused: "paused", rolledBack: "rolled back" };
const phase = ({ phase, step, steps }) => `${PHASES[phase] ?? phase}${step === undefined ? "" : `, step ${step + 1} of ${steps}`}`;

function latency({ name }) {
  return {
    render: () => {
      const data = traffic(name);
      const times = (share) => values(data, (bar) => quantile(bar.ttft, share));
      return [
        heatMap({ id: "heat", title: "Time to first token of streams: the stronger, the more", bars: data.bars, format: millis }),
        h("div", { class: "charts" },
          lineChart({ id: "endpoint-ttft", title: "Time to first token", bars: data.bars, format: millis, lines: [{ label: "p50", tone: "one", values: times(0.5) }, { label: "p95", tone: "two", values: times(0.95) }, { label: "p99", tone: "three", values: times(0.99) }] }),
          lineChart({ id: "endpoint-tokens", title: "Tokens per second", bars: data.bars, format: count, lines: [{ label: "output", tone: "one", values: rates(data, (bar) => bar.output) }, { label: "input", tone: "four", values: rates(data, (bar) => bar.input) }] })),
      ];
    },
  };
}

function why({ name, update }) {
  const { asked, stop } = asking(() => getText(`/v1/endpoints/${encodeURIComponent(name)}/why`, "text/plain"), update);
  return {
    stop,
    render: () => panel("What placement thinks, now", trouble(asked.problem), asked.answer ? h("pre", { tabindex: 0 }, asked.answer) : h("p", { class: "empty" }, "Asking…"),
      h("p", { class: "note" }, "The same as `shoal why endpoint/", name, "`.")),
  };
}

function logs({ name, update }) {
  let [chosen, previous, follow, text, problem] = ["", false, true, "", undefined];
  let reading;

  async function read() {
    reading?.abort();
    const mine = new AbortController();
    reading = mine;
    [text, problem] = ["", undefined];
    update();
    try {
      const query = `tail=200&follow=${follow && !previous}&previous=${previous}`;
      for await (const piece of pieces(`/v1/replicas/${encodeURIComponent(chosen)}/logs?${query}`, { signal: mine.signal })) {
        text = (text + piece).slice(-LOG_MAX);
        update();
      }
    } catch (error) {
      if (mine.signal.aborted) return;
      problem = error;
    }
    update();
  }

  function choose(value) {
    chosen = value;
    read();
  }

  return {
    stop: () => reading?.abort(),
    render: ({ status }) => {
      const names = status.replicas.map((replica) => replica.name);
      if (!chosen && names.length > 0) queueMicrotask(() => choose(names[0]));
      const box = (label, checked, set) => h("label", {}, h("input", { type: "checkbox", checked, on: { change: (event) => { set(event.target.checked); read(); } } }), ` ${label}`);
      return panel(undefined,
        h("div", { class: "row" },
          h("select", { "aria-label": "Replica", value: chosen, on: { change: (event) => choose(event.target.value) } }, [...new Set([chosen, ...names])].filter(Boolean).map((one) => h("option", { value: one }, one))),
          box("follow", follow, (value) => (follow = value)), box("the launch before", previous, (value) => (previous = value)),
          h("span", { class: "dim" }, "the last 200 lines, and what comes")),
        trouble(problem),
        h("pre", { class: "log below", tabindex: 0, "aria-label": "Log" }, text || (problem ? "" : "No line yet.")));
    },
  };
}
