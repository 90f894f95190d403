import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createServer } from "node:net";
import { addressBytes } from "../../lib/egress/addresses.ts";
import { readQuestion, types } from "../../lib/egress/dns-message.ts";

const cname = 5;

/** What a name server says of a name: addresses, or the name (`=NAME`) that it stands for; or how it misbehaves. */
export type Said =
  | readonly string[]
  | "no such name"
  | "silence"
  | "garbage"
  /** A name in the answer that is a pointer to itself. */
  | "loop"
  /** Cut off over UDP, whole over TCP. */
  | { readonly long: readonly string[] };

export interface NameServer {
  readonly questions: readonly string[];
  close(): void;
}

/** A name server, over UDP and TCP, that says what a test wants it to say. */
export async function startNameServer(
  address: string,
  port: number,
  say: (name: string, type: number, transport: "udp" | "tcp") => Said,
): Promise<NameServer> {
  const questions: string[] = [];
  const reply = (message: Buffer, transport: "udp" | "tcp"): Buffer | undefined => {
    const read = readQuestion(message);
    if (read.kind !== "question") return undefined;
    const { name, type, section, id } = read.question;
    questions.push(`${transport} ${name}`);
    const said = say(name, type, transport);
    if (said === "silence") return undefined;
    const head = (flags: number, answers: number): Buffer => {
      const bytes = Buffer.alloc(12);
      for (const [at, word] of [id, flags, 1, answers].entries()) bytes.writeUInt16BE(word, 2 * at);
      return bytes;
    };
    if (said === "no such name") return Buffer.concat([head(0x8183, 0), section]);
    if (said === "garbage") return Buffer.concat([head(0x8180, 7), Buffer.alloc(40, 0xff)]);
    if (said === "loop") {
      const itself = Buffer.from([0xc0, 12 + section.length, 0, types.a, 0, 1, 0, 0, 0, 60, 0, 4, 93, 184, 216, 34]);
      return Buffer.concat([head(0x8180, 1), section, itself]);
    }
    if ("long" in said && transport === "udp") return Buffer.concat([head(0x8380, 0), section]);
    const records: Buffer[] = [];
    let owner = name;
    for (const one of "long" in said ? said.long : said) {
      if (one.startsWith("=")) {
        records.push(record(owner, cname, wireName(one.slice(1))));
        owner = one.slice(1);
      } else if ((type === types.aaaa) === one.includes(":") && type !== cname)
        records.push(record(owner, type, addressBytes(one)));
    }
    return Buffer.concat([head(0x8180, records.length), section, ...records]);
  };
  const datagrams = createSocket("udp4");
  datagrams.on("message", (message, peer) => {
    const answer = reply(message, "udp");
    if (answer !== undefined) datagrams.send(answer, peer.port, peer.address);
  });
  datagrams.bind(port, address);
  const streams = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      const answer = reply(chunk.subarray(2), "tcp");
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer?.length ?? 0);
      if (answer !== undefined) socket.write(Buffer.concat([length, answer]));
    });
  });
  streams.listen(port, address);
  await Promise.all([once(datagrams, "listening"), once(streams, "listening")]);
  return {
    questions,
    close() {
      datagrams.close();
      streams.close();
    },
  };
}

function wireName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)]));
  return Buffer.concat([...labels, Buffer.of(0)]);
}

function record(owner: string, type: number, data: Uint8Array): Buffer {
  const fixed = Buffer.alloc(10);
  for (const [at, word] of [
    [0, type],
    [2, 1],
    [6, 60],
    [8, data.length],
  ] as const)
    fixed.writeUInt16BE(word, at);
  return Buffer.concat([wireName(owner), fixed, data]);
}
