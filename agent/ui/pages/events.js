// What happened, to whom, why, and who did it, as all nodes tell it.

import { get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { clock, dateTime } from "../lib/format.js";
import { badge, choice, endpointLink, link, missingNote, nodeLink, panel, table, trouble } from "../lib/parts.js";

const EVERY_MS = 3000;
/** How far back each further question goes: clocks differ, and nodes answer late. */
const OVERLAP_MS = 60_000;
/** Events that are kept. */
const MOST = 500;
const COLUMNS = [["When"], ["What"], ["About"], ["Who"], ["Told", "wrap"], ["Told by", "opt"]];

/** Events, asked for again and again until it is stopped; but for the first time only for the latest ones. */
export function eventFeed({ query, update }) {
  let [answer, problem] = [undefined, undefined];

  async function look() {
    try {
      const newest = answer?.events.at(-1)?.at;
      const news = await get(`/v1/events?${query}${newest === undefined ? "" : `&since=${newest - OVERLAP_MS}`}`);
      const events = new Map([...(answer?.events ?? []), ...news.events].map((event) => [`${event.node} ${event.number}`, event]));
      answer = { missing: news.missing, events: [...events.values()].sort((a, b) => a.at - b.at).slice(-MOST) };
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    update();
  }

  look();
  const timer = setInterval(look, EVERY_MS);
  return {
    stop: () => clearInterval(timer),
    render: (wanted = () => true, title = undefined) => [
      trouble(problem),
      panel(title,
        answer ? table(COLUMNS, answer.events.filter(wanted).reverse().map(row), answer.events.length > 0 ? "None matches." : "Nothing happened in the last day.") : h("p", { class: "empty" }, "Asking all nodes…"),
        missingNote(answer?.missing)),
    ],
  };
}

export function events({ update }) {
  const feed = eventFeed({ query: "limit=500", update });
  let [filter, which] = ["", "all"];
  const set = (change) => (value) => {
    change(value);
    update();
  };
  const wanted = ({ reason, about, actor, message, level }) =>
    (which === "all" || level === "warning") && `${reason} ${about} ${actor} ${message}`.toLowerCase().includes(filter.toLowerCase());
  return {
    stop: feed.stop,
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Events"), h("span", { class: "grow" }),
        choice("Which", [["all", "All"], ["warnings", "Warnings"]], which, set((value) => (which = value))),
        h("input", { type: "search", "data-filter": true, placeholder: "Filter by what, about, who  /", "aria-label": "Filter", value: filter, on: { input: (event) => set((value) => (filter = value))(event.target.value) } })),
      feed.render(wanted),
      h("p", { class: "note" }, "The newest 500 of the last day. Each node keeps its own: those of one that is gone are missing until it is back."),
    ],
  };
}

function row({ number, node, also, at, level, reason, about, endpoint, actor, message }) {
  const seen = 1 + (also?.length ?? 0);
  return {
    key: `${node} ${number}`,
    cells: [
      h("span", { title: dateTime(at) }, clock(at)), badge(level === "warning" ? "failed" : "idle", reason), subject(about, endpoint), actor,
      message.split("\n")[0], seen > 1 ? h("span", { title: [node, ...also].join(", ") }, `${node} and ${seen - 1} more`) : node,
    ],
  };
}

function subject(about, endpoint) {
  const [kind, name] = about.split(/\/(.*)/);
  if (kind === "node") return nodeLink(name);
  if (kind === "endpoint") return endpointLink(name);
  if (kind === "replica" && endpoint) return link(`#/endpoints/${encodeURIComponent(endpoint)}`, name);
  return about;
}
