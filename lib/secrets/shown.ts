import { HoldfastError } from "../errors.ts";
import { inspectPath, isWithin } from "../host/paths.ts";
import type { SecretSource } from "../policy/credentials.ts";
import type { Policy } from "../policy/policy.ts";
import { keptBy } from "../policy/token-source.ts";
import { SecretError, systemdPath } from "./sources.ts";

/** The host's folders and files that a sandbox sees, links followed, and those of them that it writes to. */
export interface Shown {
  readonly seen: readonly string[];
  readonly written: readonly string[];
}

/**
 * Refuses a secret that is kept where the sandbox sees it, or behind a link that it sees, and could lead elsewhere; and a
 * command that it could change, which runs outside.
 *
 * @throws SecretError
 */
export function refuseShown(source: SecretSource, { seen: shown, written }: Shown): void {
  if (source.kind === "command") {
    for (const word of source.argv.filter((each) => each.startsWith("/"))) {
      const { real, links } = inspectPath(word);
      const folder = written.find((each) => [real, ...links.map((link) => link.path)].some((at) => isWithin(at, each)));
      if (folder !== undefined)
        throw new SecretError(`the command's ${word} can be changed in the sandbox, which writes to ${folder}`);
    }
    return;
  }
  const path = source.kind === "file" ? source.path : source.kind === "systemd" ? systemdPath(source.name) : undefined;
  if (path === undefined) return;
  const { real, links } = inspectPath(path);
  const over = (place: string): string | undefined => shown.find((each) => isWithin(place, each));
  const folder = over(real);
  if (folder !== undefined) throw new SecretError(`${path} can be read in the sandbox, which sees ${folder}`);
  const link = links.find((each) => over(each.path) !== undefined);
  if (link !== undefined)
    throw new SecretError(`${path} is found by the link ${link.path}, and the sandbox sees ${over(link.path)}`);
}

/**
 * Refuses what no credential holds: the keys of models' routes, and the upstream proxy's login.
 *
 * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL
 */
export function checkOwnSecrets(
  { inference, upstreamProxy }: Pick<Policy, "inference" | "upstreamProxy">,
  shown: Shown,
): void {
  const own: [what: string, source: SecretSource][] = [];
  for (const { name, key } of inference?.routes ?? [])
    if (key !== undefined) for (const kept of keptBy(key)) own.push([`the key of the route ${name}`, kept]);
  const login = upstreamProxy?.credentials;
  if (login !== undefined && "file" in login)
    own.push(["the upstream proxy's login", { kind: "file", path: login.file }]);
  for (const [what, source] of own) {
    // That there is none is told of when it is needed.
    if (source.kind === "systemd" && process.env["CREDENTIALS_DIRECTORY"] === undefined) continue;
    try {
      refuseShown(source, shown);
    } catch (cause) {
      if (!(cause instanceof SecretError)) throw cause;
      throw new HoldfastError(`${what}: ${cause.message}`, {
        code: "ERR_HOLDFAST_CREDENTIAL",
        step: "egress",
        hint: "Keep it elsewhere: nothing in the sandbox needs it.",
        cause,
      });
    }
  }
}
