import { channel, tracingChannel } from "node:diagnostics_channel";
import { errorMonitor } from "node:events";
import { statSync } from "node:fs";
import { join } from "node:path";
import { Audit } from "../audit/audit.ts";
import type { Envelope } from "../audit/dsse.ts";
import type { Authority } from "../egress/authority.ts";
import type { UnlistedLog } from "../egress/unlisted.ts";
import { HoldfastError } from "../errors.ts";
import { type HostCapabilities, probeHost } from "../host/capabilities.ts";
import { native, randomText, root } from "../native.ts";
import { layerIds } from "../plan/encode.ts";
import { sharedEtc } from "../plan/etc.ts";
import { identity } from "../plan/identity.ts";
import type { LaunchPlan, TrustFiles, TrustFolder } from "../plan/launch-plan.ts";
import { plan as makePlan } from "../plan/plan.ts";
import { syscallName } from "../plan/seccomp-profile.ts";
import { toolFolder, type Workspace } from "../plan/workspace.ts";
import { defaultPolicy } from "../policy/default-policy.ts";
import { hasEgress, hasInspection } from "../policy/network.ts";
import type { ExtractRule, Limits, Policy } from "../policy/policy.ts";
import { networkRefusal } from "../policy/refusal.ts";
import type { LeakGuard } from "../secrets/leak-guard.ts";
import { secretsInUse } from "../secrets/secret-search.ts";
import type { ApplyOptions, ApplyResult } from "./apply.ts";
import { capture } from "./capture.ts";
import { assertHeld, heldByCgroup, SandboxCgroup } from "./cgroup.ts";
import { sweepCgroups } from "./cgroup-removal.ts";
import type { ChangeSet } from "./changes.ts";
import type { Channel } from "./channel.ts";
import { ControlSocket, sweepSockets } from "./control-socket.ts";
import { describeDenials } from "./denials.ts";
import { displayPath } from "./display-path.ts";
import { enforcementOf } from "./enforcement.ts";
import { ExecError } from "./exec-error.ts";
import type { ExtractOptions, ExtractPathsOptions, Manifest } from "./extract.ts";
import { ConfinedFiles } from "./files.ts";
import type { Forward, ForwardOptions } from "./forward.ts";
import type { ImportResult } from "./import.ts";
import { InsideSockets } from "./inside-sockets.ts";
import { abandon, begin, type LiveInit, launch } from "./launch.ts";
import { launchError } from "./launch-error.ts";
import { areNamespacesRefused, firstMode, makeOwnFolders, withoutMounts } from "./mode.ts";
import { killNetworks, SandboxNetwork } from "./network.ts";
import { checkCall, checkSandboxOptions, environmentList } from "./options.ts";
import { launchLayered, layersOf, sourceOf } from "./private-layer.ts";
import { ConfinedProcess, type StartOptions } from "./process.ts";
import { configuredNames, missingProtected, type ProtectedPaths } from "./protected-paths.ts";
import { assertPutAside, type Beginning, type PutAside, putAside } from "./put-aside.ts";
import { ReachedLimits } from "./reached-limits.ts";
import { forgetLeftover, registerLeftover } from "./reaper.ts";
import type { SandboxReceipt } from "./receipt.ts";
import type {
  Denial,
  ExecOptions,
  ExecResult,
  Mode,
  SandboxFiles,
  SandboxLike,
  SandboxOptions,
  SandboxProcess,
  SpawnOptions,
  Unreached,
  WallStatus,
} from "./types.ts";
import { prepareWorkspace, removePrivateFolder, sweepPrivateFolders, ungranted } from "./workspace.ts";
import { workspacePath } from "./workspace-path.ts";

/** Payloads are in docs/embedding.md. */
const denialChannel = channel("holdfast:denial");
const launchChannel = tracingChannel("holdfast:launch");

/** Longer than any session: the authority's key ends with the sandbox. */
const authorityMs = 30 * 24 * 3_600_000;

const defaultMaxBufferBytes = 10 * 1024 * 1024;

let host: HostCapabilities | undefined;

/** This host, probed once per process. */
export function thisHost(): HostCapabilities {
  host ??= probeHost(sharedEtc);
  return host;
}

/** Options for tests of the walls: what is made of the plan before it is carried out. No part of the product sets it. */
export interface LaunchHooks {
  readonly alterPlan?: (plan: LaunchPlan) => LaunchPlan;
  readonly traceOpens?: boolean;
  /** The sandbox's certificate authority, which is made then whatever the policy says. */
  readonly onAuthority?: (authority: Authority) => void;
  /** The line to the init, for the benchmark of the native layer. */
  readonly onLaunched?: (init: LiveInit) => void;
}

