import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { isLoopback } from "./addresses.ts";
import {
  answer,
  codes,
  fault,
  nameData,
  type Question,
  readQuestion,
  refusal,
  reversedAddress,
  types,
} from "./dns-message.ts";
import type { NamePool } from "./names.ts";

/** Short: the pool's addresses stay the same, but a program that asks again is seen again. */
const ttlSeconds = 30;
const longestMessage = 4096;
const loopbackIpv6 = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);

export interface ResolverOptions {
  /** Sockets at the sandbox's only name server, for datagrams and for streams; taken over. -1 where it has none. */
  readonly datagrams: number;
  readonly streams: number;
  readonly names: NamePool;
  /** Whether the sandbox may be told of a name. */
  readonly knows: (name: string, spelled: string) => boolean;
  readonly onRefused: (name: string, spelled: string) => void;
  /** How many may ask over TCP at once. */
  readonly mostConnections?: number;
  /** How long one that asks over TCP has for a question. */
  readonly questionMs?: number;
}

/** The name server of one sandbox: answers from the pool, and asks nobody. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #mostConnections: number;
  readonly #datagrams: DatagramSocket | null;
  readonly #server: Server | null;
  readonly #connections = new Set<Socket>();

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#mostConnections = options.mostConnections ?? 64;
    this.#datagrams = options.datagrams < 0 ? null : this.#hear(options.datagrams);
    this.#server = options.streams < 0 ? null : this.#listen(options.streams);
  }

  close(): void {
    this.#datagrams?.close();
    this.#server?.close();
    for (const socket of this.#connections) socket.destroy();
  }

  #hear(fd: number): DatagramSocket {
    // Each question costs the kernel many times its size: by default some hundred fill it.
    const datagrams = createSocket({ type: "udp4", recvBufferSize: 1024 * 1024 });
    datagrams.on("message", (message, { address, port }) => {
      const reply = this.#reply(message);
      if (reply !== null) datagrams.send(reply, port, address, () => {});
    });
    datagrams.on("error", () => {});
    datagrams.bind({ fd });
    datagrams.unref();
    return datagrams;
  }

  #listen(fd: number): Server {
    const server = createServer((socket) => this.serve(socket));
    server.maxConnections = this.#mostConnections;
    server.on("error", () => {});
    server.listen({ fd });
    server.unref();
    return server;
  }

  /** One that asks over TCP. RFC 1035 section 4.2.2: each message after its length. */
  serve(socket: Socket): void {
    if (this.#connections.size >= this.#mostConnections) {
      socket.destroy();
      return;
    }
    this.#connections.add(socket);
    socket.unref();
    let held: Buffer = Buffer.alloc(0);
    // From the last whole question, or answer, on: a question that comes byte by byte has no longer than silence.
    const { questionMs = 10_000 } = this.#options;
    const timer = setTimeout(() => socket.destroy(), questionMs).unref();
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      clearTimeout(timer);
      this.#connections.delete(socket);
    });
    socket.on("data", (chunk: Buffer) => {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      while (held.length >= 2) {
        const size = held.readUInt16BE(0);
        if (size > longestMessage) {
          socket.destroy();
          return;
        }
        if (held.length < 2 + size) return;
        const reply = this.#reply(held.subarray(2, 2 + size));
        held = held.subarray(2 + size);
        timer.refresh();
        if (reply === null) continue;
        const length = Buffer.alloc(2);
        length.writeUInt16BE(reply.length, 0);
        // Whoever asks without reading the answers is not listened to any longer.
        if (!socket.write(Buffer.concat([length, reply]))) socket.pause();
      }
    });
    socket.on("drain", () => socket.resume());
  }

  #reply(message: Buffer): Buffer | null {
    const read = readQuestion(message);
    if (read.kind === "none") return null;
    if (read.kind === "faulty") return fault(read.id, read.code);
    return this.#answer(read.question);
  }

  #answer(question: Question): Buffer {
    const { names, knows, onRefused } = this.#options;
    // RFC 6761 section 6.3; where there is no hosts file of the sandbox's own.
    if (question.name === "localhost") {
      if (question.type === types.a) return answer(question, [Uint8Array.of(127, 0, 0, 1)], ttlSeconds);
      if (question.type === types.aaaa) return answer(question, [loopbackIpv6], ttlSeconds);
      return answer(question, [], ttlSeconds);
    }
    const named = question.type === types.ptr ? this.#nameAt(reversedAddress(question.name)) : undefined;
    if (named !== undefined) return answer(question, [nameData(named)], ttlSeconds);
    if (question.name === "" || !knows(question.name, question.spelled)) {
      onRefused(question.name, question.spelled);
      return refusal(question, codes.noSuchName);
    }
    const addresses = names.addressesOf(question.name);
    if (addresses === undefined) return refusal(question, codes.failed);
    if (question.type === types.a) return answer(question, [addresses.ipv4], ttlSeconds);
    if (question.type === types.aaaa) return answer(question, [addresses.ipv6], ttlSeconds);
    return answer(question, [], ttlSeconds);
  }

  /** What an address inside was given out for: it is no question about anything outside. */
  #nameAt(address: string | undefined): string | undefined {
    if (address === undefined) return undefined;
    if (isLoopback(address)) return "localhost";
    const name = this.#options.names.nameOf(address);
    return name !== undefined && this.#options.knows(name, name) ? name : undefined;
  }
}
