import { isPlainHost } from "../policy/host-pattern.ts";
import type { Verdict } from "./flow.ts";

// What is refused whatever the policy's rules say.

/** Both ends of a connection count. */
export const mostSockets = 1024;

export const switchedOff: Verdict = {
  allowed: false,
  policy: null,
  rule: null,
  reason: "switched-off",
  detail: "the network of this sandbox was switched off",
};

export const tooMany: Verdict = {
  allowed: false,
  policy: null,
  rule: null,
  reason: "too-many",
  detail: `this sandbox has as many connections as it may have at once (${mostSockets / 2})`,
};

export function unnamed(name: string): Verdict {
  const detail = `no endpoint names ${name}`;
  // Nothing has such a name that could be connected to.
  const isNameable = isPlainHost(name) && !name.endsWith(".arpa");
  const remedy = isNameable ? { remedy: `--allow ${name}` } : {};
  return { allowed: false, policy: null, rule: null, reason: "host", detail, ...remedy };
}
