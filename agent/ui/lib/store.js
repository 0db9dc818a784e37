// What the pages show, and who is told when it changes.

const HOUR = 3_600_000;
const watchers = new Set();

export const state = {
  /** Of whom: "admin" or "key"; nothing before somebody has signed in. */
  role: undefined,
  /** The answer to /v1/status, and when it came by this browser's clock. */
  status: undefined,
  statusAt: 0,
  /** Steps of each node's ingress, by the node's id. */
  history: new Map(),
  stepMs: 5000,
  /** Nodes whose history is missing. */
  missing: [],
  /** Whether events come. */
  connected: false,
  problem: undefined,
  /** Minutes that charts show. */
  minutes: 15,
};

export const watch = (watcher) => watchers.add(watcher);

export function changed() {
  for (const watcher of watchers) watcher();
}

export function takeStatus(status) {
  Object.assign(state, { status, statusAt: Date.now(), connected: true, problem: undefined });
  changed();
}

export function takeHistory({ stepMs, nodes, missing }) {
  Object.assign(state, { stepMs, missing });
  const oldest = Date.now() - HOUR;
  for (const [node, points] of Object.entries(nodes)) {
    const known = state.history.get(node) ?? [];
    const last = known.at(-1)?.at ?? 0;
    const all = known.concat(points.filter((point) => point.at > last));
    state.history.set(node, all.filter((point) => point.at > oldest));
  }
  changed();
}

/** The status, but with what happened to ages since it came. */
export const since = () => Date.now() - state.statusAt;

export const nodes = () => state.status?.nodes ?? [];
export const endpoints = () => state.status?.endpoints ?? [];
export const nodeNames = () => new Map(nodes().map((node) => [node.id, node.name]));
export const nodeByName = (name) => nodes().find((node) => node.name === name);
export const endpointByName = (name) => endpoints().find((one) => one.metadata.name === name);
