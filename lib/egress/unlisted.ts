import type { NetworkEndpoint } from "../policy/network.ts";
import { secretsInUse } from "../secrets/secret-search.ts";
import type { ProgramDoubt, Request } from "./flow.ts";

/** What no entry of a policy grants and `--net log` permitted: one program's connections to one place, or requests on them. */
export interface Unlisted {
  /** Null where it could not be told. */
  readonly program: string | null;
  /** Why an entry that names it would grant it nothing. */
  readonly doubt?: ProgramDoubt;
  /** The name that it asked for, lower case, or the address. */
  readonly host: string;
  /** From 1. */
  readonly port: number;
  /** How often. */
  readonly count: number;
  /** It was not what passes without `protocol: tcp`: TLS that asks for another name, or hides it. */
  readonly isOpaque: boolean;
  /** Why it led nowhere, where it never led anywhere. */
  readonly unreached?: string;
  /** Of an endpoint where requests are read: which it would have refused. */
  readonly request?: Pick<Request, "method" | "path" | "alsoMethods">;
  /** Whose settings hold for the request; absent where its path is no endpoint's. */
  readonly endpoint?: NetworkEndpoint;
}

/** All of it since the sandbox was made. */
export interface UnlistedLog {
  /** In the order of their first time. */
  readonly connections: readonly Unlisted[];
  /** There was more than is kept. */
  readonly isCut: boolean;
}

/** A sandbox may go anywhere: what it is remembered by must not fill memory. */
const mostKept = 2048;

/** A policy is made of it: a secret in a path stands for any segment. */
function withoutSecrets(one: Omit<Unlisted, "count">): Omit<Unlisted, "count"> {
  if (one.request === undefined) return one;
  const path = secretsInUse.redact(one.request.path).replaceAll("[redacted]", "*");
  return path === one.request.path ? one : { ...one, request: { ...one.request, path } };
}

/** Kept from first to last, in order. */
export class UnlistedConnections {
  readonly #byKey = new Map<string, Unlisted>();
  #isCut = false;

  add(named: Omit<Unlisted, "count">): void {
    const one = withoutSecrets(named);
    const { program, doubt, host, port, request } = one;
    const key = JSON.stringify([program, doubt, host, port, request?.method, request?.path, request?.alsoMethods]);
    const known = this.#byKey.get(key);
    if (known === undefined && this.#byKey.size >= mostKept) {
      this.#isCut = true;
      return;
    }
    const { unreached, ...reached } = { ...known, ...one };
    const isUnreached = one.unreached !== undefined && (known === undefined || known.unreached !== undefined);
    this.#byKey.set(key, {
      ...reached,
      count: (known?.count ?? 0) + 1,
      isOpaque: one.isOpaque || known?.isOpaque === true,
      ...(isUnreached ? { unreached: one.unreached } : {}),
    });
  }

  log(): UnlistedLog {
    return { connections: [...this.#byKey.values()], isCut: this.#isCut };
  }
}
