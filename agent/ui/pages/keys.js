// Who may ask, within which limits, and what was used.

import { get, remove, post } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { count, dateTime } from "../lib/format.js";
import { badge, choice, meter, missingNote, panel, table, trouble } from "../lib/parts.js";
import { state } from "../lib/store.js";

const EVERY_MS = 10_000;

export function keys({ update }) {
  let [known, report, problem, days, name, made] = [undefined, undefined, undefined, 7, "", undefined];

  async function look() {
    try {
      [known, report] = state.role === "key"
        ? [undefined, await get(`/ui/v1/key-usage?days=${days}`)]
        : await Promise.all([get("/v1/keys"), get(`/v1/key-usage?days=${days}`)]);
      problem = undefined;
    } catch (error) {
      problem = error;
    }
    update();
  }

  async function change(doing) {
    try {
      await doing();
      await look();
    } catch (error) {
      problem = error;
      update();
    }
  }

  const create = (event) => {
    event.preventDefault();
    change(async () => {
      made = await post("/v1/keys", { name: name.trim() });
      name = "";
    });
  };
  const revoke = (key) => confirm(`Revoke ${key.name}? That cannot be undone.`) && change(() => remove(`/v1/keys/${key.id}`));

  look();
  const timer = setInterval(look, EVERY_MS);
  return {
    stop: () => clearInterval(timer),
    render: () => [
      h("div", { class: "head" }, h("h1", {}, state.role === "key" ? "What this key has used" : "Keys and usage"), h("span", { class: "grow" }),
        choice("Days", [[1, "Today"], [7, "7 days"], [30, "30 days"]], days, (value) => {
          days = value;
          look();
        })),
      trouble(problem),
      report && usage(report),
      known && panel("Keys",
        table([["Name"], ["State"], ["Endpoints"], ["Limits"], ["Priority", "opt"], ["Weight", "r opt"], ["Made", "opt"], ["Id", "opt"], [""]], known.map((key) => row(key, revoke)), "None yet."),
        made && h("p", { class: "trouble made", role: "status" }, h("b", {}, `${made.name}: `), h("code", {}, made.key), h("span", { class: "hint" }, "It is shown this once. ", h("button", { type: "button", on: { click: () => { made = undefined; update(); } } }, "Hide"))),
        h("form", { class: "row below", on: { submit: create } },
          h("input", { "aria-label": "Name of a new key", placeholder: "Name", required: true, value: name, on: { input: (event) => (name = event.target.value) } }),
          h("button", {}, "Create a key"), h("span", { class: "dim" }, "For limits: shoal key create --help"))),
    ],
  };
}

function row(key, revoke) {
  const { endpoints = [], requestsPerMinute, tokensPerMinute, tokensPerDay, concurrency, priority, weight } = key.grant;
  const limits = [[requestsPerMinute, "requests/min"], [tokensPerMinute, "tokens/min"], [tokensPerDay, "tokens/day"], [concurrency, "at once"]];
  const over = key.expires && key.expires < Date.now();
  const good = !key.revoked && !over;
  return [
    key.name, key.revoked ? badge("left", "revoked") : over ? badge("left", "expired") : badge("ready", key.expires ? `good until ${dateTime(key.expires)}` : "good"),
    endpoints.length > 0 ? endpoints.join(", ") : "all", limits.filter(([limit]) => limit).map(([limit, unit]) => `${count(limit)} ${unit}`).join(", ") || "none",
    priority ?? "normal", weight ?? 1, dateTime(key.created), h("span", { class: "mono" }, key.id), good && h("button", { type: "button", on: { click: () => revoke(key) } }, "Revoke…"),
  ];
}

function usage({ usage, missing }) {
  const sums = new Map();
  for (const { key, name, endpoint, requests = 0, prompt = 0, cached = 0, completion = 0 } of usage) {
    const id = `${key} ${endpoint}`;
    const sum = sums.get(id) ?? { name: name ?? key, endpoint, requests: 0, prompt: 0, cached: 0, completion: 0 };
    for (const [field, value] of Object.entries({ requests, prompt, cached, completion })) sum[field] += value;
    sums.set(id, sum);
  }
  const all = [...sums.values()].sort((a, b) => b.prompt + b.completion - a.prompt - a.completion);
  const most = Math.max(1, ...all.map((sum) => sum.prompt + sum.completion));
  const rows = all.map((sum) => [sum.name, sum.endpoint, count(sum.requests), count(sum.prompt), count(sum.cached), count(sum.completion), h("span", { class: "row" }, meter((sum.prompt + sum.completion) / most), count(sum.prompt + sum.completion))]);
  return panel("Used, by key and endpoint", table([["Key"], ["Endpoint"], ["Requests", "r"], ["Input tokens", "r"], ["Cached", "r opt"], ["Output tokens", "r"], ["All tokens"]], rows, "Nothing was asked with a key."), missingNote(missing));
}
