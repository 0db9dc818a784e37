// Signing in: by the admin token for everything, by a client's key for what concerns that key.

import { Problem, get, isKey, remember } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { trouble } from "../lib/parts.js";

/** Calls `entered(role)` once the secret is good. */
export function login({ update, entered }) {
  let typed = "";
  let problem;
  let busy = false;

  async function submit(event) {
    event.preventDefault();
    const token = typed.trim();
    busy = true;
    update();
    try {
      await get(isKey(token) ? "/ui/v1/key-usage" : "/v1/status", { token });
      remember(token);
      entered(isKey(token) ? "key" : "admin");
    } catch (error) {
      problem = explain(error, token);
    }
    busy = false;
    update();
  }

  return {
    render: () =>
      h("main", { class: "login" },
        h("form", { on: { submit } },
          h("h1", {}, "shoal"),
          h("label", { for: "secret" }, "Admin token or key"),
          h("input", { id: "secret", type: "password", autocomplete: "off", required: true, autofocus: true, value: typed, on: { input: (event) => (typed = event.target.value) } }),
          h("button", { class: "primary", disabled: busy }, busy ? "Signing in…" : "Sign in"),
          trouble(problem),
          h("p", { class: "dim" }, "The token is in the file that ", h("code", {}, "admin.tokenFile"), " names in the node's configuration. A client's key (", h("code", {}, "sk-shoal-…"), ") opens the playground and its own usage."),
          h("p", { class: "dim" }, "It is kept by this tab until you sign out or close it."))),
  };
}

function explain(error, token) {
  if (error.status === 404 && !isKey(token)) {
    return new Problem(404, {
      message: "This node has no admin token.",
      try: "Write one of at least 32 characters into a file, name that in admin.tokenFile, and restart the daemon; or sign in with a key.",
    });
  }
  if (error.status === 403) return new Problem(403, { message: isKey(token) ? "This key is not good here." : "That is not this node's token." });
  return error;
}
