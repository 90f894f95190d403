import type { Limits, PathGrant, Policy } from "./policy.ts";
import { protectedNameList } from "./protected-names.ts";

/** The six tools that a worker offers. */
export const toolNames: readonly string[] = Object.freeze(["bash", "read", "write", "edit", "glob", "grep"]);

/** What the presets bound, and what every policy takes that does not say otherwise. */
export const defaultLimits: Limits = Object.freeze({
  processes: 2048,
  openFiles: 65_536,
  tmpSizeBytes: 2 * 1024 ** 3,
});

/** Variables that shape how programs print and sort, and hold no secrets. */
export const defaultPass: readonly string[] = Object.freeze([
  "TERM",
  "COLORTERM",
  "NO_COLOR",
  "FORCE_COLOR",
  "CLICOLOR",
  "CLICOLOR_FORCE",
  "LANG",
  "LANGUAGE",
  "LC_*",
  "TZ",
  "CI",
]);

function optional(...paths: readonly string[]): readonly PathGrant[] {
  return Object.freeze(paths.map((path) => Object.freeze({ path, optional: true })));
}

/**
 * What `holdfast run` enforces without a policy. Built here rather than read from presets/default.yaml, so that it costs
 * no YAML parser at start-up; a test holds the two together.
 */
export const defaultPolicy: Policy = Object.freeze({
  source: "<preset default>",
  dialect: "holdfast",
  filesystem: Object.freeze({
    includeWorkdir: true,
    readOnly: optional(
      "/usr",
      "/bin",
      "/sbin",
      "/lib",
      "/lib32",
      "/lib64",
      "/libx32",
      "/etc",
      "/opt",
      "/nix/store",
      "/gnu/store",
      "/proc",
    ),
    readWrite: optional("/tmp", "/dev"),
  }),
  compatibility: "best_effort",
  process: Object.freeze({ mappedFiles: "any" }),
  networkPolicies: Object.freeze({}),
  networkMiddlewares: Object.freeze({}),
  limits: defaultLimits,
  environment: Object.freeze({ pass: defaultPass, set: Object.freeze({}) }),
  protectedNames: Object.freeze({ names: protectedNameList }),
  requires: Object.freeze([]),
  requiresAt: Object.freeze({}),
  workspace: Object.freeze({ mode: "direct", access: "read-write" }),
  extract: Object.freeze([]),
});
