import { Resolver } from "node:dns/promises";
import { readFile, stat } from "node:fs/promises";
import { isIP } from "node:net";
import type { DnsSettings } from "../policy/policy.ts";

/** The first wait for a server; the second is twice as long. */
const waitMs = 1500;
const tries = 2;
/** However many servers there are. */
const longestMs = 8000;
const longestChain = 8;

/** Asks the name servers that a policy names: over UDP, over TCP where an answer was cut off (c-ares does both). */
export class NameClient {
  readonly #settings: DnsSettings;

  constructor(settings: DnsSettings) {
    this.#settings = settings;
  }

  /** The servers for a name: of the longest domain that holds it. Empty: the system's resolver is to be asked. */
  serversFor(name: string): readonly string[] {
    let best = "";
    let { servers } = this.#settings;
    for (const rule of this.#settings.split) {
      for (const domain of rule.domains) {
        if (domain.length <= best.length || !(name === domain || name.endsWith(`.${domain}`))) continue;
        best = domain;
        servers = rule.servers;
      }
    }
    return servers;
  }

  /**
   * Every address that a name leads to; undefined where the system's resolver is the one to ask.
   *
   * @throws Error whose message says what the servers answered
   */
  async resolve(host: string): Promise<readonly string[] | undefined> {
    let name = host;
    for (let step = 0; step <= longestChain; step++) {
      const servers = this.serversFor(name);
      if (servers.length === 0)
        return step === 0 ? undefined : fail(`${host} leads to ${name}, which has no server here`);
      const own = await addressesInHosts(name);
      if (own.length > 0) return own;
      const answer = await ask(name, servers);
      if (typeof answer !== "string") return answer;
      // A server that does not look any further itself.
      name = answer.toLowerCase();
    }
    return fail(`${host} leads from name to name without end`);
  }
}

function fail(message: string): never {
  throw new Error(message);
}

/** Its addresses, or the name that it stands for. */
async function ask(name: string, servers: readonly string[]): Promise<readonly string[] | string> {
  // One for each question, so that each is asked from a port of its own: an answer is harder to forge.
  const resolver = new Resolver({ timeout: waitMs, tries });
  resolver.setServers(servers);
  const timer = setTimeout(() => resolver.cancel(), longestMs);
  try {
    const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
    const addresses = answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []));
    if (addresses.length > 0) return addresses;
    const codes = answers.map((answer) =>
      answer.status === "rejected" ? String((answer.reason as NodeJS.ErrnoException).code) : "ENODATA",
    );
    const code = codes.find((each) => each !== "ENODATA") ?? "ENODATA";
    if (code !== "ENODATA") return fail(`${name}: ${meanings[code] ?? code} (${servers.join(", ")})`);
    const [canonical] = await resolver.resolveCname(name).catch(() => []);
    return canonical ?? fail(`${name} has no address (${servers.join(", ")})`);
  } finally {
    clearTimeout(timer);
  }
}

const meanings: Readonly<Record<string, string>> = {
  ENOTFOUND: "there is no such name",
  ESERVFAIL: "the name server failed",
  EREFUSED: "the name server refuses to answer",
  EBADRESP: "the name server's answer cannot be read",
  EBADNAME: "this is no name",
  EFORMERR: "the name server does not understand the question",
  ETIMEOUT: "no name server answers",
  ECANCELLED: "no name server answers",
  ECONNREFUSED: "there is no name server",
};

let hosts: { readonly state: string; readonly addresses: ReadonlyMap<string, readonly string[]> } | undefined;

/** What hosts(5) says, before anyone is asked; read again when the file has changed. */
async function addressesInHosts(name: string): Promise<readonly string[]> {
  const file = "/etc/hosts";
  try {
    const { ino, size, mtimeMs } = await stat(file);
    const state = `${ino}:${size}:${mtimeMs}`;
    if (hosts?.state !== state) hosts = { state, addresses: readHosts(await readFile(file, "utf8")) };
  } catch {
    return [];
  }
  return hosts.addresses.get(name) ?? [];
}

function readHosts(content: string): ReadonlyMap<string, readonly string[]> {
  const addresses = new Map<string, string[]>();
  for (const line of content.split("\n")) {
    const [address = "", ...names] = line.replace(/#.*$/, "").trim().split(/\s+/);
    if (isIP(address) === 0) continue;
    for (const name of names) {
      const known = addresses.get(name.toLowerCase());
      if (known === undefined) addresses.set(name.toLowerCase(), [address]);
      else known.push(address);
    }
  }
  return addresses;
}
