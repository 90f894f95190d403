import { isIP } from "node:net";
import { readRange } from "./address.ts";
import { type SecretSource, sourceFault } from "./credentials.ts";
import { readHostPort, writeHostPort } from "./host-port.ts";
import { absolutePath } from "./paths.ts";
import type { DnsSettings, Policy, UpstreamProxySettings } from "./policy.ts";
import { type Place, quote } from "./problem.ts";
import { type Context, list, mapped, type Reader, section, text, word } from "./reader.ts";

/** An address's ports are behind it: `10.0.0.53`, `10.0.0.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`. */
const server = mapped(text, (written, at, what, { problems }) => {
  if (isIP(readHostPort(written)?.host ?? "") !== 0) return written;
  const hint = "for example 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53";
  problems.error(at, `${what} is not a name server's address: ${quote(written)}`, hint);
  return undefined;
});

const domain = mapped(text, (written, at, what, { problems }) => {
  const name = written.toLowerCase().replace(/\.$/, "");
  if (
    name.length <= 253 &&
    /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/.test(name)
  )
    return name;
  const hint = "a name stands for itself and all below it: corp.example";
  problems.error(at, `${what} is not a domain: ${quote(written)}`, hint);
  return undefined;
});

const mostServers = 8;

const split = mapped(
  section(
    { domains: list(domain), servers: list(server, { most: mostServers }) },
    { required: ["domains", "servers"] },
  ),
  (found, _at, what, { problems }) => {
    for (const key of ["domains", "servers"] as const) {
      if (found.values[key]?.length === 0) problems.error(found.place(key), `${what}.${key} is empty`);
    }
    const { domains = [], servers = [] } = found.values;
    return Object.freeze({ domains: Object.freeze([...domains]), servers: Object.freeze([...servers]) });
  },
);

export const dnsSection: Reader<DnsSettings> = mapped(
  section({ servers: list(server, { most: mostServers }), split: list(split) }),
  (found, _at, what, { problems }) => {
    const { servers = [], split: rules = [] } = found.values;
    const seen = new Set<string>();
    for (const name of rules.flatMap(({ domains }) => domains)) {
      if (seen.has(name)) problems.error(found.place("split"), `${what}.split names ${name} twice`);
      seen.add(name);
    }
    return Object.freeze({ servers: Object.freeze([...servers]), split: Object.freeze([...rules]) });
  },
);

const proxyUrl = mapped(text, (written, at, what, { problems }) => {
  const url = URL.canParse(written) ? new URL(written) : undefined;
  if (url !== undefined && (url.username !== "" || url.password !== "")) {
    // Not quoted: it holds what nobody should read in a log.
    problems.error(at, `${what} holds credentials`, "name where they are kept with upstream_proxy.credentials");
    return undefined;
  }
  const isPlain =
    url?.hostname !== "" && ["", "/"].includes(url?.pathname ?? "") && url?.search === "" && url.hash === "";
  if (url !== undefined && isPlain && ["http:", "https:", "socks5:"].includes(url.protocol)) return url.href;
  const hint = "http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
  problems.error(at, `${what} is not a proxy's address`, hint);
  return undefined;
});

/**
 * As programs read NO_PROXY: each with a port, if it is that port's alone; a range has none (Go's httpproxy).
 *
 * @returns as it is compared; undefined where it is none
 */
export function readDirect(written: string): string | undefined {
  const entry = written.toLowerCase();
  if (entry === "*" || (entry.includes("/") && readRange(entry) !== undefined)) return entry;
  const { host: named, port } = readHostPort(entry) ?? { host: "" };
  const host = isIP(named) === 0 ? named.replace(/(?<=[a-z0-9])\.$/, "") : named;
  if (isIP(host) !== 0 || /^(?:\*?\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/.test(host))
    return port === undefined ? host : writeHostPort(host, port);
  return undefined;
}

const direct = mapped(text, (written, at, what, { problems }) => {
  const entry = readDirect(written);
  if (entry !== undefined) return entry;
  const hint =
    "a host, a domain such as corp.example or .corp.example, an address, each with :PORT or without, or a range";
  problems.error(at, `${what} is no host: ${quote(written)}`, hint);
  return undefined;
});

const variable = mapped(text, (name, at, what, { problems }) => {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return name;
  // Not quoted: whoever misreads the field writes the password itself.
  problems.error(at, `${what} is not a variable's name`, "the variable of the launcher that holds USER:PASSWORD");
  return undefined;
});

const credentials = mapped(
  section({ env: variable, file: absolutePath }),
  ({ values, has }, at, what, { problems }) => {
    if (has("env") === has("file")) {
      problems.error(
        at,
        `${what} names ${has("env") ? "two places" : "no place"}`,
        "write {env: NAME} or {file: PATH}",
      );
      return undefined;
    }
    if (values.env !== undefined) return Object.freeze({ env: values.env });
    return values.file === undefined ? undefined : Object.freeze({ file: values.file });
  },
);

export const upstreamProxySection: Reader<UpstreamProxySettings> = mapped(
  section(
    { url: proxyUrl, credentials, no_proxy: list(direct), resolve: word(["here", "proxy"]) },
    { required: ["url"] },
  ),
  ({ values }) =>
    Object.freeze({
      url: values.url ?? "",
      ...(values.credentials === undefined ? {} : { credentials: values.credentials }),
      noProxy: Object.freeze([...(values.no_proxy ?? [])]),
      resolve: values.resolve ?? "here",
    }),
);

/** The proxy's credentials may not be where the sandbox reads them. */
export function checkProxySecret(policy: Policy, at: Place, { problems }: Context): void {
  const kept = policy.upstreamProxy?.credentials;
  if (kept === undefined) return;
  const source: SecretSource = "env" in kept ? { kind: "env", name: kept.env } : { kind: "file", path: kept.file };
  const fault = sourceFault(source, policy);
  if (fault !== undefined) problems.error(at, `upstream_proxy.credentials: ${fault.message}`, fault.hint);
}
