import { createSocket, type Socket as DatagramSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { answer, codes, fault, type Question, readQuestion, refusal, types } from "./dns-message.ts";
import type { NamePool } from "./names.ts";

/** Short: the pool's addresses stay the same, but a program that asks again is seen again. */
const ttlSeconds = 30;
const longestMessage = 4096;
const mostConnections = 64;

export interface ResolverOptions {
  /** Sockets at the sandbox's only name server, for datagrams and for streams; taken over. -1 where it has none. */
  readonly datagrams: number;
  readonly streams: number;
  readonly names: NamePool;
  /** Whether the sandbox may be told of a name. */
  readonly knows: (name: string) => boolean;
  readonly onRefused: (name: string) => void;
}

/** The name server of one sandbox: answers from the pool, and asks nobody. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #datagrams: DatagramSocket;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#datagrams = createSocket("udp4");
    this.#datagrams.on("message", (message, { address, port }) => {
      const reply = this.#reply(message);
      if (reply !== null) this.#datagrams.send(reply, port, address, () => {});
    });
    this.#datagrams.on("error", () => {});
    this.#datagrams.bind({ fd: options.datagrams });
    this.#datagrams.unref();
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = mostConnections;
    this.#server.on("error", () => {});
    this.#server.listen({ fd: options.streams });
    this.#server.unref();
  }

  close(): void {
    this.#datagrams.close();
    this.#server.close();
    for (const socket of this.#connections) socket.destroy();
  }

  /** RFC 1035 section 4.2.2: each message after its length. */
  #serve(socket: Socket): void {
    this.#connections.add(socket);
    socket.unref();
    let held: Buffer = Buffer.alloc(0);
    socket.setTimeout(10_000, () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => this.#connections.delete(socket));
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
    if (question.name === "" || !knows(question.name)) {
      onRefused(question.name);
      return refusal(question, codes.noSuchName);
    }
    const addresses = names.addressesOf(question.name);
    if (addresses === undefined) return refusal(question, codes.failed);
    if (question.type === types.a) return answer(question, [addresses.ipv4], ttlSeconds);
    if (question.type === types.aaaa) return answer(question, [addresses.ipv6], ttlSeconds);
    return answer(question, [], ttlSeconds);
  }
}
