import { namesPrograms } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import { compileFilter } from "./bpf-compiler.ts";
import { notifiedLimits } from "./limits.ts";
import { noSocketsFilter } from "./no-sockets.ts";
import {
  type Architecture,
  type NotificationPurpose,
  notificationPurposes,
  readCompiled,
  type SeccompOptions,
} from "./seccomp-profile.ts";

/** What a sandbox's filter is made of: both follow from the profile and its options. */
export interface Filter {
  /** The base program, for the init. */
  readonly program: Uint8Array;
  /** On top, for the read-only layer: no sockets at all. */
  readonly noSockets: Uint8Array;
  /** Which calls are handed to the broker, by number, and what for. */
  readonly notify: ReadonlyMap<number, NotificationPurpose>;
}

/** The shape of the files that the build puts beside the profile: compiling takes longer than all else of a launch. */
interface CompiledFile {
  readonly program: string;
  readonly noSockets: string;
  readonly notify: readonly (readonly [number, NotificationPurpose])[];
}

/** What a policy switches on by itself. */
export function filterOptions(policy: Policy): SeccompOptions {
  return {
    ...notifiedLimits(policy),
    mappedFiles: policy.process.mappedFiles === "executable-only",
    programCode: namesPrograms(policy),
  };
}

const filters = new Map<string, Filter>();

/** The filter for one architecture under given options: as the build compiled it, else compiled now. */
export function filterFor(architecture: Architecture, options: SeccompOptions): Filter {
  const key = compiledName(architecture, options);
  let filter = filters.get(key);
  if (filter === undefined) {
    const text = readCompiled(key);
    filter = text === null ? compile(architecture, options) : parse(text);
    filters.set(key, filter);
  }
  return filter;
}

/** The content of such a file, for the build. */
export function compiledText(architecture: Architecture, options: SeccompOptions): string {
  const { program, noSockets, notify } = compile(architecture, options);
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  const file: CompiledFile = { program: text(program), noSockets: text(noSockets), notify: [...notify] };
  return `${JSON.stringify(file)}\n`;
}

/** The file's name, from the options that are on. */
export function compiledName(architecture: Architecture, options: SeccompOptions): string {
  const names = Object.entries(options).flatMap(([name, on]) => (on === true ? [name] : []));
  return `${[architecture, ...names.sort()].join("+")}.json`;
}

function compile(architecture: Architecture, options: SeccompOptions): Filter {
  return {
    program: compileFilter({ arch: architecture, options }),
    noSockets: noSocketsFilter(architecture),
    notify: notificationPurposes(architecture, options),
  };
}

function parse(text: string): Filter {
  const file = JSON.parse(text) as CompiledFile;
  return {
    program: Buffer.from(file.program, "base64"),
    noSockets: Buffer.from(file.noSockets, "base64"),
    notify: new Map(file.notify),
  };
}
