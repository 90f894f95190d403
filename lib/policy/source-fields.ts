import type { SecretSource } from "./credentials.ts";
import { readDuration } from "./limits.ts";
import { absolutePath } from "./paths.ts";
import { type Place, quote } from "./problem.ts";
import { type Context, list, mapped, type Reader, type Section, section, text } from "./reader.ts";

const defaultTtlMs = 300_000;
const defaultTimeoutMs = 10_000;

export const variable: Reader<string> = mapped(
  text,
  (name, at, what, { problems }) => {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return name;
    // Not quoted: whoever misreads the field writes the secret itself.
    problems.error(at, `${what} is not a variable's name`, "letters, digits and _");
    return undefined;
  },
  { type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]*$" },
);

const credentialName = mapped(
  text,
  (name, at, what, { problems }) => {
    if (/^[A-Za-z0-9_@.-]{1,255}$/.test(name) && name !== "." && name !== "..") return name;
    problems.error(at, `${what} is not a credential's name`, "the name given to LoadCredential=");
    return undefined;
  },
  { type: "string", pattern: "^[A-Za-z0-9_@.-]{1,255}$" },
);

/** A time with its unit. */
export function duration(leastMs: number, mostMs: number): Reader<number> {
  return {
    schema: { type: "string", pattern: "^[0-9]+(ms|s|m|h)$" },
    read(node, what, context) {
      const written = text.read(node, what, context);
      if (written === undefined) return undefined;
      const reading = readDuration(written);
      if ("value" in reading && reading.value >= leastMs && reading.value <= mostMs) return reading.value;
      context.problems.error(
        node.at,
        `${what} is ${quote(written)}`,
        `a duration from ${leastMs}ms to ${mostMs / 1000}s`,
      );
      return undefined;
    },
  };
}

export const sourceKinds = ["env", "file", "systemd", "command"] as const;

export const sourceFields: {
  readonly env: Reader<string>;
  readonly file: Reader<string>;
  readonly systemd: Reader<string>;
  readonly command: Reader<readonly string[]>;
  readonly ttl: Reader<number>;
  readonly timeout: Reader<number>;
} = {
  env: variable,
  file: absolutePath,
  systemd: credentialName,
  command: list(text, { most: 64 }),
  ttl: duration(1000, 86_400_000),
  timeout: duration(100, 60_000),
};

/** Where a secret itself is kept. */
export const secretSource: Reader<SecretSource> = mapped(section(sourceFields), keptIn);

export function keptIn(
  found: Section<typeof sourceFields>,
  at: Place,
  what: string,
  { problems }: Context,
): SecretSource | undefined {
  const { values } = found;
  const written = sourceKinds.filter((kind) => found.has(kind));
  if (written.length !== 1) {
    const message = `${what} names ${written.length === 0 ? "no place" : `${written.length} places`}`;
    problems.error(at, message, "one of {env: NAME}, {file: PATH}, {systemd: NAME}, {command: [PROGRAM, …]}");
    return undefined;
  }
  for (const key of ["ttl", "timeout"] as const) {
    if (found.has(key) && written[0] !== "command")
      problems.error(found.place(key), `${what}.${key} is for a command alone`, "a file is read anew when it changes");
  }
  if (values.env !== undefined) return Object.freeze({ kind: "env", name: values.env });
  if (values.file !== undefined) return Object.freeze({ kind: "file", path: values.file });
  if (values.systemd !== undefined) return Object.freeze({ kind: "systemd", name: values.systemd });
  if (values.command === undefined) return undefined;
  const [program = ""] = values.command;
  if (!program.startsWith("/") || values.command.some((each) => each.includes("\0"))) {
    problems.error(found.valuePlace("command"), `${what}.command must begin with a program's absolute path`);
    return undefined;
  }
  return Object.freeze({
    kind: "command",
    argv: Object.freeze([...values.command]),
    ttlMs: values.ttl ?? defaultTtlMs,
    timeoutMs: values.timeout ?? defaultTimeoutMs,
  });
}
