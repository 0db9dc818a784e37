// The frame around the pages: who is signed in, which page is open, what is heard of the mesh.

import * as api from "./lib/api.js";
import { measure } from "./lib/chart.js";
import { h, morph } from "./lib/dom.js";
import { age, plural } from "./lib/format.js";
import { badge, nodeWord } from "./lib/parts.js";
import { changed, nodes, since, state, takeHistory, takeStatus, watch } from "./lib/store.js";
import { endpoint } from "./pages/endpoint.js";
import { endpoints } from "./pages/endpoints.js";
import { events } from "./pages/events.js";
import { keys } from "./pages/keys.js";
import { login } from "./pages/login.js";
import { node } from "./pages/node.js";
import { nodes as nodeList } from "./pages/nodes.js";
import { overview } from "./pages/overview.js";
import { playground } from "./pages/playground.js";
import { request } from "./pages/request.js";
import { requests } from "./pages/requests.js";
import { topology } from "./pages/topology.js";

// Path, title, key after `g`, the page, the page of one thing.
const PAGES = [
  ["", "Overview", "o", overview],
  ["topology", "Topology", "t", topology],
  ["nodes", "Nodes", "n", nodeList, node],
  ["endpoints", "Endpoints", "e", endpoints, endpoint],
  ["requests", "Requests", "r", requests, request],
  ["keys", "Keys and usage", "k", keys],
  ["events", "Events", "v", events],
  ["playground", "Playground", "p", playground],
];
const FOR_KEYS = ["playground", "keys"];
const THEME = "shoal.theme";
/** A status that is older than this is not live any more. */
const STALE_MS = 12_000;

const app = document.getElementById("app");
let page;
let route = [];
let listening;
let drawing = false;

const allowed = () => PAGES.filter(([path]) => state.role !== "key" || FOR_KEYS.includes(path));

function open() {
  route = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  page?.stop?.();
  page = undefined;
  if (!state.role) {
    page = login({ update: changed, entered: enter });
  } else {
    const [path, , , list, one] = allowed().find(([path]) => path === route[0]) ?? allowed()[0];
    route = path === route[0] ? route : [path];
    page = (route[1] && one ? one : list)({ args: route.slice(1), update: changed });
  }
  changed();
  window.scrollTo(0, 0);
}

function enter(role) {
  state.role = role;
  if (role === "admin") {
    listening = new AbortController();
    api.live({ signal: listening.signal, onEvent: hear, onLost: lose });
  }
  open();
}

function leave() {
  listening?.abort();
  api.forget();
  Object.assign(state, { role: undefined, status: undefined, connected: false, problem: undefined });
  state.history.clear();
  open();
}

function hear(name, data) {
  if (name === "status") takeStatus(data);
  if (name === "history") takeHistory(data);
}

function lose(problem) {
  if (problem.status === 403) return leave();
  Object.assign(state, { connected: false, problem });
  changed();
}

/** How the mesh is, in a sentence. */
function health() {
  const problems = state.status.problems.length;
  if (problems > 0) return badge("failed", `${plural(problems, "thing")} to look at`);
  return badge("ready", "healthy");
}

function freshness() {
  const old = since();
  if (!state.connected || old > STALE_MS) return h("span", { class: "badge bad", role: "status" }, `not live: from ${age(old)} ago`);
  const there = nodes().filter((node) => nodeWord(node) !== "gone" && node.liveness !== "left").length;
  return h("span", { class: "dim" }, `live, ${there} of ${plural(nodes().length, "node")} heard`);
}

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" || (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  setTheme(dark ? "light" : "dark");
  localStorage.setItem(THEME, dark ? "light" : "dark");
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function header() {
  const { status } = state;
  return h("header", { class: "top" },
    h("a", { class: "brand", href: "#/" }, "shoal"),
    status && h("span", { class: "where" }, "seen from ", h("b", {}, status.node)),
    status && health(),
    status && freshness(),
    h("span", { class: "grow" }),
    h("button", { type: "button", title: "Light or dark", "aria-label": "Light or dark", on: { click: toggleTheme } }, "◐"),
    h("button", { type: "button", on: { click: leave } }, "Sign out"));
}

const navigation = () =>
  h("nav", { "aria-label": "Pages" }, allowed().map(([path, title, key]) =>
    h("a", { href: `#/${path}`, "aria-current": path === route[0] ? "page" : undefined, title: `g ${key}` }, title)));

function body() {
  if (state.role === "admin" && !state.status) {
    return h("p", { class: "empty" }, state.problem ? `${state.problem.message}; trying again.` : "Asking this node…");
  }
  return page.render();
}

function draw() {
  drawing = false;
  const next = state.role
    ? h("div", { id: "app" }, h("a", { class: "skip", href: "#main", on: { click: skip } }, "Skip to the page"), header(), navigation(), h("main", { id: "main", tabindex: -1, "data-key": route.join("/") }, body()))
    : h("div", { id: "app" }, page.render());
  morph(app, next);
  measure(app);
  const title = PAGES.find(([path]) => path === route[0])?.[1];
  document.title = state.role && title ? `${title} · shoal` : "shoal";
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

// `/` goes to the filter, `g` and a letter to a page.
let pending = false;
function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
  if (pending) {
    pending = false;
    const target = allowed().find(([, , key]) => key === event.key);
    if (target) location.hash = `#/${target[0]}`;
  } else if (event.key === "g") {
    pending = true;
    setTimeout(() => (pending = false), 1500);
  } else if (event.key === "/") {
    event.preventDefault();
    document.querySelector("[data-filter]")?.focus();
  }
}

watch(() => {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(draw);
});
setTheme(localStorage.getItem(THEME));
addEventListener("hashchange", open);
addEventListener("keydown", press);
// Ages go on while nothing comes.
setInterval(changed, 1000);

const known = api.secret();
if (known) enter(api.isKey(known) ? "key" : "admin");
else open();
