// The document of an endpoint: what would change, what that would do, and doing it.

import { getText, post } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { panel, trouble } from "../lib/parts.js";

const YAML = "application/yaml";
const NEW = `apiVersion: shoal/v1
kind: Endpoint
metadata:
  name: my-endpoint
spec:
  model: organisation/model
  engine: {kind: vllm}
  resources: {gpus: 1}
  replicas: {min: 1}
`;
/** Lines of either side beyond which a difference is not worked out. */
const LINES_MAX = 2000;

export function spec({ name, update }) {
  let [stands, text, plan, problem, done, busy, version] = ["", name ? "" : NEW, undefined, undefined, undefined, false, undefined];

  async function load() {
    stands = await getText(`/v1/endpoints/${encodeURIComponent(name)}`, YAML);
    text = stands;
  }

  async function act(doing) {
    [busy, problem, done] = [true, undefined, undefined];
    update();
    try {
      await doing();
    } catch (error) {
      problem = error;
    }
    busy = false;
    update();
  }

  const look = () => act(async () => (plan = await post("/v1/plan", text, YAML)));
  const apply = () => act(async () => {
    // Whoever changed it since it was read is not overwritten.
    const expect = name && version ? `?expect=${encodeURIComponent(version)}` : "";
    const [applied] = await post(`/v1/endpoints${expect}`, text, YAML);
    [done, plan, version] = [`${applied.name}: ${applied.outcome}.`, undefined, undefined];
    if (name) await load();
  });
  const typed = (event) => {
    text = event.target.value;
    plan = undefined;
    update();
  };

  if (name) act(load);
  return {
    render: (known) => {
      const changed = text !== stands;
      // The version that was shown when the text began to differ.
      if (!changed) version = known && versionText(known.status.version);
      return h("div", { class: "columns even" },
        panel("YAML",
          h("textarea", { rows: 22, spellcheck: "false", "aria-label": "YAML", value: text, on: { input: typed } }),
          h("div", { class: "row below" },
            h("button", { type: "button", disabled: busy || !changed, on: { click: look } }, "Plan"),
            h("button", { class: "primary", type: "button", disabled: busy || !plan, on: { click: apply } }, "Apply"),
            name && h("button", { type: "button", disabled: busy || !changed, on: { click: () => { [text, plan, problem] = [stands, undefined, undefined]; update(); } } }, "Discard"),
            h("span", { class: "dim" }, done ?? (plan ? "This would happen:" : "Plan first, then apply."))),
          trouble(problem), plan && plan.endpoints.map(forecast)),
        panel("What differs from what stands", changed ? h("pre", { tabindex: 0 }, difference(stands, text)) : h("p", { class: "empty" }, "Nothing.")));
    },
  };
}

/** As the API writes versions in a query. */
const versionText = ({ time, counter, node }) => `${time}.${counter}.${node}`;

function forecast({ endpoint, change, replicas, starts, ends, evicts, unplaced }) {
  const CHANGES = { created: "is new", revised: "needs new processes", adjusted: "changes without new processes", unchanged: "stays as it is" };
  return h("div", {}, h("h3", {}, `${endpoint} ${CHANGES[change] ?? change}; it would have ${plural(replicas, "replica")}.`),
    h("ul", {}, starts.map(({ node, replicas }) => h("li", {}, `starts ${replicas} on ${node}`)), ends.map(({ name }) => h("li", {}, `${name} ends, once enough others serve`)),
      evicts.map(({ name, endpoint: other }) => h("li", {}, `${name} of ${other} gives way`)), unplaced > 0 && h("li", {}, `no room for ${plural(unplaced, "replica")}`)));
}

/** The lines of both, those that are gone and those that are new marked. */
function difference(before, after) {
  const [old, next] = [before, after].map((text) => (text === "" ? [] : text.replace(/\n$/, "").split("\n")));
  if (old.length > LINES_MAX || next.length > LINES_MAX) return "Too long to compare.";
  const lengths = Array.from({ length: old.length + 1 }, () => new Uint16Array(next.length + 1));
  for (let i = old.length - 1; i >= 0; i -= 1) {
    for (let j = next.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = old[i] === next[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const lines = [];
  for (let [i, j] = [0, 0]; i < old.length || j < next.length; ) {
    if (i < old.length && j < next.length && old[i] === next[j]) {
      lines.push(h("span", { class: "same" }, `  ${old[i]}`));
      [i, j] = [i + 1, j + 1];
    } else if (j >= next.length || (i < old.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      lines.push(h("span", { class: "del" }, `- ${old[i]}`));
      i += 1;
    } else {
      lines.push(h("span", { class: "add" }, `+ ${next[j]}`));
      j += 1;
    }
  }
  return lines;
}
