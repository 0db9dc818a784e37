// Questions to this node. The secret is kept for this tab alone, and is sent as a header: no other site can make a browser
// send it, as it would a cookie.

const SECRET = "shoal.secret";
const KEY_PREFIX = "sk-shoal-";
const PAUSES = [500, 1000, 2000, 5000];

/** What went wrong, in the words of the node where it has any. */
export class Problem extends Error {
  constructor(status, { code, message, try: hint } = {}) {
    super(message ?? `the node answered ${status}`);
    Object.assign(this, { status, code, hint });
  }
}

export const secret = () => sessionStorage.getItem(SECRET);
export const isKey = (text) => text.startsWith(KEY_PREFIX);
export const remember = (text) => sessionStorage.setItem(SECRET, text);
export const forget = () => sessionStorage.removeItem(SECRET);

async function ask(path, { headers, token = secret(), ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", headers: { authorization: `Bearer ${token}`, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { message: "this node does not answer" });
  }
  if (response.ok) return response;
  const text = await response.text();
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {
    answer = { message: text.trim() || undefined };
  }
  // Errors of the ingress have OpenAI's shape.
  throw new Problem(response.status, answer.error ?? answer);
}

export const get = async (path, options) => (await ask(path, options)).json();
export const getText = async (path, accept) => (await ask(path, { headers: { accept } })).text();

export const post = async (path, body, type = "application/json") =>
  (await ask(path, { method: "POST", headers: { "content-type": type }, body: typeof body === "string" ? body : JSON.stringify(body) })).json();

export const remove = async (path) => (await ask(path, { method: "DELETE" })).json();

/** The answer as it comes, piece by piece, as text. */
export async function* pieces(path, options) {
  const response = await ask(path, options);
  options?.onHead?.(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The server-sent events of an answer: `[name, data]`. */
export async function* events(path, options) {
  let rest = "";
  for await (const piece of pieces(path, options)) {
    const whole = (rest + piece).split("\n\n");
    rest = whole.pop();
    for (const block of whole) {
      const fields = block.split("\n").map((line) => /^(\w+): ?(.*)$/.exec(line)).filter(Boolean);
      const of = (name) => fields.filter(([, field]) => field === name).map(([, , value]) => value).join("\n");
      yield [of("event"), of("data")];
    }
  }
}

/** Hears of the mesh until `signal`: connects again, whatever breaks, unless the secret is refused. */
export async function live({ signal, onEvent, onLost }) {
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      for await (const [name, data] of events("/v1/live", { signal })) {
        failures = 0;
        onEvent(name, JSON.parse(data));
      }
      onLost(new Problem(0, { message: "the node ended the connection" }));
    } catch (error) {
      if (signal.aborted) return;
      onLost(error);
      if (error.status === 403) return;
    }
    const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
