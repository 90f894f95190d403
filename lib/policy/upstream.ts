import { isIP } from "node:net";
import type { DnsSettings } from "./policy.ts";
import { quote } from "./problem.ts";
import { list, mapped, type Reader, section, text } from "./reader.ts";

/** An address's ports are behind it: `10.0.0.53`, `10.0.0.53:5353`, `2001:db8::53`, `[2001:db8::53]:5353`. */
const server = mapped(text, (written, at, what, { problems }) => {
  const [, v6, v4, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(written) ?? [];
  const isPort = port === undefined || (Number(port) >= 1 && Number(port) <= 65_535);
  const isBracketed = v6 !== undefined && isIP(v6) === 6 && !v6.includes("%");
  if (isIP(written) === 6 && !written.includes("%")) return written;
  if (isPort && (isBracketed || isIP(v4 ?? "") === 4)) return written;
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
