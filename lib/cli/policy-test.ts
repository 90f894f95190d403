import { canonicalTarget, TargetError } from "../egress/canonical.ts";
import { decide, type Grant, NetworkDecision } from "../egress/decide.ts";
import type { Flow, Request, Verdict } from "../egress/flow.ts";
import { readHostPort } from "../policy/host-port.ts";
import type { Policy } from "../policy/policy.ts";
import { networkRefusal } from "../policy/refusal.ts";
import { usageError } from "./usage.ts";

export interface FlowOptions {
  readonly binary?: string;
  readonly sha256?: string;
  readonly to?: string;
  readonly request?: string;
}

interface AskedRequest {
  readonly method: string;
  readonly target: string;
}

function readRequest(text: string): AskedRequest {
  const [, method = "", target = ""] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (\/\S*)$/.exec(text) ?? [];
  const hint = 'For example --request "GET /repos/me/project?page=2".';
  if (method === "") throw usageError(`--request ${text}: not a method and a path`, hint);
  return { method, target };
}

/** As it would be judged and sent on this connection. @throws TargetError */
function requestOn({ carry, encodedSlash }: Grant, { method, target }: AskedRequest): Request {
  // What is not inspected is not read.
  const { path, query } =
    carry === "inspect" ? canonicalTarget(target, { encodedSlash }) : { path: target, query: undefined };
  return { method, path, ...(query === undefined ? {} : { query }) };
}

function flowOf({ binary, sha256, to = "" }: FlowOptions): Omit<Flow, "request"> {
  const { host = "", port } = readHostPort(to) ?? {};
  if (port === undefined) throw usageError(`--to ${to}: not HOST:PORT`, "For example --to api.github.com:443.");
  if (binary !== undefined && !binary.startsWith("/"))
    throw usageError(`--binary ${binary}: not an absolute path`, "For example --binary /usr/bin/curl.");
  if (sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(sha256))
    throw usageError(`--sha256 ${sha256}: not 64 hexadecimal digits`, "sha256sum prints them.");
  const content = sha256 === undefined ? {} : { sha256: sha256.toLowerCase() };
  return {
    program: binary === undefined ? null : { path: binary, ...content },
    host,
    port,
  };
}

/** What the network section of a policy says of one flow, by the decision that the launcher itself asks. */
export function testFlow(policy: Policy, options: FlowOptions): Verdict {
  // What no sandbox is made with says nothing of any flow.
  const refusal = networkRefusal(policy);
  if (refusal !== null) throw refusal;
  const flow = flowOf(options);
  const asked = options.request === undefined ? undefined : readRequest(options.request);
  const decision = new NetworkDecision(policy);
  const connection = decision.connect(flow.program, flow.host, flow.port);
  if (asked === undefined || "refusal" in connection) return decide(decision, flow);
  const { grant } = connection;
  try {
    return decide(decision, { ...flow, request: requestOn(grant, asked) });
  } catch (error) {
    if (!(error instanceof TargetError)) throw error;
    return { allowed: false, policy: grant.policy, rule: null, reason: "malformed", detail: error.message };
  }
}

export function renderVerdict({ allowed, policy, rule, reason, detail, remedy }: Verdict): string {
  const by = policy === null ? "" : ` by "${policy}"${rule === null ? "" : ` (${rule})`}`;
  const lines = [`${allowed ? "allowed" : "refused"}${by}: ${detail}`];
  if (reason !== undefined) lines.push(`  missing: ${reason}`);
  if (remedy !== undefined) lines.push(`  would allow it: ${remedy}`);
  return `${lines.join("\n")}\n`;
}
