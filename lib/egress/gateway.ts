import { Socket } from "node:net";
import type { Audit } from "../audit/audit.ts";
import { type CarriedFlow, native } from "../native.ts";
import { explicitProxy } from "../plan/explicit-proxy.ts";
import { writeHostPort } from "../policy/host-port.ts";
import { inferenceHost } from "../policy/inference.ts";
import type { Policy } from "../policy/policy.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import { isLoopback, reachOf } from "./addresses.ts";
import { type Answer, failureAnswer, refusalAnswer } from "./answer.ts";
import type { Authority } from "./authority.ts";
import { Downstream, join, Relays } from "./carry.ts";
import { dropListenersOnClose } from "./closed-socket.ts";
import { configurationOf, type Grant, NetworkDecision, permit, unreachable } from "./decide.ts";
import type { FailedConnection } from "./failed-connections.ts";
import type { Program, Verdict } from "./flow.ts";
import { type FlowDetail, FlowRecords } from "./flow-records.ts";
import { InferenceGate } from "./inference-gate.ts";
import { forward, type Inspected, Inspector, inspect, type Judged, ReachRefusal } from "./inspect.ts";
import { leakRule } from "./leak-flow.ts";
import { isKeptBack, LeakFault, RequestGuard } from "./leaks.ts";
import { NamePool } from "./names.ts";
import { openingFault, peekHello, readOpening, refuseOpening } from "./opening.ts";
import { Programs } from "./program.ts";
import { type ProxyRequest, readProxyRequest } from "./proxy-request.ts";
import { tellRefused } from "./refused.ts";
import { Resolver } from "./resolver.ts";
import { timeLimits } from "./time-limits.ts";
import { tokenFetch } from "./token-fetch.ts";
import type { UnlistedLog } from "./unlisted.ts";
import { type Dial, Upstream, type UpstreamSettings } from "./upstream.ts";
import { mostSockets, switchedOff, tooMany, unnamed } from "./verdicts.ts";

/** The parts of a policy that may change while a sandbox runs. */
export type NetworkSettings = Pick<Policy, "networkPolicies" | "networkMode" | "credentials" | "leakGuard"> &
  UpstreamSettings;

export interface GatewayOptions {
  readonly policy: NetworkSettings & Pick<Policy, "inference">;
  /** The sandbox's name, for records. */
  readonly sandbox: string;
  /** The broker that hands connections on. */
  readonly broker: number;
  /** The resolver's sockets inside; taken over. */
  readonly resolver: { readonly datagrams: number; readonly streams: number };
  readonly audit: Audit | undefined;
  /** Whose certificates the sandbox trusts; null where no endpoint is inspected. */
  readonly authority: Authority | null;
  /** Null where the policy has none. The caller closes them. */
  readonly credentials: SessionCredentials | null;
  /** Whether programs may speak to the explicit proxy. */
  readonly hasProxy: boolean;
}

const dnsPort = 53;

/** A connection that is carried, and the grant that it is carried by: another one with another policy. */
interface Carried {
  readonly program: Program | null;
  readonly host: string;
  readonly port: number;
  grant: Grant;
  /** Who judges its requests. */
  requests?: Judged | undefined;
}

/** A connection that a program wants, and how it is told of what becomes of it. */
interface Asked extends ProxyRequest {
  /** It asks the explicit proxy, which answers. */
  readonly isProxied: boolean;
  /** The client's descriptor, where it has not been read from. */
  readonly fd?: number;
}

