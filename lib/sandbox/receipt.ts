import { createHash, hash, type KeyObject } from "node:crypto";
import { createReadStream, existsSync, fstatSync, readFileSync } from "node:fs";
import { hostname, release } from "node:os";
import { join, posix } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import type { Audit } from "../audit/audit.ts";
import { type Envelope, signStatement } from "../audit/dsse.ts";
import { type AttestedPolicy, ReceiptRecorder } from "../audit/receipt.ts";
import { root } from "../native.ts";
import type { LaunchPlan } from "../plan/launch-plan.ts";
import type { Workspace } from "../plan/workspace.ts";
import { type Policy, policyText } from "../policy/policy.ts";
import type { SandboxFiles, WallStatus } from "./types.ts";

/** What a receipt is made for. */
export interface Attested {
  readonly name: string;
  readonly policy: Policy;
  readonly plan: LaunchPlan;
  readonly workspace: Workspace;
  readonly mode: string;
  readonly enforcement: readonly WallStatus[];
}

/** How a call's program was looked for. */
export interface StartedProgram {
  readonly file: string;
  readonly cwd: string;
  readonly path: string;
}

/** What is still asked of a sandbox when it is to end may take so long. */
const lastLookMs = 1000;
/** Hashes of programs' files by what changes with their content: the same few are started again and again. */
const hashes = new Map<string, string>();
const mostHashes = 256;

/** The receipt of one sandbox, from its making to its end. */
export class SandboxReceipt {
  readonly #attested: Attested;
  readonly #audit: Audit;
  readonly #key: KeyObject;
  readonly #files: SandboxFiles;
  readonly #recorder: ReceiptRecorder;
  readonly #looks = new Set<Promise<void>>();
  readonly #hashing = new Set<Promise<void>>();

  /** @param files opens what programs inside would open, until its init is gone */
  constructor(attested: Attested, key: KeyObject, audit: Audit, files: SandboxFiles) {
    const { name, policy, workspace, mode, enforcement } = attested;
    this.#attested = attested;
    this.#audit = audit;
    this.#key = key;
    this.#files = files;
    this.#recorder = new ReceiptRecorder({
      sandbox: name,
      policy: attestedPolicy(policy),
      host: { name: hostname(), kernel: release(), architecture: process.arch },
      version: (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version,
      mode,
      workspace: { mode: workspace.mode, access: workspace.access, path: workspace.hostPath },
      walls: enforcement.map(({ wall, status }) => ({ wall, status })),
    });
    audit.follow(name, (event) => this.#recorder.note(event));
  }

  /** Another policy holds from here on. */
  policyApplied(policy: Policy): void {
    this.#recorder.policyApplied(attestedPolicy(policy));
  }

  /** A call is about to start a program: its file is opened before that. */
  started(program: StartedProgram): void {
    const look: Promise<void> = this.#look(program)
      .catch(() => this.#recorder.program(program.file, null, "call")) // it ended meanwhile
      .finally(() => this.#looks.delete(look));
    this.#looks.add(look);
  }

  /** Before the init is killed: what was started last may not have been looked at. */
  async settle(): Promise<void> {
    if (this.#looks.size > 0) await Promise.race([Promise.all(this.#looks), pause(lastLookMs, null, { ref: false })]);
  }

  /** When all is cleared away. @param gone what was seen of that already */
  async seal(gone: {
    readonly initExited: boolean;
    readonly cgroups: readonly string[];
    readonly folders: readonly string[];
    readonly controlSocket: string;
  }): Promise<Envelope> {
    await Promise.all(this.#hashing);
    const { name, plan } = this.#attested;
    this.#audit.follow(name, null);
    const areGone = (paths: readonly string[]): boolean => !paths.some((path) => existsSync(path));
    const { cgroups, initExited } = gone;
    const statement = this.#recorder.statement({
      initExited,
      // The kernel ends all of a pid namespace with its first process, and removes no cgroup that holds one.
      processesGone: initExited && (plan.namespaces.includes("pid") || (cgroups.length > 0 && areGone(cgroups))),
      foldersCleared: areGone(gone.folders),
      controlSocketRemoved: areGone([gone.controlSocket]),
    });
    return signStatement(statement, this.#key);
  }

  async #look({ file, cwd, path }: StartedProgram): Promise<void> {
    const places = file.includes("/") ? [file] : path.split(":").map((folder) => posix.join(folder || ".", file));
    for (const place of places) {
      const found = await this.#files.open(posix.resolve(cwd, place), { roots: ["/"] });
      if (found.kind !== "file") continue;
      const hashing: Promise<void> = hashFile(found.fd)
        .then((sha256) => this.#recorder.program(found.path, sha256, "call"))
        .catch(() => this.#recorder.program(found.path, null, "call"))
        .finally(() => this.#hashing.delete(hashing));
      this.#hashing.add(hashing);
      return;
    }
    this.#recorder.program(file, null, "call");
  }
}

function attestedPolicy(policy: Policy): AttestedPolicy {
  const text = policy[policyText];
  return {
    source: policy.source,
    ...(text === undefined ? {} : { sourceSha256: hash("sha256", text) }),
    sha256: hash("sha256", JSON.stringify(policy)),
  };
}

/** Not at once: a program can be a hundred megabytes long. Closes the descriptor. */
async function hashFile(fd: number): Promise<string> {
  const stream = createReadStream("", { fd, autoClose: true, highWaterMark: 256 * 1024 });
  const { dev, ino, size, ctimeNs } = fstatSync(fd, { bigint: true });
  const key = `${dev}:${ino}:${size}:${ctimeNs}`;
  const known = hashes.get(key);
  if (known !== undefined) {
    stream.destroy();
    return known;
  }
  const sum = createHash("sha256");
  for await (const chunk of stream) sum.update(chunk as Buffer);
  const found = sum.digest("hex");
  if (hashes.size < mostHashes) hashes.set(key, found);
  return found;
}
