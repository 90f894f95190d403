import type { Audit } from "../audit/audit.ts";
import { type FailedConnection, FailedConnections } from "../egress/failed-connections.ts";
import type { Gateway } from "../egress/gateway.ts";
import type { UnlistedLog } from "../egress/unlisted.ts";
import { HoldfastError } from "../errors.ts";
import { writableSources } from "../plan/mounts.ts";
import type { Workspace } from "../plan/workspace.ts";
import { hasEgress, hasInspection, namesPrograms } from "../policy/network.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import type { checkOwnSecrets, Shown } from "../secrets/shown.ts";
import { type Forward, type ForwardOptions, PortForward } from "./forward.ts";
import type { InsideSockets } from "./inside-sockets.ts";

/** Of this process. */
const living = new Set<SandboxNetwork>();
let areAllOff = false;

/**
 * Switches the network of every sandbox of this process off, and of those that it makes from now on.
 *
 * @returns how many connections were reset
 */
export function killNetworks(): number {
  areAllOff = true;
  const reset = [...living].map((network) => [network, network.cut()] as const);
  // When all are off: a record that cannot be kept must not leave one on.
  for (const [network, connections] of reset) network.recordKill(connections);
  return reset.reduce((sum, [, connections]) => sum + connections, 0);
}

/** All that connects one sandbox with the world. There before the sandbox itself, which is then never too new to be cut off. */
export class SandboxNetwork {
  readonly #sandbox: string;
  readonly #audit: Audit | undefined;
  /** What carries its connections; null where it has no network. */
  #gateway: Gateway | null = null;
  #looksAtCode = false;
  #credentials: SessionCredentials | null = null;
  /** What of the host the sandbox sees. */
  #shown: Shown = { seen: [], written: [] };
  /** There where a policy, or a later one, may name such secrets. */
  #checkOwn: typeof checkOwnSecrets | undefined;
  readonly #forwards = new Set<PortForward>();
  /** What came to ports inside where nobody listened. */
  readonly #unreached = new FailedConnections();
  #isOff = false;

  constructor(sandbox: string, audit: Audit | undefined) {
    this.#sandbox = sandbox;
    this.#audit = audit;
    living.add(this);
    if (areAllOff) this.kill();
  }

