/** What is known of one connection, and of one request on it: all that the decision looks at. */
export interface Flow {
  /** The program that connects, as the broker read it while it stood still; null where it could not be told. */
  readonly program: Program | null;
  /** The name that the sandbox asked for, lower case, or the address that it dialled itself. */
  readonly host: string;
  readonly port: number;
  /** Set where the request is seen: an inspected endpoint. */
  readonly request?: Request;
}

export interface Program {
  /** As the sandbox sees it. */
  readonly path: string;
  readonly sha256?: string;
  /** Why its path says nothing about what it is: no grant that names programs is for it. */
  readonly doubt?: ProgramDoubt;
  /** For records alone: both are for a program to choose (kernel-notes D2). */
  readonly origin?: { readonly ancestors: readonly string[]; readonly script?: string };
  /** Where its content is not what was first seen under the path: what that was. */
  readonly firstSeen?: string;
}

/**
 * `writable`: the sandbox can write its file. `deleted`: it has no name any more. `foreign-code`: code of another file that
 * the sandbox can write was mapped into it. `changed`: its content is not what was seen first.
 */
export type ProgramDoubt = "writable" | "deleted" | "foreign-code" | "changed";

export interface Request {
  readonly method: string;
  /** Canonical (canonical.ts). */
  readonly path: string;
  readonly query?: string;
  /** Methods that some servers take it by instead, since its fields say so: each has to be allowed as well. */
  readonly alsoMethods?: readonly string[];
}

/** What is missing for a flow to be allowed, most general first. */
export type Reason =
  /** No endpoint names the host. */
  | "host"
  /** Some endpoint names the host, none this port. */
  | "port"
  /** An endpoint names host and port, but not for this program. */
  | "program"
  /** The program could not be told, or is not to be trusted by its path. */
  | "identity"
  /** The name leads to an address that is not dialled. */
  | "address"
  /** No endpoint of host and port has this path. */
  | "path"
  /** No rule allows the request. */
  | "rule"
  /** A deny rule refuses it. */
  | "deny-rule"
  /** The request has no single meaning. */
  | "malformed"
  /** It carries the placeholder of a credential that is not for this place, or that cannot be had. */
  | "credential"
  /** It carries a secret. */
  | "leak"
  /** Nothing was missing: it was permitted, and its server not reached. */
  | "unreachable"
  /** The sandbox has as many connections as it may have at once. */
  | "too-many"
  /** All traffic of the sandbox was switched off. */
  | "switched-off";

export interface Verdict {
  readonly allowed: boolean;
  /** The key of the network policy that decided; null where none speaks of the destination. */
  readonly policy: string | null;
  /** The rule in words: `GET /repos/**`, or the endpoint. */
  readonly rule: string | null;
  /** Undefined where nothing was missing. In audit mode an allowed flow has one too. */
  readonly reason?: Reason;
  /** One sentence for people. */
  readonly detail: string;
  /** The method that was judged, where a field of the request names another than its first line. */
  readonly method?: string;
  /** What would allow it, as a line of a policy or a flag. */
  readonly remedy?: string;
  /** No entry grants it: `--net log` alone does. */
  readonly unlisted?: true;
  /** The credential that was to go where it may not, or that cannot be had. */
  readonly credential?: string;
  /** A program's content is not what was pinned or first seen: what that is (SHA-256). */
  readonly expectedSha256?: string;
}
