import { bindingEntries, type Credential, type CredentialInjection } from "../policy/credentials.ts";
import { type NetworkPolicy, readsRequests } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import { isAws } from "../policy/token-source.ts";
import type { Program } from "./flow.ts";
import { type Glob, hostGlob } from "./glob.ts";
import { programMatcher } from "./program-match.ts";
import { pathGlob } from "./rules.ts";

/** A credential that one program may use at one host and port. */
export interface Binding {
  readonly name: string;
  readonly inject: CredentialInjection | undefined;
  /** Requests are signed with it; it is put into none. */
  readonly signs: boolean;
  readonly places: readonly BoundPlace[];
}

interface BoundPlace {
  readonly matches: Glob;
  readonly scheme: "http" | "https";
}

interface Compiled {
  readonly name: string;
  readonly inject: CredentialInjection | undefined;
  readonly signs: boolean;
  readonly grants: (program: Program) => boolean;
  readonly endpoints: readonly { readonly host: Glob; readonly ports: readonly number[]; readonly place: BoundPlace }[];
}

/** Which credentials are for whom: by host, port, path and program, all of them. */
export class Bindings {
  readonly #all: readonly Compiled[];

  constructor({ credentials = {}, networkPolicies }: Pick<Policy, "credentials" | "networkPolicies">) {
    this.#all = Object.entries(credentials).flatMap(([name, credential]) => compile(name, credential, networkPolicies));
  }

  /** Whose secrets a server may have been sent, by whomever. What signs is sent to none. */
  namesAt(host: string, port: number): readonly string[] {
    const names = this.#all
      .filter(
        ({ signs, endpoints }) => !signs && endpoints.some((each) => each.ports.includes(port) && each.host(host)),
      )
      .map(({ name }) => name);
    return [...new Set(names)];
  }

  of(program: Program, host: string, port: number): readonly Binding[] {
    const found = new Map<string, Binding>();
    for (const { name, inject, signs, grants, endpoints } of this.#all) {
      const places = endpoints.filter((each) => each.ports.includes(port) && each.host(host)).map(({ place }) => place);
      if (places.length === 0 || !grants(program)) continue;
      // Several entries may bind it.
      const before = found.get(name)?.places ?? [];
      found.set(name, { name, inject, signs, places: [...before, ...places] });
    }
    return [...found.values()];
  }
}

/** One for each entry that it is bound by. */
function compile(name: string, credential: Credential, policies: Policy["networkPolicies"]): readonly Compiled[] {
  const { networkPolicy, inject } = credential;
  const common = { name, inject, signs: isAws(credential.source) };
  if (networkPolicy === undefined && credential.endpoints.length > 0) {
    const endpoints = credential.endpoints.map(({ host, ports, path, scheme }) => ({
      host: hostMatcher(host),
      ports,
      place: { matches: pathGlob(path), scheme },
    }));
    return [{ ...common, grants: programMatcher(credential.binaries), endpoints }];
  }
  const own = networkPolicy === undefined ? undefined : policies[networkPolicy];
  const entries =
    networkPolicy === undefined
      ? bindingEntries(name, { networkPolicies: policies })
      : [own ?? { endpoints: [], binaries: [] }];
  return entries.map(({ endpoints, binaries }) => ({
    ...common,
    grants: programMatcher(binaries),
    endpoints: placesOf(endpoints),
  }));
}

function placesOf(endpoints: NetworkPolicy["endpoints"]): Compiled["endpoints"] {
  return (
    endpoints
      .filter((endpoint) => endpoint.tls !== "skip" && readsRequests(endpoint))
      // In clear text only where that is what the port is for.
      .flatMap(({ host, ports, path }) =>
        ports.map((port) => ({
          host: hostMatcher(host),
          ports: [port],
          place: { matches: pathGlob(path), scheme: port === 80 ? ("http" as const) : ("https" as const) },
        })),
      )
  );
}

function hostMatcher(pattern: string): Glob {
  return pattern.includes("*") ? hostGlob(pattern) : (host) => host === pattern;
}

/** Whether a credential may be in a request for a path. */
export function isBound({ places }: Binding, scheme: "http" | "https", path: string): boolean {
  return places.some((place) => place.scheme === scheme && place.matches(path));
}
