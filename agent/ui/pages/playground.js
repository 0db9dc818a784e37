// Trying an endpoint: how fast it answers, and which node does.

import { events, get } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { count, millis } from "../lib/format.js";
import { link, panel, trouble } from "../lib/parts.js";
import { nodeNames, state } from "../lib/store.js";

const KEY = "shoal.playgroundKey";

export function playground({ update }) {
  let [models, model, typed, most, problem] = [[], "", "", 256, undefined];
  let key = sessionStorage.getItem(KEY) ?? "";
  let turns = [];
  let running;
  const headers = () => (key ? { "x-api-key": key } : {});

  async function look() {
    try {
      models = (await get("/ui/v1/models", { headers: headers() })).data.map(({ id }) => id);
      problem = undefined;
      if (!models.includes(model)) [model = ""] = models;
    } catch (error) {
      problem = error;
    }
    update();
  }

  function setKey(event) {
    key = event.target.value.trim();
    sessionStorage.setItem(KEY, key);
    look();
  }

  async function send(event) {
    event?.preventDefault();
    if (running || !typed.trim()) return;
    running = new AbortController();
    const messages = [...turns.map(({ role, said }) => ({ role, content: said })), { role: "user", content: typed.trim() }];
    const answer = { role: "assistant", said: "", started: performance.now(), tokens: 0 };
    turns = [...turns, messages.at(-1) && { role: "user", said: typed.trim() }, answer];
    typed = "";
    problem = undefined;
    update();
    try {
      await read(answer, { model, messages, stream: true, max_tokens: most, stream_options: { include_usage: true } });
    } catch (error) {
      if (!running.signal.aborted) problem = error;
    }
    answer.ended = performance.now();
    running = undefined;
    update();
  }

  async function read(answer, body) {
    const onHead = ({ headers }) => Object.assign(answer, { node: headers.get("x-shoal-node"), id: headers.get("x-request-id") });
    const options = { method: "POST", headers: { "content-type": "application/json", ...headers() }, body: JSON.stringify(body), signal: running.signal, onHead };
    for await (const [, data] of events("/ui/v1/chat/completions", options)) {
      if (data === "[DONE]") break;
      const { choices, usage, error } = JSON.parse(data);
      if (error) throw Object.assign(new Error(error.message), error);
      const text = choices?.[0]?.delta?.content;
      if (text) {
        answer.first ??= performance.now();
        answer.said += text;
        answer.tokens += 1;
      }
      answer.tokens = usage?.completion_tokens ?? answer.tokens;
      update();
    }
  }

  const press = (event) => {
    if (event.key === "Enter" && !event.shiftKey) send(event);
  };
  const keyField = () => state.role === "admin" && state.status?.keyNeeded && h("label", {}, "Key ", h("input", { type: "password", autocomplete: "off", placeholder: "sk-shoal-…", value: key, on: { change: setKey } }));

  look();
  return {
    stop: () => running?.abort(),
    render: () => [
      h("div", { class: "head" }, h("h1", {}, "Playground"), h("span", { class: "grow" }),
        h("button", { type: "button", disabled: turns.length === 0 || Boolean(running), on: { click: () => { turns = []; update(); } } }, "Start over")),
      panel(undefined,
        h("div", { class: "row" },
          h("label", {}, "Model ", h("select", { value: model, on: { change: (event) => { model = event.target.value; update(); } } }, models.map((one) => h("option", { value: one }, one)))),
          h("label", {}, "Tokens at most ", h("input", { type: "number", min: 1, max: 32768, value: most, on: { input: (event) => (most = Number(event.target.value) || 1) } })), keyField()),
        trouble(problem)),
      panel(undefined,
        h("div", { class: "turns", "aria-live": "polite" }, turns.length === 0 && h("p", { class: "empty" }, "Nothing said yet."), turns.map((turn) => said(turn))),
        h("form", { on: { submit: send } },
          h("textarea", { rows: 3, "aria-label": "Message", placeholder: "Message; Enter sends, Shift+Enter breaks the line", value: typed, on: { input: (event) => (typed = event.target.value), keydown: press } }),
          h("div", { class: "row below" },
            running ? h("button", { type: "button", on: { click: () => running.abort() } }, "Stop") : h("button", { class: "primary", disabled: !model }, "Send")))),
    ],
  };
}

function said({ role, said, started, first, ended, tokens, node, id }) {
  const name = node && (nodeNames().get(node) ?? node.slice(0, 8));
  const rate = first && ended > first && tokens > 1 ? ((tokens - 1) / (ended - first)) * 1000 : undefined;
  const how = role === "assistant" && h("div", { class: "how" },
    [first ? `first token after ${millis(first - started)}` : "waiting for the first token", name && `served by ${name}`, ended && `${tokens} tokens`, rate && `${count(rate)} tokens/s`].filter(Boolean).join(" · "),
    ended && id && state.role === "admin" && [" · ", link(`#/requests/${encodeURIComponent(id)}`, "why there")]);
  return h("div", { class: `turn ${role}` }, h("div", { class: "said" }, said || "…"), how);
}
