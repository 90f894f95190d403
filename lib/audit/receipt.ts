import type { AuditEvent } from "./audit.ts";

/** Which policy held. */
export interface AttestedPolicy {
  /** The file as it was named, or `<preset NAME>`. */
  readonly source: string;
  /** Of the file's bytes; absent for what no file says. */
  readonly sourceSha256?: string;
  /** Of the policy as it held, flags included, as JSON. */
  readonly sha256: string;
}

/** What a receipt is about, known when the sandbox is made. */
export interface ReceiptAbout {
  readonly sandbox: string;
  readonly policy: AttestedPolicy;
  readonly host: { readonly name: string; readonly kernel: string; readonly architecture: string };
  readonly version: string;
  readonly mode: string;
  readonly workspace: { readonly mode: string; readonly access: string; readonly path: string };
  readonly walls: readonly { readonly wall: string; readonly status: string }[];
}

/** What was seen to be gone at the end; each is true only where it was looked at. */
export interface Teardown {
  /** Its first process. */
  readonly initExited: boolean;
  /** All others: they ended with it in its pid namespace, or their cgroup could be removed. */
  readonly processesGone: boolean;
  /** Its own folders on the host: layers, homes. */
  readonly foldersCleared: boolean;
  readonly controlSocketRemoved: boolean;
}

export const statementType = "https://in-toto.io/Statement/v1";
export const predicateType = "urn:holdfast:receipt:v1";

/** Distinct things of one kind that are told apart: a session can make up any number. */
const mostDistinct = 1000;

interface Counted {
  count: number;
}

/** Things that are counted where they are equal. */
class Fold<T extends object> {
  readonly #found = new Map<string, T & Counted>();
  #others = 0;

  add(key: string, make: () => T): (T & Counted) | undefined {
    let found = this.#found.get(key);
    if (found === undefined) {
      if (this.#found.size >= mostDistinct) {
        this.#others++;
        return undefined;
      }
      found = { ...make(), count: 0 };
      this.#found.set(key, found);
    }
    found.count++;
    return found;
  }

  /** Takes one back. */
  undo(key: string): void {
    const found = this.#found.get(key);
    if (found !== undefined && --found.count === 0) this.#found.delete(key);
  }

  list(): { items: readonly (T & Counted)[]; others: number } {
    return { items: [...this.#found.values()], others: this.#others };
  }
}

interface LeftFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

interface Program {
  readonly path: string;
  /** Null where its file could not be read. */
  readonly sha256: string | null;
  /** `call`: started by whoever uses the sandbox; `connection`: it connected. */
  readonly by: "call" | "connection";
}

interface ModelUse {
  readonly route: string;
  readonly model: string | null;
  inputTokens: number;
  outputTokens: number;
  /** Without an answer. */
  failed: number;
}

/** Names that a session chose are cut to this length. */
const longestName = 200;

/**
 * Folds the records of one sandbox (audit.ts) to what its receipt says. Names and counts: no arguments, no paths of
 * requests, no content.
 */
export class ReceiptRecorder {
  readonly #about: ReceiptAbout;
  readonly #began = new Date();
  readonly #programs = new Fold<Program>();
  readonly #calls = new Fold<{ file: string; failed: number }>();
  readonly #tools = new Fold<{ tool: string; failed: number }>();
  readonly #refused = new Fold<{ kind: string; subject: string; program?: string }>();
  readonly #connected = new Fold<{ host: string; port: number; program: string | null }>();
  readonly #injected = new Fold<{ credential: string; host: string; port: number }>();
  /** The last request that each was told to go into. */
  readonly #lastUse = new Map<string, string>();
  readonly #tokens = new Fold<{ credential: string; host: string; port: number }>();
  readonly #asked = new Fold<ModelUse>();
  /** That came into force while it ran. */
  readonly #laterPolicies: (AttestedPolicy & { readonly at: string })[] = [];
  readonly #extracted: LeftFile[] = [];
  readonly #imported: LeftFile[] = [];
  readonly #applied: { readonly path: string; readonly kind: string; readonly sha256?: string }[] = [];
  #records = 0;
  #wasKilled = false;

  constructor(about: ReceiptAbout) {
    this.#about = about;
  }

  /** A program's file, as it was when it was started or when it connected. */
  program(path: string, sha256: string | null, by: Program["by"]): void {
    this.#programs.add(`${by} ${path} ${sha256}`, () => ({ path, sha256, by }));
  }

  /** Another policy has come into force. */
  policyApplied(policy: AttestedPolicy): void {
    if (this.#laterPolicies.length < mostDistinct)
      this.#laterPolicies.push({ ...policy, at: new Date().toISOString() });
  }

  note(event: AuditEvent): void {
    this.#records++;
    const text = (field: string): string => String(event[field]);
    switch (event.type) {
      case "call.started":
        this.#calls.add(text("file"), () => ({ file: text("file"), failed: 0 }));
        break;
      case "call.ended":
        this.#ended(event);
        break;
      case "tool.called": {
        const found = this.#tools.add(text("tool"), () => ({ tool: text("tool"), failed: 0 }));
        if (found !== undefined && event["isError"] === true) found.failed++;
        break;
      }
      case "denied":
        this.#refuse(text("kind"), text("subject"), Number(event["count"]));
        break;
      case "connection":
        this.#connection(event);
        break;
      case "request":
        this.#connection(event);
        if (event["allowed"] === true) this.#used(event);
        else this.#unused(event);
        break;
      case "name.refused":
        this.#refuse("name", text("name").slice(0, longestName), 1);
        break;
      case "credential.used":
        this.#used(event);
        break;
      case "credential.token": {
        const [credential, host, port] = [text("credential"), text("host"), Number(event["port"])];
        this.#tokens.add(`${credential} ${host}:${port}`, () => ({ credential, host, port }));
        break;
      }
      case "inference":
        this.#model(event);
        break;
      case "credential.refused":
        this.#refuse("credential", `${text("credential")} to ${text("host")}:${text("port")}`, 1);
        break;
      case "program.changed":
        this.#refuse("program", text("program"), 1);
        break;
      case "network.killed":
        this.#wasKilled = true;
        break;
      case "file.extracted":
        this.#extracted.push(leftFile(event));
        break;
      case "file.imported":
        this.#imported.push(leftFile(event));
        break;
      case "change.applied":
        this.#applied.push({
          path: text("path"),
          kind: text("kind"),
          ...(typeof event["sha256"] === "string" ? { sha256: event["sha256"] } : {}),
        });
        break;
      default:
    }
  }

  /** What goes into a request's head is told of with it, before it is known whether it can be had. */
  #used(event: AuditEvent): void {
    const { credentials } = event;
    const [host, port] = [String(event["host"]), Number(event["port"])];
    for (const credential of Array.isArray(credentials) ? credentials : []) {
      const key = `${credential} ${host}:${port}`;
      this.#injected.add(key, () => ({ credential: String(credential), host, port }));
      if (event.type === "request" && this.#lastUse.size < mostDistinct) this.#lastUse.set(key, requestOf(event));
    }
  }

  /** It could not be had: that request was not sent. */
  #unused(event: AuditEvent): void {
    const key = `${event["credential"]} ${event["host"]}:${event["port"]}`;
    if (event["reason"] !== "credential" || this.#lastUse.get(key) !== requestOf(event)) return;
    this.#lastUse.delete(key);
    this.#injected.undo(key);
  }

  #model(event: AuditEvent): void {
    const route = String(event["route"]);
    const model = typeof event["model"] === "string" ? event["model"].slice(0, longestName) : null;
    const make = (): ModelUse => ({ route, model, inputTokens: 0, outputTokens: 0, failed: 0 });
    const found = this.#asked.add(`${route} ${model}`, make);
    if (found === undefined) return;
    found.inputTokens += Number(event["inputTokens"]);
    found.outputTokens += Number(event["outputTokens"]);
    if (event["fault"] !== undefined) found.failed++;
  }