/** Carries the connections of one sandbox that its policy grants, and resets the others. */
export class Gateway {
  readonly #options: GatewayOptions;
  readonly #names = new NamePool();
  readonly #programs = new Programs();
  readonly #resolver: Resolver;
  readonly #sockets = new Set<Socket>();
  /** Servers that are being looked up and dialled, perhaps for nobody any more: each is a socket too. */
  #dials = 0;
  /** Those that are carried, by the program's end. */
  readonly #carried = new Map<Socket, Carried>();
  readonly #relays = new Relays();
  readonly #guard: RequestGuard;
  readonly #inspector: Inspector;
  readonly #records: FlowRecords;
  readonly #inference: InferenceGate | null;
  #decision: NetworkDecision;
  #upstream: Upstream;
  #isClosed = false;
  /** For good. */
  #isOff = false;
  /** Ends what is being dialled, with either. */
  readonly #dialling = new AbortController();

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#records = new FlowRecords(options.sandbox, options.audit);
    this.#decision = new NetworkDecision(options.policy);
    this.#upstream = new Upstream(options.policy);
    const { authority, credentials } = options;
    const askToken = tokenFetch({
      dial: (host, port, signal) => this.#dialNamed(host, port, signal),
      record: (credential, host, port, status) => this.#records.tokenAsked(credential, host, port, status),
    });
    credentials?.askBy(askToken);
    this.#guard = new RequestGuard(options.policy.leakGuard, {
      isPlaceholder: (token) => credentials?.hasPlaceholder(token) === true,
      placeholders: credentials?.placeholderSearch ?? null,
    });
    this.#inspector = new Inspector({
      ...{ authority, credentials, guard: this.#guard },
      reach: (grant, dial) => this.#reach(grant, dial),
    });
    this.#inference =
      options.policy.inference === undefined
        ? null
        : new InferenceGate(options.policy.inference, {
            ...{ authority, records: this.#records, guard: this.#guard },
            dial: (host, port, signal) => this.#dialNamed(host, port, signal),
            askToken,
          });
    // The pool's first address is the explicit proxy's.
    this.#names.addressesOf(explicitProxy.name);
    this.#resolver = new Resolver({
      ...options.resolver,
      // Without a network of its own all are asked for over TCP, on connections that count among the sandbox's.
      ...(options.resolver.streams < 0 ? { mostConnections: mostSockets } : {}),
      names: this.#names,
      knows: (name, spelled) =>
        !this.#isOff &&
        ((this.#decision.knows(name) && !isKeptBack(this.#guard.name(spelled))) ||
          (options.hasProxy && name === explicitProxy.name) ||
          (this.#inference !== null && name === inferenceHost)),
      onRefused: (name, spelled) => this.#refuseName(name, spelled),
    });
    native().onFlow(options.broker, () => this.#takeFlows());
  }

  /** Decides by another policy from now on; what is carried and would be refused by it is reset at once. */
  apply(policy: NetworkSettings): void {
    this.#decision = new NetworkDecision(policy);
    this.#upstream.close();
    this.#upstream = new Upstream(policy);
    this.#guard.apply(policy.leakGuard);
    // Idle connections were made for grants that are no more.
    this.#inspector.clear();
    for (const [client, carried] of this.#carried) {
      const { program, host, port } = carried;
      const connection = this.#decision.connect(program, host, port);
      if ("refusal" in connection) this.#records.note({ program, host, port }, connection.refusal);
      if ("refusal" in connection || !isCarriedAlike(carried.grant, connection.grant)) {
        this.#relays.reset(client);
        continue;
      }
      carried.grant = connection.grant;
      carried.requests?.judgeAgain();
    }
  }

  /** Whether requests can be read at all. */
  get inspects(): boolean {
    return this.#options.authority !== null;
  }

  /**
   * Resets every connection and refuses what comes, whatever the policy says or a later one will. Nothing is dialled any
   * more when this returns, and there is no way back.
   *
   * @returns how many connections were reset
   */
  switchOff(): number {
    const count = this.#carried.size;
    this.#isOff = true;
    this.#dialling.abort();
    for (const socket of this.#sockets) this.#relays.reset(socket);
    return count;
  }

  /** Ends every connection. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#dialling.abort(new Error("the sandbox has ended"));
    this.#resolver.close();
    this.#upstream.close();
    this.#inspector.clear();
    for (const socket of this.#sockets) this.#relays.reset(socket);
  }

  /** Wipes them. */
  forgetKeys(): void {
    this.#inference?.close();
  }

  /** What was refused since the last look. */
  takeRefusals(): readonly FailedConnection[] {
    return this.#records.refusals.take();
  }

  /** What was permitted since the last look, and led nowhere. */
  takeUnreached(): readonly FailedConnection[] {
    return this.#records.unreached.take();
  }

  /** What `--net log` alone permitted, from the beginning. */
  unlisted(): UnlistedLog {
    return this.#records.unlisted.log();
  }

  #refuseName(name: string, spelled: string): void {
    const leak = this.#guard.name(spelled);
    // As it is spelled a secret is taken out of what is told.
    const said = leak === undefined ? name : spelled;
    if (this.#isOff) this.#records.nameRefused(said, switchedOff);
    else if (leak === undefined || !this.#decision.knows(name)) this.#records.nameRefused(said, unnamed(said));
    else {
      this.#records.nameRefused(said, { detail: new LeakFault(leak).message });
      this.#records.leaked({ program: null, host: said, port: dnsPort }, leak);
    }
  }

  #takeFlows(): void {
    for (const flow of native().takeFlows(this.#options.broker)) {
      const asksNames = this.#asksNames(flow);
      const client = this.#own(new Socket({ fd: flow.socket, allowHalfOpen: true }), { leadsOut: !asksNames });
      // Each costs descriptors of this process, which it shares with other sandboxes.
      if (this.#isClosed || this.#sockets.size + this.#dials > mostSockets) {
        client.resetAndDestroy();
        if (!this.#isClosed) this.#refuseOneTooMany(flow);
        if (flow.program !== null) native().close(flow.program.file);
        continue;
      }
      if (asksNames) {
        if (flow.program !== null) native().close(flow.program.file);
        this.#resolver.serve(client);
        continue;
      }
      client.pause();
      this.#serve(flow, client).catch(() => client.resetAndDestroy());
    }
  }

  /** @param options leadsOut ends it where the network is switched off; names are answered, with a refusal, then too */
  #own(socket: Socket, { leadsOut = true } = {}): Socket {
    if (this.#isClosed || (this.#isOff && leadsOut)) socket.resetAndDestroy();
    this.#sockets.add(socket);
    dropListenersOnClose(socket);
    socket.on("error", () => {});
    socket.once("close", () => this.#sockets.delete(socket));
    // The sandbox's calls keep the process alive, its connections do not.
    socket.unref();
    return socket;
  }

  #refuseOneTooMany({ program: facts, address, port }: CarriedFlow): void {
    // Its content is not looked at: that takes time, and a descriptor.
    const program = facts && { path: facts.path };
    const host = this.#names.nameOf(address) ?? address;
    this.#records.note({ program, host, port }, tooMany);
  }

  /** Without a network of its own a sandbox has no name server there: the one on its loopback is asked through the broker. */
  #asksNames({ address, port }: CarriedFlow): boolean {
    return this.#options.resolver.streams < 0 && port === dnsPort && (address === "::1" || address.startsWith("127."));
  }

  async #serve(flow: CarriedFlow, client: Socket): Promise<void> {
    const program = await this.#programs.identify(flow.program);
    const host = this.#names.nameOf(flow.address) ?? flow.address;
    if (host === explicitProxy.name && this.#options.hasProxy && flow.port === explicitProxy.port)
      return this.#serveProxy(program, client);
    await this.#carry(client, program, { host, port: flow.port, ...captured(client, flow.socket) });
  }

  /** Does for a client that insists on a proxy what is done for one that knows of none. */
  async #serveProxy(program: Program | null, client: Socket): Promise<void> {
    const asked = await readProxyRequest(client);
    if (asked === undefined) return;
    // Whoever resolved the name first asks for its address.
    const host = this.#names.nameOf(asked.host) ?? asked.host;
    await this.#carry(client, program, { ...asked, host, isProxied: true });
  }

  async #carry(client: Socket, program: Program | null, asked: Asked): Promise<void> {
    const { host, port } = asked;
    const note = (verdict: Verdict, detail?: FlowDetail): void =>
      this.#records.note({ program, host, port }, verdict, detail);
    const answerTo = (verdict: Verdict): Answer => refusalAnswer({ host, port, program: program?.path ?? "" }, verdict);
    const stop = (verdict: Verdict): void => {
      note(verdict);
      asked.reject(answerTo(verdict));
    };
    if (this.#isOff) return stop(switchedOff);
    if (host === inferenceHost && this.#inference !== null) {
      const refusal = this.#inference.refusalOf(port);
      if (refusal !== undefined) return stop(refusal);
      asked.accept();
      return this.#inference.serve(client, { program, port });
    }
    const connection = this.#decision.connect(program, host, port);
    if ("refusal" in connection) {
      const { authority } = this.#options;
      if (connection.isInspected !== true || authority === null || asked.isProxied) return stop(connection.refusal);
      note(connection.refusal);
      return tellRefused(authority, { client, host, port, answer: answerTo(connection.refusal) });
    }
    const { grant } = connection;
    // Before anybody outside is asked where it leads; a name that the policy says itself is nobody's choice.
    const leak = grant.addresses.exact ? undefined : this.#guard.name(host);
    if (leak !== undefined) this.#records.leaked({ program, host, port }, leak);
    if (isKeptBack(leak)) {
      const { message: detail } = new LeakFault(leak);
      return stop({ allowed: false, policy: grant.policy, rule: leakRule(leak), reason: "leak", detail });
    }
    // From here on another policy may end it.
    const carried: Carried = { program, host, port, grant };
    this.#carried.set(client, carried);
    client.once("close", () => this.#carried.delete(client));
    if (grant.carry === "inspect" || asked.isForward) {
      asked.accept();
      return this.#inspect(client, carried, note, asked);
    }
    const downstream = new Downstream(client);
    let upstream: Socket;
    try {
      upstream = await this.#reach(grant, downstream.dial);
    } catch (error) {
      if (error instanceof ReachRefusal) return stop(error.verdict);
      const verdict = unreachable(grant, error);
      note(verdict);
      const where = writeHostPort(host, port);
      asked.reject(failureAnswer(502, "upstream_unreachable", `${where} cannot be reached: ${verdict.detail}`));
      return;
    }
    if (this.#isOff) return stop(switchedOff);
    if (client.destroyed) {
      upstream.destroy();
      // The server has seen that somebody connected.
      return note(permit(grant, `${grant.program} may connect, and had gone when its server was reached`));
    }
    asked.accept();
    // A server may speak first, and is heard; what the client says is looked at before it goes on.
    join(client, upstream, downstream);
    let isOpaque = false;
    if (grant.carry !== "tcp") {
      const opening = await readOpening(client, { firstMs: undefined, restMs: timeLimits.headMs });
      const fault = this.#isOff ? switchedOff : openingFault(opening, grant);
      isOpaque = fault !== undefined && !this.#isOff && grant.missing !== undefined && opening.kind === "tls";
      if (fault !== undefined && !isOpaque) {
        note(fault);
        refuseOpening(client, opening);
        return;
      }
      if ("read" in opening && opening.read.length > 0) upstream.write(opening.read);
    }
    note(permit(grant, `${grant.program} may connect (${grant.carry})`), { isOpaque });
    this.#relays.carry(client, upstream, downstream);
  }

  async #inspect(
    client: Socket,
    carried: Carried,
    note: (verdict: Verdict, detail?: FlowDetail) => void,
    { isForward, fd }: Pick<Asked, "isForward" | "fd">,
  ): Promise<void> {
    const { policy, program, carry } = carried.grant;
    const begun = (): void => note(permit(carried.grant, `${program} may connect (${isForward ? "forward" : carry})`));
    const inspected: Inspected = {
      client,
      current: () => ({ decision: this.#decision, grant: carried.grant }),
      record: (verdict, request, credentials) =>
        note(verdict, {
          request,
          credentials,
          ...(verdict.unlisted && request ? { endpoint: configurationOf(carried.grant, request.path) } : {}),
        }),
      recordCredentials: (names, request) => this.#records.used(carried, names, request),
      recordLeak: (leak, request) => this.#records.leaked(carried, leak, request),
      onFault: (detail, remedy) =>
        note({
          ...{ allowed: false, policy, rule: null, reason: "malformed", detail },
          ...(remedy === undefined ? {} : { remedy }),
        }),
    };
    if (isForward) {
      begun();
      carried.requests = forward(this.#inspector, inspected);
      return;
    }
    const hello = fd === undefined || this.#isOff ? undefined : peekHello(client, fd);
    if (hello !== undefined && openingFault(hello, carried.grant) === undefined) {
      begun();
      carried.requests = await inspect(this.#inspector, inspected, hello);
      return;
    }
    const opening = await readOpening(client, { firstMs: timeLimits.clientMs, restMs: timeLimits.headMs });
    const fault = this.#isOff ? switchedOff : openingFault(opening, carried.grant);
    if (fault !== undefined || opening.kind === "malformed") {
      if (fault !== undefined) note(fault);
      refuseOpening(client, opening);
      return;
    }
    begun();
    if (opening.kind === "silent") client.destroySoon();
    else carried.requests = await inspect(this.#inspector, inspected, opening);
  }

  /** A connection to a granted server, at an address that may be dialled. Throws a ReachRefusal. */
  async #reach(grant: Grant, dial?: Dial): Promise<Socket> {
    try {
      return await this.#counted(() => this.#dial(grant, dial));
    } catch (error) {
      throw this.#isOff ? new ReachRefusal(switchedOff) : error;
    }
  }

  /** A connection to a server of models or tokens, which the policy's author has named. */
  #dialNamed(host: string, port: number, signal: AbortSignal): Promise<Socket> {
    return this.#counted(async () => {
      const upstream = this.#upstream;
      const addresses = await upstream.resolve(host, port);
      const refused = addresses.find((address) => reachOf(address) === "never" && !isLoopback(address));
      if (refused !== undefined) throw new Error(`${refused} is an address of this host's links or its cloud`);
      return this.#own(await upstream.dial(host, addresses, port, AbortSignal.any([signal, this.#dialling.signal])));
    });
  }

  async #counted(dial: () => Promise<Socket>): Promise<Socket> {
    this.#dials++;
    try {
      return await dial();
    } finally {
      this.#dials--;
    }
  }

  async #dial(grant: Grant, dial?: Dial): Promise<Socket> {
    const upstream = this.#upstream;
    const addresses = await upstream.resolve(grant.host, grant.port);
    // Where the proxy resolves there is nothing to check but that no check was asked for.
    if (addresses.length === 0 && grant.addresses.allowed !== undefined)
      throw new Error("allowed_ips cannot be held where the upstream proxy resolves names");
    const refused = addresses.map((address) => this.#decision.address(grant, address)).find(({ allowed }) => !allowed);
    if (refused !== undefined) throw new ReachRefusal(refused);
    return this.#own(await upstream.dial(grant.host, addresses, grant.port, this.#dialling.signal, dial));
  }
}

/** A client that knows of no proxy: it is connected already, and is told by a reset. */
function captured(client: Socket, fd: number): Omit<Asked, "host" | "port"> {
  return { fd, isForward: false, isProxied: false, accept: () => {}, reject: () => void client.resetAndDestroy() };
}

/** Whether what is carried by one grant may go on by another as it is: the same way, to addresses that both allow. */
function isCarriedAlike(one: Grant, other: Grant): boolean {
  // Of what passes by `tcp` even its beginning is not looked at.
  const goesOn = one.carry === other.carry || (one.carry === "tunnel" && other.carry === "tcp");
  const rangesOf = ({ endpoints }: Grant): readonly string[] => endpoints.flatMap(({ allowedIps }) => allowedIps);
  const [before, now] = [rangesOf(one), rangesOf(other)];
  const keepsRanges = before.length === 0 ? now.length === 0 : before.every((range) => now.includes(range));
  return goesOn && keepsRanges && (other.addresses.exact || !one.addresses.exact);
}
