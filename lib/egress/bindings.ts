import type { Credential, CredentialInjection } from "../policy/credentials.ts";
import { readsRequests } from "../policy/network.ts";
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
    this.#all = Object.entries(credentials).map(([name, credential]) => compile(name, credential, networkPolicies));
  }

  /** Whose secrets a server may have been sent, by whomever. What signs is sent to none. */
  namesAt(host: string, port: number): readonly string[] {
    return this.#all
      .filter(
        ({ signs, endpoints }) => !signs && endpoints.some((each) => each.ports.includes(port) && each.host(host)),
      )
      .map(({ name }) => name);
  }

  of(program: Program, host: string, port: number): readonly Binding[] {
    return this.#all.flatMap(({ name, inject, signs, grants, endpoints }) => {
      const places = endpoints.filter((each) => each.ports.includes(port) && each.host(host)).map(({ place }) => place);
      return places.length > 0 && grants(program) ? [{ name, inject, signs, places }] : [];
    });
  }
}

function compile(name: string, credential: Credential, policies: Policy["networkPolicies"]): Compiled {
  const { networkPolicy, inject } = credential;
  const signs = isAws(credential.source);
  if (networkPolicy === undefined) {
    return {
      name,
      inject,
      signs,
      grants: programMatcher(credential.binaries),
      endpoints: credential.endpoints.map(({ host, ports, path, scheme }) => ({
        host: hostMatcher(host),
        ports,
        place: { matches: pathGlob(path), scheme },
      })),
    };
  }
  const entry = policies[networkPolicy];
  return {
    name,
    inject,
    signs,
    grants: programMatcher(entry?.binaries ?? []),
    endpoints: (entry?.endpoints ?? [])
      .filter((endpoint) => endpoint.tls !== "skip" && readsRequests(endpoint))
      // In clear text only where that is what the port is for.
      .flatMap(({ host, ports, path }) =>
        ports.map((port) => ({
          host: hostMatcher(host),
          ports: [port],
          place: { matches: pathGlob(path), scheme: port === 80 ? ("http" as const) : ("https" as const) },
        })),
      ),
  };
}

function hostMatcher(pattern: string): Glob {
  return pattern.includes("*") ? hostGlob(pattern) : (host) => host === pattern;
}

/** Whether a credential may be in a request for a path. */
export function isBound({ places }: Binding, scheme: "http" | "https", path: string): boolean {
  return places.some((place) => place.scheme === scheme && place.matches(path));
}