  #ended(event: AuditEvent): void {
    const isFailed = event["exitCode"] !== 0;
    const file = String(event["file"]);
    if (isFailed) {
      const found = this.#calls.add(file, () => ({ file, failed: 0 }));
      if (found !== undefined) {
        found.count--; // its start was counted
        found.failed++;
      }
    }
    if (typeof event["limit"] === "string") this.#refuse("limit", event["limit"], 1);
  }

  #refuse(kind: string, subject: string, count: number): void {
    const found = this.#refused.add(`${kind} ${subject}`, () => ({ kind, subject }));
    if (found !== undefined) found.count += count - 1;
  }

  #connection(event: AuditEvent): void {
    const host = String(event["host"]);
    const port = Number(event["port"]);
    const program = typeof event["program"] === "string" ? event["program"] : null;
    const sha256 = typeof event["sha256"] === "string" ? event["sha256"] : null;
    if (program !== null && event.type === "connection") this.program(program, sha256, "connection");
    if (event["allowed"] !== true) {
      const place = `${host}:${port}`;
      const subject = event.type === "request" ? `${String(event["method"])} at ${place}` : place;
      this.#refused.add(`${event.type} ${subject} ${program}`, () => ({
        kind: event.type === "request" ? "request" : "connect",
        subject,
        ...(program === null ? {} : { program }),
      }));
    } else if (event.type === "connection") {
      this.#connected.add(`${host}:${port} ${program}`, () => ({ host, port, program }));
    }
  }

  /** The in-toto statement. Its subjects are the files that left, or the policy where none did. */
  statement(teardown: Teardown): object {
    const { policy, ...about } = this.#about;
    const files = this.#extracted.map(({ path, sha256 }) => ({ name: path, digest: { sha256 } }));
    return {
      _type: statementType,
      subject: files.length > 0 ? files : [{ name: policy.source, digest: { sha256: policy.sha256 } }],
      predicateType,
      predicate: {
        ...about,
        policy,
        laterPolicies: this.#laterPolicies,
        began: this.#began.toISOString(),
        ended: new Date().toISOString(),
        records: this.#records,
        programs: this.#programs.list(),
        calls: this.#calls.list(),
        tools: this.#tools.list(),
        refused: this.#refused.list(),
        connected: this.#connected.list(),
        networkKilled: this.#wasKilled,
        injected: this.#injected.list(),
        tokens: this.#tokens.list(),
        models: this.#asked.list(),
        imported: this.#imported,
        extracted: this.#extracted,
        applied: this.#applied,
        teardown: { ...teardown, isGone: Object.values(teardown).every((is) => is === true) },
      },
    };
  }
}

function requestOf({ method, path }: AuditEvent): string {
  return `${method} ${path}`;
}

function leftFile({ path, bytes, sha256 }: AuditEvent): LeftFile {
  return { path: String(path), bytes: Number(bytes), sha256: String(sha256) };
}
