import { resolve } from "node:path";
import { HoldfastError } from "../errors.ts";
import { inspectPath } from "../host/paths.ts";
import { defaultPolicy } from "../policy/default-policy.ts";
import { neverPassed } from "../policy/environment.ts";
import { applyLimit } from "../policy/limits.ts";
import type { PathGrant, Policy, PolicyProblem } from "../policy/policy.ts";
import { quote } from "../policy/problem.ts";
import { keptBy } from "../policy/token-source.ts";
import { passedOver } from "../sandbox/workspace.ts";
import { say } from "./report.ts";
import type { RunOptions } from "./run-options.ts";

async function basePolicy(options: RunOptions): Promise<Policy> {
  if (options.policy !== undefined) {
    const { readPolicy } = await import("../policy/load.ts");
    const { formatProblem, PolicyInvalidError } = await import("../policy/problem.ts");
    const { policy, problems } = readPolicy(options.policy);
    if (policy === null) throw new PolicyInvalidError(options.policy, problems);
    for (const problem of [...problems, ...passedOverWarnings(policy)]) warn(options, problem, formatProblem(problem));
    return policy;
  }
  if (options.preset === undefined || options.preset === "default") return defaultPolicy;
  const { isPresetName, presetPolicy, presets } = await import("../policy/presets.ts");
  if (!isPresetName(options.preset)) {
    throw new HoldfastError(`there is no preset ${JSON.stringify(options.preset)}`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "usage",
      hint: `The presets are ${Object.keys(presets).join(", ")}.`,
    });
  }
  return presetPolicy(options.preset);
}

function warn(options: RunOptions, problem: Pick<PolicyProblem, "severity" | "message">, text = problem.message): void {
  if (options.quiet) return;
  if (options.json) process.stderr.write(`${JSON.stringify({ event: "warning", ...problem })}\n`);
  else say(text);
}

/** OpenShell says so too; a file of holdfast's has asked for it in words. */
function passedOverWarnings(policy: Policy): PolicyProblem[] {
  if (policy.dialect !== "openshell") return [];
  return passedOver(policy).map(({ path, fault, line = 1, column = 1 }) => ({
    severity: "warning",
    file: policy.source,
    line,
    column,
    message: `${quote(path)} ${fault}, and is passed over`,
  }));
}

function grants(paths: readonly string[], flag: string): PathGrant[] {
  return paths.map((path) => {
    const absolute = resolve(path);
    if (flag === "--write" && absolute === "/") {
      throw new HoldfastError("the root folder cannot be made writable", {
        code: "ERR_HOLDFAST_USAGE",
        step: "usage",
        hint: "Name the folders that the command has to write.",
      });
    }
    const { fault } = inspectPath(absolute);
    if (fault !== undefined) {
      throw new HoldfastError(`${flag} ${path}: it ${fault}`, {
        code: "ERR_HOLDFAST_PATH_MISSING",
        step: "usage",
        path: absolute,
        hint: "Create it first, or correct the path.",
      });
    }
    return { path: absolute };
  });
}

function variables(entries: readonly string[], policy: Policy): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of entries) {
    const equals = entry.indexOf("=");
    const name = equals < 0 ? entry : entry.slice(0, equals);
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || neverPassed.includes(name)) {
      throw new HoldfastError(
        `--env ${name}: ${neverPassed.includes(name) ? "it is never passed on" : "not a variable's name"}`,
        {
          code: "ERR_HOLDFAST_USAGE",
          step: "usage",
          hint: "Write --env NAME to pass a variable on, or --env NAME=VALUE to set it.",
        },
      );
    }
    const taken = usedForSecrets(name, policy);
    if (taken !== undefined) {
      throw new HoldfastError(`--env ${name}: ${taken}`, {
        code: "ERR_HOLDFAST_USAGE",
        step: "usage",
        hint: "Leave it out: a program inside gets a placeholder by the credential's env.",
      });
    }
    const value = equals < 0 ? process.env[name] : entry.slice(equals + 1);
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** What a variable is for that holds a secret outside, or a placeholder inside; undefined where it may be passed on. */
function usedForSecrets(name: string, { credentials = {}, inference, upstreamProxy }: Policy): string | undefined {
  const proxy = upstreamProxy?.credentials;
  if (proxy !== undefined && "env" in proxy && proxy.env === name) return "credentials of the upstream proxy are in it";
  for (const [credential, { env, source }] of Object.entries(credentials)) {
    if (env === name) return `the placeholder of the credential ${credential} is in it`;
    if (keptBy(source).some((kept) => kept.kind === "env" && kept.name === name))
      return `the policy keeps the credential ${credential} there`;
  }
  const route = inference?.routes.find(
    ({ key }) => key !== undefined && keptBy(key).some((kept) => kept.kind === "env" && kept.name === name),
  );
  return route === undefined ? undefined : `the policy keeps the key of the route ${route.name} there`;
}

/** The policy of the file or preset, with the flags on top: they add, and never take a refusal away. */
export async function runPolicy(options: RunOptions): Promise<Policy> {
  const base = await basePolicy(options);
  let { limits } = base;
  for (const entry of options.limits) {
    const equals = entry.indexOf("=");
    if (equals < 0) {
      throw new HoldfastError(`--limit ${entry}: it has no value`, {
        code: "ERR_HOLDFAST_USAGE",
        step: "usage",
        hint: "Write --limit NAME=VALUE, for example --limit memory=512M.",
      });
    }
    limits = applyLimit(limits, entry.slice(0, equals), entry.slice(equals + 1));
  }
  if (options.timeout !== undefined) limits = applyLimit(limits, "wall-time", options.timeout);
  const network = options.allow.length + options.allowBinary.length === 0 ? null : await import("./run-network.ts");
  const proxy =
    options.upstreamProxy === undefined
      ? {}
      : {
          upstreamProxy: await (await import("./run-upstream.ts")).upstreamProxy(
            options.upstreamProxy,
            base.environment.pass,
            (message) => warn(options, { severity: "warning", message }),
          ),
        };
  return {
    ...base,
    ...proxy,
    ...(options.net === "off" ? { networkPolicies: {} } : {}),
    ...(options.net === "log" ? { networkMode: "log" as const } : {}),
    ...(network === null
      ? {}
      : { networkPolicies: { ...base.networkPolicies, ...(await network.allowedNetwork(options, base)) } }),
    limits,
    filesystem: {
      ...base.filesystem,
      readOnly: [...base.filesystem.readOnly, ...grants(options.read, "--read")],
      readWrite: [...base.filesystem.readWrite, ...grants(options.write, "--write")],
    },
    environment: {
      ...base.environment,
      set: { ...base.environment.set, ...variables(options.env, { ...base, ...proxy }) },
    },
    workspace: { ...base.workspace, ...(options.overlay ? { mode: "overlay" as const } : {}) },
  };
}