  /** @param looksAtCode whether it is known from the start what code its programs map */
  carryBy(gateway: Gateway, looksAtCode: boolean): void {
    this.#gateway = gateway;
    this.#looksAtCode = looksAtCode;
    if (this.#isOff) gateway.switchOff();
  }

  /**
   * Opens the session's credentials, which end with it.
   *
   * @param etcNames what of the host's /etc is in the sandbox's own
   * @returns the variables that hold their placeholders; null where there are none
   * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL
   */
  async openCredentials(
    policy: Policy,
    workspace: Workspace,
    etcNames: Iterable<string>,
  ): Promise<Readonly<Record<string, string>> | null> {
    const { hostPath, access, grants } = workspace;
    const etc = [...etcNames].map((name) => `/etc/${name}`);
    const seen = [...(access === "none" ? [] : [hostPath]), ...grants.map(({ source }) => source), ...etc];
    this.#shown = { seen, written: writableSources(workspace) };
    if (hasEgress(policy) || policy.upstreamProxy !== undefined) {
      ({ checkOwnSecrets: this.#checkOwn } = await import("../secrets/shown.ts"));
      this.#checkOwn(policy, this.#shown);
    }
    if (policy.credentials === undefined) return null;
    const { SessionCredentials } = await import("../secrets/session.ts");
    this.#credentials = await SessionCredentials.open(policy.credentials, this.#shown);
    return this.#credentials.environment;
  }

  /**
   * Where there are credentials, nothing that the sandbox is given holds what they stand for.
   *
   * @throws HoldfastError ERR_HOLDFAST_CREDENTIAL
   */
  checkVariables(variables: Readonly<Record<string, unknown>>): void {
    this.#credentials?.checkVariables(variables);
  }

  /** Null where the policy has none. */
  get credentials(): SessionCredentials | null {
    return this.#credentials;
  }

  /** Whether a text is what stands for a credential inside. */
  isPlaceholder(text: string): boolean {
    return (this.#credentials?.find(text).length ?? 0) > 0;
  }

  /** @throws HoldfastError ERR_HOLDFAST_OPTION, ERR_HOLDFAST_FORWARD */
  async forward(target: number, { hostPort = 0 }: ForwardOptions, inside: InsideSockets): Promise<Forward> {
    checkPort(target, 1, "the port inside");
    checkPort(hostPort, 0, "the option hostPort");
    const audit = this.#audit;
    const onUnreached = (detail: string): void => this.#unreached.add(`port ${target} inside`, { detail });
    const made = await PortForward.listen({ sandbox: this.#sandbox, target, hostPort, inside, audit, onUnreached });
    if (!living.has(this)) await made.close();
    if (this.#isOff) made.switchOff();
    this.#forwards.add(made);
    void made.closed.then(() => this.#forwards.delete(made));
    return made;
  }

  /**
   * @throws HoldfastError ERR_HOLDFAST_POLICY_STATIC for a network that there is no way to any more;
   * ERR_HOLDFAST_CREDENTIAL for a secret that the sandbox sees
   */
  apply(policy: Policy): void {
    this.#checkOwn?.(policy, this.#shown);
    if (this.#gateway === null && hasEgress(policy)) throw madeWithout("network");
    if (this.#gateway?.inspects === false && hasInspection(policy))
      throw madeWithout("a certificate authority: no request can be read");
    if (this.#gateway !== null && !this.#looksAtCode && namesPrograms(policy))
      throw madeWithout("rules that name programs: nobody knows what code its programs have mapped");
    this.#gateway?.apply(policy);
  }

  /** Cuts the sandbox off for the rest of its life. Returns how many connections were reset. */
  kill(): number {
    const connections = this.cut();
    this.recordKill(connections);
    return connections;
  }

  cut(): number {
    this.#isOff = true;
    let count = this.#gateway?.switchOff() ?? 0;
    for (const forward of this.#forwards) count += forward.switchOff();
    return count;
  }

  recordKill(connections: number): void {
    this.#audit?.append({ type: "network.killed", sandbox: this.#sandbox, connections });
  }

  /** What was refused since the last look. */
  takeRefusals(): readonly FailedConnection[] {
    return this.#gateway?.takeRefusals() ?? [];
  }

  /** What was permitted since the last look, and led nowhere. */
  takeUnreached(): readonly FailedConnection[] {
    return [...(this.#gateway?.takeUnreached() ?? []), ...this.#unreached.take()];
  }

  /** What `networkMode: "log"` alone permitted. */
  unlisted(): UnlistedLog {
    return this.#gateway?.unlisted() ?? { connections: [], isCut: false };
  }

  /** Wipes what the leak guard may still look for once the sandbox has ended. */
  forgetSecrets(): void {
    this.#gateway?.forgetKeys();
    this.#credentials?.close();
  }

  close(): void {
    living.delete(this);
    this.#gateway?.close();
    for (const forward of this.#forwards) void forward.close();
  }
}

/** @throws HoldfastError ERR_HOLDFAST_OPTION */
function checkPort(port: unknown, least: number, name: string): void {
  if (typeof port === "number" && Number.isInteger(port) && port >= least && port <= 65_535) return;
  throw new HoldfastError(`${name} is ${String(port)}`, {
    code: "ERR_HOLDFAST_OPTION",
    step: "usage",
    hint: `It has to be a whole number from ${least} to 65535.`,
  });
}

function madeWithout(what: string): HoldfastError {
  return new HoldfastError(`this sandbox was made without ${what}`, {
    code: "ERR_HOLDFAST_POLICY_STATIC",
    step: "policy",
    hint: "Create a new sandbox with the changed policy.",
  });
}
