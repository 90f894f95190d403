import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../errors.ts";
import { defaultPolicy } from "./default-policy.ts";
import { parsePolicy } from "./load.ts";
import type { PathGrant, Policy } from "./policy.ts";
import { PolicyInvalidError } from "./problem.ts";
import { nearest } from "./spelling.ts";

/** A policy that comes with the package. */
export type PresetName = "default" | "read-only" | "build" | "agent";

/** The presets, with what each is for. Their files lie in the package's `presets/`. */
export const presets: Readonly<Record<PresetName, string>> = Object.freeze({
  default: "any command: system folders readable, the working directory writable, no network",
  "read-only": "looking around: the working directory readable, only /tmp writable",
  build: "compiling and testing: wider limits, compilers' variables passed on",
  agent: "a model's tool calls: a private overlay of the workspace, tight limits",
});

export function isPresetName(name: string): name is PresetName {
  return Object.hasOwn(presets, name);
}

/** A preset by name. Programs that need only `default` take `defaultPolicy`, which brings no YAML parser along. */
export function presetPolicy(name: PresetName): Policy {
  return name === "default" ? defaultPolicy : readPreset(name);
}

/**
 * A preset by a name from the command line.
 *
 * @throws HoldfastError ERR_HOLDFAST_PRESET_UNKNOWN with the nearest name
 */
export function namedPreset(name: string): Policy {
  if (isPresetName(name)) return presetPolicy(name);
  const near = nearest(name, Object.keys(presets));
  throw new HoldfastError(`there is no preset ${JSON.stringify(name)}`, {
    code: "ERR_HOLDFAST_PRESET_UNKNOWN",
    step: "usage",
    hint: near === undefined ? `Name one of ${Object.keys(presets).join(", ")}.` : `Did you mean "${near}"?`,
  });
}

/** Reads the file of a preset, as the package ships it. */
export function readPreset(name: PresetName): Policy {
  const source = `<preset ${name}>`;
  const { policy, problems } = parsePolicy(readFileSync(presetFile(name)), source);
  if (policy === null) throw new PolicyInvalidError(source, problems);
  return Object.freeze({
    ...policy,
    filesystem: Object.freeze({
      ...policy.filesystem,
      readOnly: unasked(policy.filesystem.readOnly),
      readWrite: unasked(policy.filesystem.readWrite),
    }),
  });
}

/** The file that a preset is read from. */
export function presetFile(name: PresetName): string {
  // lib/policy in a checkout, dist/lib/policy in the package.
  for (const root of ["../../", "../../../"]) {
    const file = fileURLToPath(new URL(`${root}presets/${name}.yaml`, import.meta.url));
    if (existsSync(file)) return file;
  }
  throw new HoldfastError(`the preset ${name} is not in this installation`, {
    code: "ERR_HOLDFAST_PRESET_MISSING",
    step: "policy",
    hint: "Install holdfast again: its presets folder is missing.",
  });
}

/** A preset names what hosts commonly have: what is missing here is passed over. */
function unasked(grants: readonly PathGrant[]): readonly PathGrant[] {
  return Object.freeze(grants.map(({ path }) => Object.freeze({ path, optional: true })));
}