/**
 * One confined place: processes in it see what the policy grants and nothing else, and end with it.
 *
 * @example
 * await using sandbox = await Sandbox.create({ workdir: "/home/me/project" });
 * const { stdout, exitCode } = await sandbox.exec("make", ["test"]);
 */
export class Sandbox implements SandboxLike {
  /** For logs and the control socket. */
  readonly name: string;
  /** What is permitted in it. */
  readonly policy: Policy;
  /** What its walls are made of. */
  readonly mode: Mode;
  /** What was raised for it, as data. */
  readonly plan: LaunchPlan;
  /** The workspace as it is shown. */
  readonly workspace: Workspace;
  /** The workspace's path inside. */
  readonly workdir: string;
  /** How far each wall stands. */
  readonly enforcement: readonly WallStatus[];
  /** Opens and replaces files inside. */
  readonly files: SandboxFiles;
  /** Where the tools' own Node and programs are inside; null when it was made without tools. */
  readonly toolRuntime: { readonly node: string; readonly programs: string } | null;
  /** Protected names that appeared during the session and were put aside when it ended. */
  refusedNames: readonly string[] = [];
  /** The signed statement of what happened in it (`receiptKey`); null until it is disposed of. */
  receipt: Envelope | null = null;
  /** The id of the session that a worker serves in it: it is found by this too (`holdfast extract`). */
  session: string | undefined;
  readonly #init: LiveInit;
  readonly #beginning: Beginning;
  readonly #cgroup: SandboxCgroup | null;
  readonly #environment: readonly string[];
  readonly #audit: Audit | undefined;
  readonly #reached: ReachedLimits | null;
  readonly #network: SandboxNetwork;
  readonly #inside: InsideSockets;
  /** When its view of the workspace was made, in nanoseconds since 1970. */
  readonly #since: bigint;
  #socket: ControlSocket | undefined;
  #receipt: SandboxReceipt | null = null;
  #ending: Promise<void> | undefined;
  #disposing: Promise<void> | undefined;
  #isInitGone = false;
  /** Aborted when the sandbox ends: what was asked for by its socket is not gone on with. Made when something is. */
  #ended: AbortController | undefined;

