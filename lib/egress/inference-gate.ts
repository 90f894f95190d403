import type { Socket } from "node:net";
import { type Inference, inferenceHost } from "../policy/inference.ts";
import { Secret } from "../secrets/secret.ts";
import type { TokenFetch } from "../secrets/token.ts";
import type { Authority } from "./authority.ts";
import { endTls } from "./client-tls.ts";
import type { Program, Verdict } from "./flow.ts";
import type { FlowRecords } from "./flow-records.ts";
import { InferenceService } from "./inference.ts";
import { LeakFlow } from "./leak-flow.ts";
import type { RequestGuard } from "./leaks.ts";
import { readOpening, refuseOpening } from "./opening.ts";
import { timeLimits } from "./time-limits.ts";

const ports = { http: 80, https: 443 } as const;

export interface InferenceGateOptions {
  readonly authority: Authority | null;
  readonly records: FlowRecords;
  readonly guard: RequestGuard;
  readonly dial: (host: string, port: number, signal: AbortSignal) => Promise<Socket>;
  readonly askToken: TokenFetch;
}

/** Connections of programs to the name at which models are asked: TLS is ended here, by the sandbox's own authority. */
export class InferenceGate {
  readonly #authority: Authority | null;
  readonly #records: FlowRecords;
  readonly #service: InferenceService;
  readonly #keys: ReadonlyMap<string, Secret>;

  constructor(inference: Inference, { authority, records, guard, dial, askToken }: InferenceGateOptions) {
    this.#authority = authority;
    this.#records = records;
    this.#keys = new Map(
      inference.routes.flatMap(({ name, key }) =>
        key === undefined ? [] : [[name, new Secret(name, key, () => askToken)] as const],
      ),
    );
    this.#service = new InferenceService({
      inference,
      keys: this.#keys,
      dial,
      note: (program, port, verdict, request) =>
        records.note({ program, host: inferenceHost, port }, verdict, { request }),
      record: (program, record) => records.asked(program, record),
      leaks: (program, port) => {
        const subject = { program, host: inferenceHost, port };
        return new LeakFlow(
          guard,
          (leak, request) => records.leaked(subject, leak, request),
          ({ message: detail }, rule, request) => {
            const policy = "inference";
            records.note(subject, { allowed: false, policy, rule, reason: "leak", detail }, { request });
            return { policy };
          },
        );
      },
    });
  }

  /** Why nobody is heard at a port; undefined where one is. */
  refusalOf(port: number): Verdict | undefined {
    if (port === ports.http || port === ports.https) return undefined;
    const detail = `models are asked at ${inferenceHost}:${ports.https} and :${ports.http}, not :${port}`;
    return { allowed: false, policy: "inference", rule: null, reason: "port", detail };
  }

  async serve(client: Socket, caller: { readonly program: Program | null; readonly port: number }): Promise<void> {
    const subject = { ...caller, host: inferenceHost };
    const fault = (detail: string): void =>
      this.#records.note(subject, { allowed: false, policy: "inference", rule: null, reason: "malformed", detail });
    const opening = await readOpening(client, { firstMs: timeLimits.clientMs, restMs: timeLimits.headMs });
    if (caller.port === ports.http && opening.kind === "other") {
      client.unshift(opening.read);
      // HTTP/2 by prior knowledge (RFC 9113 section 3.3), whose preface comes in one piece.
      const isHttp2 = opening.read.toString("latin1", 0, 4) === "PRI ";
      return this.#service.accept(client, caller, isHttp2 ? "h2" : "http/1.1");
    }
    if (opening.kind !== "tls" || opening.hello.serverName !== inferenceHost) {
      fault(opening.kind === "tls" ? `the client asks for ${opening.hello.serverName ?? "no name"}` : "that is no TLS");
      refuseOpening(client, opening);
      return;
    }
    if (this.#authority === null) throw new Error("this sandbox has no certificate authority");
    client.unshift(opening.read);
    const protocols = ["http/1.1", "h2"].filter((name) => opening.hello.protocols.includes(name));
    const secured = await endTls(this.#authority, { client, onFault: fault }, inferenceHost, protocols);
    if (secured !== undefined) this.#service.accept(secured, caller, secured.alpnProtocol === "h2" ? "h2" : "http/1.1");
  }

  /** Wipes the routes' keys. */
  close(): void {
    for (const secret of this.#keys.values()) secret.wipe();
  }
}