  private constructor(
    name: string,
    policy: Policy,
    plan: LaunchPlan,
    workspace: Workspace,
    init: LiveInit,
    beginning: Beginning,
    cgroup: SandboxCgroup | null,
    audit: Audit | undefined,
    network: SandboxNetwork,
  ) {
    this.#since = beginning.since;
    this.#audit = audit;
    this.name = name;
    this.policy = policy;
    this.plan = plan;
    this.workspace = workspace;
    this.workdir = workspace.path;
    this.mode = workspace.own === undefined ? "namespaces" : "landlock";
    this.enforcement = enforcementOf(plan, workspace.cgroup);
    const shownTools = { node: `${toolFolder}/node`, programs: `${toolFolder}/programs` };
    this.toolRuntime = workspace.toolRuntime === null || this.mode === "landlock" ? workspace.toolRuntime : shownTools;
    this.#init = init;
    const purposes = [...plan.seccomp.notify.values()];
    const tellsLimits = purposes.some((purpose) => purpose === "wait" || purpose === "descriptor");
    this.#reached = tellsLimits && init.broker !== 0 ? new ReachedLimits(init.broker) : null;
    this.#network = network;
    this.#inside = new InsideSockets(() => init.channel, plan.territory === undefined ? 0 : init.broker);
    this.#beginning = beginning;
    this.#cgroup = cgroup;
    this.#environment = Object.entries(plan.environment).map(([key, value]) => `${key}=${value}`);
    this.files = new ConfinedFiles(() => this.#live());
  }

  /**
   * Raises every wall and proves it, then resolves.
   *
   * @throws HoldfastError when a wall cannot be raised, does not stand, or the policy cannot be enforced: nothing ran
   */
  static async create(options: SandboxOptions, hooks: LaunchHooks = {}): Promise<Sandbox> {
    checkSandboxOptions(options);
    const policy = options.policy ?? defaultPolicy;
    const name = options.name ?? `hf-${randomText(5)}`;
    const make = async (): Promise<Sandbox> => {
      const refusal = networkRefusal(policy);
      if (refusal !== null) throw refusal;
      const create = async (mode: Mode): Promise<Sandbox> => {
        const begun = begin(mode);
        try {
          return await Sandbox.#create({ ...options, name, mode }, hooks, policy, begun);
        } catch (error) {
          abandon(begun);
          throw error;
        }
      };
      try {
        return await create(firstMode(options.mode));
      } catch (error) {
        if (options.mode !== undefined || !areNamespacesRefused(error)) throw error;
        return await create("landlock");
      }
    };
    const about = { name, workdir: options.workdir, policy: policy.source };
    return launchChannel.hasSubscribers ? launchChannel.tracePromise(make, about) : make();
  }

  static async #create(options: SandboxOptions, hooks: LaunchHooks, policy: Policy, begun: number): Promise<Sandbox> {
    const audit = options.audit ?? (options.receiptKey === undefined ? undefined : new Audit(null));
    const capabilities = thisHost();
    const name = options.name ?? `hf-${randomText(5)}`;
    const traceOpens = hooks.traceOpens ?? false;
    // Up to the end of this millisecond: what was written just before is no conflict.
    const since = BigInt(Date.now() + 1) * 1_000_000n;
    const { workspace: prepared, found } = await prepareWorkspace(options, policy, capabilities, name, {
      toolRuntime: options.tools ? { node: process.execPath, programs: toolPrograms() } : null,
      // Nothing else holds the number of processes there (kernel-notes E7).
      cgroup: heldByCgroup(
        options.mode === "landlock" ? { ...policy, requires: [...policy.requires, "cgroup-processes"] } : policy,
      ),
      seccomp: { traceOpens },
      hostUid: (owner) => {
        const who = identity(policy, capabilities, owner);
        return { uid: who.hostUid, gid: who.hostGid };
      },
    });
    let workspace = prepared;
    let cgroup: SandboxCgroup | null = null;
    const network = new SandboxNetwork(name, audit);
    try {
      const placeholders = await network.openCredentials(policy, prepared, capabilities.etc.keys());
      network.checkVariables({ ...prepared.environment, ...policy.environment.set });
      if (placeholders !== null) workspace = { ...prepared, environment: { ...prepared.environment, ...placeholders } };
      const certified =
        hasInspection(policy) || hooks.onAuthority !== undefined ? await certify(name, options.mode) : null;
      if (certified !== null) hooks.onAuthority?.(certified.authority);
      const { drop, hostUid, hostGid } = identity(policy, capabilities, prepared.owner);
      if (options.mode === "landlock") {
        const own = await makeOwnFolders({ uid: hostUid, gid: hostGid }, certified?.trustFolder);
        workspace = withoutMounts(workspace, own);
      }
      // All at once: the init raises the walls, the rest is made ready here.
      let sandbox: Sandbox | undefined;
      const launching = launchLayered(
        workspace,
        drop ? { uid: hostUid, gid: hostGid } : null,
        async (over, isSecond) => {
          const made = makePlan(policy, capabilities, over, certified?.trust);
          const plan = hooks.alterPlan?.(made) ?? made;
          if (plan.cgroup !== null) cgroup ??= await SandboxCgroup.make(name, plan.cgroup);
          const init = await launch(plan, capabilities.architecture, isSecond ? 0 : begun, cgroup);
          return { over, plan, init };
        },
      );
      const prepare = async (): Promise<{
        beginning: Beginning;
        socket: ControlSocket;
        gateways: typeof import("../egress/gateway.ts") | null;
      }> => {
        const beginning = beginningOf(policy, workspace, found, since);
        // Most sandboxes have no network, and load nothing for it.
        const gateways = hasEgress(policy) ? await import("../egress/gateway.ts") : null;
        return { beginning, gateways, socket: await prepareControl(name, beginning.missing, () => sandbox, network) };
      };
      const [first, beside] = await Promise.allSettled([launching, prepare()]);
      if (first.status === "rejected") {
        if (beside.status === "fulfilled") await beside.value.socket.close();
        throw first.reason;
      }
      const { over, plan, init } = first.value;
      hooks.onLaunched?.(init);
      if (beside.status === "rejected") {
        await endInit(init);
        throw beside.reason;
      }
      const { beginning, socket, gateways } = beside.value;
      if (gateways !== null && plan.egress !== null) {
        const { broker, resolver } = init;
        const authority = certified?.authority ?? null;
        const hasProxy = options.proxyEnv ?? false;
        network.carryBy(
          new gateways.Gateway({
            ...{ policy, sandbox: name, broker, resolver, audit, authority, hasProxy },
            credentials: network.credentials,
          }),
          [...plan.seccomp.notify.values()].includes("code"),
        );
      }
      sandbox = new Sandbox(name, policy, plan, over, init, beginning, cgroup, audit, network);
      if (options.receiptKey !== undefined && audit !== undefined) {
        const { SandboxReceipt } = await import("./receipt.ts");
        sandbox.#receipt = new SandboxReceipt(
          sandbox,
          options.receiptKey,
          audit,
          new ConfinedFiles(() => init.channel),
        );
      }
      sandbox.#open(socket);
      try {
        assertHeld(workspace.cgroup, cgroup, init.pid);
      } catch (error) {
        await sandbox.end();
        throw error;
      }
      return sandbox;
    } catch (error) {
      network.close();
      network.forgetSecrets();
      await SandboxCgroup.remove(cgroup);
      for (const folder of foldersOf(workspace)) await clearPrivateFolder(folder);
      throw launchError(error, policy);
    }
  }

  #open(socket: ControlSocket): void {
    this.#socket = socket;
    this.#audit?.append({
      type: "sandbox.created",
      sandbox: this.name,
      policy: this.policy.source,
      workdir: this.workspace.hostPath,
      workspace: this.workspace.mode,
      uid: this.plan.identity.hostUid,
    });
  }

  /** What the control socket tells of it. */
  get description(): object {
    return {
      name: this.name,
      session: this.session,
      pid: process.pid,
      init: this.#init.pid,
      workdir: this.workdir,
      policy: this.policy.source,
      enforcement: this.enforcement,
    };
  }

  /** Where the control socket is. */
  get controlSocket(): string {
    return this.#socket?.path ?? "";
  }

  /**
   * Changes the running policy. Static walls (files, processes, limits) are fixed when the sandbox is made; what may
   * change is the network section, where there is one. Connections that the new one refuses are reset at once. What was
   * killed by `killNetwork` stays so.
   *
   * @throws HoldfastError ERR_HOLDFAST_POLICY_STATIC when a static part differs: the running policy is left as it is
   */
  applyPolicy(policy: Policy): void {
    const refusal = networkRefusal(policy);
    if (refusal !== null) throw refusal;
    for (const part of [
      "filesystem",
      "process",
      "limits",
      "environment",
      "protectedNames",
      "requires",
      "workspace",
      "credentials",
      "inference",
    ] as const) {
      if (JSON.stringify(withoutPlaces(policy[part])) === JSON.stringify(withoutPlaces(this.policy[part]))) continue;
      throw new HoldfastError(`${part} cannot change in a running sandbox`, {
        code: "ERR_HOLDFAST_POLICY_STATIC",
        step: "policy",
        hint: "Create a new sandbox with the changed policy.",
      });
    }
    this.#network.apply(policy);
    this.#audit?.append({ type: "policy.applied", sandbox: this.name, policy: policy.source });
    this.#receipt?.policyApplied(policy);
  }

  /**
   * Cuts the sandbox off from the network for the rest of its life: when this returns every connection is reset, nothing
   * is dialled any more and what comes is refused, whatever the policy says. Its programs go on.
   *
   * @returns how many connections were reset
   */
  killNetwork(): number {
    return this.#network.kill();
  }

  /**
   * Listens on the host's loopback, and carries each connection to a server inside; until it is closed or the sandbox
   * ends. Any local process may connect there. Where nobody listens inside, a connection is reset.
   *
   * @example
   * await using server = await sandbox.forward(3000);
   * await fetch(`http://${server.host}:${server.port}/`);
   *
   * @throws HoldfastError ERR_HOLDFAST_FORWARD when the port on the host cannot be had; ERR_HOLDFAST_OPTION,
   * ERR_HOLDFAST_SANDBOX_GONE
   */
  async forward(port: number, options: ForwardOptions = {}): Promise<Forward> {
    this.#live();
    return this.#network.forward(port, options, this.#inside);
  }

  /** The policy's limits: what a call is given where it asks for nothing shorter or smaller. */
  get limits(): Limits {
    return this.policy.limits;
  }

  /**
   * Starts a program; the object behaves like a ChildProcess.
   *
   * @throws HoldfastError ERR_HOLDFAST_OPTION, ERR_HOLDFAST_SANDBOX_GONE
   */
  spawn(file: string, args: readonly string[] = [], options: SpawnOptions = {}): SandboxProcess {
    checkCall(file, args, options, false);
    const { wallTimeMs, outputBytes } = options.isSession === true ? {} : this.policy.limits;
    return this.start(file, args, { ...options, wallTimeMs, outputBytes });
  }

  /** As `spawn`, with what only this package uses: a terminal. */
  start(file: string, args: readonly string[], options: StartOptions): ConfinedProcess {
    const channel = this.#live();
    if (options.env !== undefined) this.#network.checkVariables(options.env);
    const [cwd, path] = [options.cwd ?? this.plan.cwd, options.env?.["PATH"] ?? this.plan.environment["PATH"]];
    this.#receipt?.started({ file, cwd, path: path ?? "/usr/bin:/bin" });
    const env =
      options.env === undefined ? this.#environment : environmentList({ ...this.plan.environment, ...options.env });
    this.#audit?.append({
      type: "call.started",
      sandbox: this.name,
      file,
      arguments: args.length,
      layer: options.layer ?? "base",
    });
    const child: ConfinedProcess = new ConfinedProcess(
      channel,
      {
        layer: options.layer === "read-only" ? layerIds.readOnly : layerIds.base,
        file,
        cwd,
        path: path ?? "/usr/bin:/bin",
        args: [file, ...args],
        env,
        rows: options.pty?.rows ?? 24,
        columns: options.pty?.columns ?? 80,
        terminal: options.pty?.settings,
        umask: options.umask ?? 0o022,
        killTreeOnExit: options.killTreeOnExit ?? false,
        // Where the broker tells of limits, its session must be known.
        quiet: options.quiet === true && this.#reached === null,
      },
      { ...options, onEnd: () => this.#reached?.end(child), lookForLimits: () => this.#reached?.look() },
      this.#cgroup,
    );
    this.#reached?.add(child);
    if (this.#audit !== undefined) this.#record(this.#audit, child, file);
    return child;
  }

  #record(audit: Audit, child: ConfinedProcess, file: string): void {
    const ended = { type: "call.ended", sandbox: this.name, file };
    child.once("exit", (exitCode: number | null, signal: string | null) => {
      audit.append({ ...ended, exitCode, signal, limit: child.limit });
    });
    // Not a listener of `error`: that nobody hears of it would be hidden.
    child.on(errorMonitor, (error: unknown) => {
      if (HoldfastError.is(error)) audit.append({ ...ended, exitCode: null, signal: null, error: error.code });
    });
  }

  /**
   * Runs a program to its end. A status other than 0 is a result, not an error.
   *
   * @throws HoldfastError ERR_HOLDFAST_EXEC when it could not be started, ERR_HOLDFAST_OPTION, ERR_HOLDFAST_SANDBOX_GONE;
   * with `reject` an ExecError when it failed
   */
  async exec(file: string, args: readonly string[] = [], options: ExecOptions = {}): Promise<ExecResult> {
    checkCall(file, args, options, true);
    const began = performance.now();
    const { wallTimeMs, outputBytes } = this.policy.limits;
    const { input, stdio } = options;
    const [first, second, third] = typeof stdio === "string" ? [stdio, stdio, stdio] : (stdio ?? []);
    const isInherited = second === "inherit" || third === "inherit";
    const child = this.start(file, args, {
      ...options,
      stdio: [input !== undefined ? "pipe" : first === "inherit" ? first : "ignore", second, third],
      wallTimeMs,
      outputBytes: isInherited ? outputBytes : undefined,
      quiet: true,
    });
    if (input !== undefined) {
      child.stdin?.on("error", () => {}); // a child that reads nothing
      child.stdin?.end(input);
    }
    const output = await capture(child, {
      maxBufferBytes: options.maxBufferBytes ?? defaultMaxBufferBytes,
      outputBytes,
    });
    const result: ExecResult = {
      ...output,
      exitCode: child.exitCode,
      signal: child.signalCode,
      timedOut: child.timedOut,
      isCanceled: child.isCanceled,
      isTerminated: child.signalCode !== null,
      cause: child.isCanceled ? options.signal?.reason : undefined,
      limit: child.limit,
      durationMs: performance.now() - began,
      usage: child.usage,
      denials: this.takeDenials(),
      enforcement: this.enforcement,
    };
    if (options.reject === true && (result.exitCode !== 0 || result.limit !== null || result.timedOut))
      throw new ExecError(file, result);
    return result;
  }

  /** For audit and receipt: one of the tools on top of it was called. */
  noteTool(tool: string, isError: boolean): void {
    this.#audit?.append({ type: "tool.called", sandbox: this.name, tool, isError });
  }

  /** What was refused since the last look. */
  takeDenials(): readonly Denial[] {
    return [...this.#takeRefusedCalls(), ...this.#takeRefusedConnections()];
  }

  /** What was permitted since the last look, and led nowhere. */
  takeUnreached(): readonly Unreached[] {
    return this.#network.takeUnreached();
  }

  /** What no entry of its policy grants, and `networkMode: "log"` permitted, since it was made. */
  unlisted(): UnlistedLog {
    return this.#network.unlisted();
  }

  #takeRefusedConnections(): readonly Denial[] {
    return this.#network.takeRefusals().map(({ remedy, ...refused }): Denial => {
      const denial: Denial = { kind: "connect", ...refused, ...(remedy === undefined ? {} : { grant: remedy }) };
      denialChannel.publish({ sandbox: this.name, ...denial });
      return denial;
    });
  }

  #takeRefusedCalls(): readonly Denial[] {
    if (this.#init.broker === 0) return [];
    const records = native().takeDenials(this.#init.broker);
    if (records.length === 0) return [];
    const denials = secretsInUse.redactAll(describeDenials(records, thisHost().architecture, syscallName));
    for (const denial of denials) {
      this.#audit?.append({ type: "denied", sandbox: this.name, ...denial });
      denialChannel.publish({ sandbox: this.name, ...denial });
    }
    return denials;
  }

  /** Ends everything inside; what it wrote in a private layer stays until `dispose`. */
  end(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  /**
   * What a private layer makes of the workspace; ends the sandbox first. What was changed outside since the sandbox was
   * made is marked as a conflict.
   *
   * @throws HoldfastError ERR_HOLDFAST_NO_PRIVATE_LAYER in `direct` mode: there the writes are made already
   */
  async changes(): Promise<ChangeSet> {
    const { mode, access, hostPath } = this.workspace;
    const layers = layersOf(this.workspace, this.#since);
    if (layers === null && mode !== "direct" && access !== "read-write") {
      return { lower: hostPath, upper: hostPath, changes: [], problems: [] };
    }
    if (layers === null) {
      throw new HoldfastError("this sandbox writes to its workspace directly: there is no private layer to list", {
        code: "ERR_HOLDFAST_NO_PRIVATE_LAYER",
        step: "workspace",
        hint: "Create it with workspace: overlay or fresh.",
      });
    }
    await this.end();
    const { collectChanges } = await import("./changes.ts");
    return collectChanges(layers);
  }

  /**
   * Makes the changes of a private layer in the real folder, protected names left out; ends the sandbox first.
   *
   * @param set from `changes()`; listed anew when absent
   */
  async apply(set?: ChangeSet, options: Pick<ApplyOptions, "overConflicts"> = {}): Promise<ApplyResult> {
    const { hostPath, owner } = this.workspace;
    const { applyChanges } = await import("./apply.ts");
    const names = ungranted(this.policy, hostPath);
    const result = await applyChanges(set ?? (await this.changes()), {
      ...options,
      to: hostPath,
      protectedNames: [...names, ...configuredNames(hostPath, names)],
      ...(this.plan.identity.drop ? { owner } : {}),
    });
    for (const change of result.applied) {
      const sha256 = result.hashes.get(change);
      const applied = {
        path: displayPath(change.path),
        kind: change.kind,
        ...(sha256 === undefined ? {} : { sha256 }),
      };
      this.#audit?.append({ type: "change.applied", sandbox: this.name, ...applied });
    }
    return result;
  }

  /**
   * Copies files out by rule (`extractFiles`): what the session added or modified, or all that it could see. In
   * `direct` mode the two are the same. Protected names never leave.
   */
  async extract(
    rules: readonly ExtractRule[],
    to: string,
    options: Omit<ExtractOptions, "protectedNames"> = {},
  ): Promise<Manifest> {
    const { extractFiles } = await import("./extract.ts");
    const protectedNames = this.policy.protectedNames.names;
    const source = sourceOf(this.workspace, this.#since);
    const guard = await this.leakGuard();
    return this.#left(await extractFiles(source, rules, to, { guard, ...options, protectedNames }), options);
  }

  /**
   * Copies files out by name, each with all that lies below it: all of them, or none and an error that says why. Where the
   * policy has `extract` rules, one of these has to name each file as well. Unless `files` says otherwise it need not be
   * one that the session changed.
   *
   * @param paths relative to the workspace, or absolute
   * @throws HoldfastError ERR_HOLDFAST_EXTRACT, ERR_HOLDFAST_OUTSIDE_WORKSPACE
   */
  async extractPaths(
    paths: readonly string[],
    to: string,
    options: Omit<ExtractPathsOptions, "protectedNames" | "within"> = {},
  ): Promise<Manifest> {
    const named = paths.map((path) => workspacePath(path, this.workspace));
    const { extractPaths } = await import("./extract.ts");
    const { extract: within, protectedNames } = this.policy;
    const guard = await this.leakGuard();
    const manifest = await extractPaths(sourceOf(this.workspace, this.#since), named, to, {
      ...{ files: "all", guard },
      ...options,
      within,
      protectedNames: protectedNames.names,
    });
    return this.#left(manifest, options);
  }

  /** What looks for secrets in whatever leaves: by `leak_guard` of the policy. */
  async leakGuard(): Promise<LeakGuard> {
    const { LeakGuard } = await import("../secrets/leak-guard.ts");
    return new LeakGuard(this.policy.leakGuard, (token) => this.#network.isPlaceholder(token));
  }

  #left(manifest: Manifest, { dryRun }: { readonly dryRun?: boolean }): Manifest {
    if (dryRun === true) return manifest;
    for (const { path, bytes, sha256 } of manifest.files)
      this.#audit?.append({ type: "file.extracted", sandbox: this.name, path, bytes, sha256 });
    return manifest;
  }

  /**
   * Copies files of the host into the workspace of the running sandbox, folders with all that lies below them; written
   * inside, behind the walls, and through no link there. With an overlay they are in the private layer.
   *
   * @param to relative to the workspace: a folder that is there or ends in a slash, else one file's name
   * @throws HoldfastError ERR_HOLDFAST_IMPORT, ERR_HOLDFAST_OUTSIDE_WORKSPACE, ERR_HOLDFAST_SANDBOX_GONE
   */
  async importFiles(
    files: readonly string[],
    to = "",
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<ImportResult> {
    this.#live();
    const { importFiles } = await import("./import.ts");
    const secretIn =
      this.policy.leakGuard?.action === "warn"
        ? async () => undefined
        : (await import("../secrets/leak-guard.ts")).knownSecretIn;
    const target = { ...options, files: this.files, workspace: this.workspace, secretIn };
    const result = await importFiles(files, to, target);
    for (const { path, bytes, sha256 } of result.files)
      this.#audit?.append({ type: "file.imported", sandbox: this.name, path, bytes, sha256 });
    return result;
  }

  /** Answers `holdfast extract` and `import`; nothing has left when the sandbox ends meanwhile. */
  async answer(
    op: "extract" | "import",
    request: Readonly<Record<string, unknown>>,
    gone: AbortSignal,
  ): Promise<object> {
    this.#live();
    this.#ended ??= new AbortController();
    const signal = AbortSignal.any([gone, this.#ended.signal]);
    const { answerExtract, answerImport } = await import("./live-files.ts");
    return op === "extract" ? answerExtract(this, request, signal) : answerImport(this, request, signal);
  }

  /** Ends everything inside and clears away what belonged to it. */
  dispose(): Promise<void> {
    this.#disposing ??= this.#dispose();
    return this.#disposing;
  }

  /** As `dispose`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #end(): Promise<void> {
    this.#network.close();
    this.#ended?.abort(this.#gone());
    if (this.#receipt !== null) {
      await this.#receipt.settle();
      this.#takeRefusedCalls(); // nobody can look later
    }
    // Meanwhile: nobody can reach by its name what is ending.
    await endInit(this.#init, () => this.#socket?.close());
    this.#isInitGone = true;
    await SandboxCgroup.remove(this.#cgroup);
    this.#audit?.append({ type: "sandbox.ended", sandbox: this.name });
  }

  async #dispose(): Promise<void> {
    await this.end();
    this.#network.forgetSecrets();
    const { workspace } = this;
    let aside: PutAside | undefined;
    if (workspace.mode === "direct" && workspace.access === "read-write") {
      const names = ungranted(this.policy, workspace.hostPath);
      aside = putAside(workspace.hostPath, names, this.#beginning, workspace);
      this.refusedNames = aside.names;
      await forgetLeftover("planted", ...this.#beginning.missing);
    }
    for (const folder of foldersOf(workspace)) await clearPrivateFolder(folder);
    this.receipt =
      (await this.#receipt?.seal({
        initExited: this.#isInitGone,
        cgroups: this.#cgroup?.folders ?? [],
        folders: foldersOf(workspace),
        controlSocket: this.controlSocket,
      })) ?? null;
    if (aside !== undefined) assertPutAside(aside);
  }

  #live(): Channel {
    if (this.#ending !== undefined || this.#disposing !== undefined || this.#init.channel.isGone) {
      throw this.#gone();
    }
    return this.#init.channel;
  }

  #gone(): HoldfastError {
    return new HoldfastError(`the sandbox ${this.name} has ended`, {
      code: "ERR_HOLDFAST_SANDBOX_GONE",
      step: "exec",
      hint: "Create a new one with Sandbox.create().",
    });
  }
}

/** How the workspace was before anything ran in it. */
function beginningOf(policy: Policy, workspace: Workspace, found: ProtectedPaths, since: bigint): Beginning {
  const { mode, access, hostPath } = workspace;
  const isDirect = mode === "direct" && access === "read-write";
  const missing = isDirect ? missingProtected(hostPath, ungranted(policy, hostPath), found) : [];
  const { dev, ino } = statSync(hostPath, { bigint: true });
  return { found, missing, since, folder: { device: dev, inode: ino } };
}

/** Kills an init, and with it all that is inside; `meanwhile` is done before it is waited for. */
async function endInit(
  { pidfd, broker, channel }: LiveInit,
  meanwhile?: () => Promise<void> | undefined,
): Promise<void> {
  native().kill(pidfd);
  const gone = native().waitExit(pidfd);
  const letGo = (): void => {
    channel.close();
    if (broker !== 0) native().unwatch(broker);
  };
  // A call that still runs is told of its end when nothing of it is left.
  const { isIdle } = channel;
  if (isIdle) letGo();
  await meanwhile?.();
  await gone;
  native().close(pidfd);
  if (!isIdle) letGo();
}

/** What is on disk or will be is the reaper's too, and the sandbox can be reached by its name. */
async function prepareControl(
  name: string,
  missing: readonly string[],
  sandbox: () => Sandbox | undefined,
  network: SandboxNetwork,
): Promise<ControlSocket> {
  const ready = (): Sandbox => {
    const made = sandbox();
    if (made === undefined) throw new Error("the sandbox is not ready yet");
    return made;
  };
  sweepOnce();
  if (missing.length > 0) await registerLeftover("planted", ...missing);
  return ControlSocket.listen(name, {
    info: () => ready().description,
    end: async () => {
      await ready().end();
      return {};
    },
    extract: (request, gone) => ready().answer("extract", request, gone()),
    import: (request, gone) => ready().answer("import", request, gone()),
    "kill-network": ({ all }) => ({ connections: all === true ? killNetworks() : network.kill() }),
  });
}

let swept = false;

/** Once a process: clears what earlier launchers left whose reapers were killed as well. */
function sweepOnce(): void {
  if (swept) return;
  swept = true;
  sweepSockets();
  // In a gap of the launch, which is the addon's thread's work.
  setImmediate(sweepCgroups);
  sweepPrivateFolders();
}

/** A grant's place in its file is not part of what it grants. */
function withoutPlaces(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value ?? null, (key, inner: unknown) => (key === "line" || key === "column" ? undefined : inner)),
  );
}

async function clearPrivateFolder(folder: string): Promise<void> {
  removePrivateFolder(folder);
  await forgetLeftover("tree", folder);
}

/** What is the session's alone on the host. */
function foldersOf({ privateFolder, own }: Workspace): readonly string[] {
  return [...(privateFolder === null ? [] : [privateFolder]), ...(own === undefined ? [] : [own.folder])];
}

/** The tools' programs, compiled: they run inside, under the same Node. */
function toolPrograms(): string {
  return join(root, "dist", "lib", "tools", "programs");
}

interface Certified {
  readonly authority: Authority;
  readonly trust?: TrustFiles;
  /** Where nothing can be mounted. */
  readonly trustFolder?: (folder: string) => TrustFolder;
}

/** The sandbox's own certificate authority, and what makes its programs trust it. Most sandboxes load nothing for it. */
async function certify(name: string, mode: Mode | undefined): Promise<Certified> {
  const [{ Authority }, { trustFiles, trustFolder }, { hostTrust }] = await Promise.all([
    import("../egress/authority.ts"),
    import("../egress/trust.ts"),
    import("../host/trust.ts"),
  ]);
  const authority = new Authority(name, authorityMs);
  const { certificate } = authority;
  if (mode !== "landlock") return { authority, trust: trustFiles(certificate, hostTrust()) };
  return { authority, trustFolder: (folder) => trustFolder(certificate, hostTrust(), folder) };
}
