// What is fuzzed: each parser of the gateway that reads what a sandbox, a server or a name server says, and what must hold
// whatever it is given.
import { deepStrictEqual, ok, strictEqual } from "node:assert";
import { isIP } from "node:net";
import { addressBytes, embeddedIpv4, reachOf } from "../../lib/egress/addresses.ts";
import { canonicalTarget, queryParameters, TargetError } from "../../lib/egress/canonical.ts";
import { HelloReader } from "../../lib/egress/client-hello.ts";
import { answer, readQuestion } from "../../lib/egress/dns-message.ts";
import { compileGlob } from "../../lib/egress/glob.ts";
import { HttpError, requestHeadEnd } from "../../lib/egress/http-head.ts";
import { javaEntries, javaStore } from "../../lib/egress/java-store.ts";
import { parseHttp, parseSocks } from "../../lib/egress/proxy-request.ts";
import { subjectHash } from "../../lib/egress/subject-hash.ts";
import { ClientFrames, WebSocketError } from "../../lib/egress/websocket.ts";
import { agreeOnAnswers, agreeOnRequests } from "./http-agreement.ts";
import { cut } from "./node-http.ts";
import { secretTargets } from "./secret-targets.ts";

export interface Target {
  /** Throws where something does not hold. */
  readonly run: (data: Buffer) => void;
  /** What to begin with. */
  readonly seeds: readonly (string | Buffer)[];
}

/** For how it is cut: the same for the same input. */
function seedOf(data: Buffer): number {
  let hash = data.length;
  for (const byte of data.subarray(0, 64)) hash = (Math.imul(hash, 31) + byte) >>> 0;
  return hash;
}

function only(kinds: readonly (abstract new (...given: never[]) => Error)[], act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!kinds.some((kind) => error instanceof kind)) throw error;
  }
}

const text = (data: Buffer): string => data.toString("latin1");
const hello =
  "\x16\x03\x01\x00\x55\x01\x00\x00\x51\x03\x03" +
  `${"r".repeat(32)}\x00\x00\x02\x13\x01\x01\x00\x00\x26\x00\x00\x00\x0e\x00\x0c\x00\x00\x09h.example\x00\x10\x00\x0e\x00\x0c\x02h2\x08http/1.1\xfe\x0d\x00\x00`;
const frame = (...bytes: readonly number[]): Buffer => Buffer.from(bytes);

export const targets: Readonly<Record<string, Target>> = {
  "http-request": {
    run: (data) => void agreeOnRequests(data, seedOf(data)),
    seeds: [
      "GET /a?b=c HTTP/1.1\r\nHost: h\r\n\r\nGET /%61//../b;c HTTP/1.1\r\nhost:h\r\nA: b \r\n\r\n",
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
      "PUT http://h/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close, x-a\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
      "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
      "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n",
    ],
  },
  "http-answer": {
    run: (data) => void agreeOnAnswers(data, seedOf(data)),
    seeds: [
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
      "HTTP/1.0 200 OK\r\nKeep-Alive: 5\r\nConnection: close, x\r\nX: 1\r\n\r\nuntil the end",
    ],
  },
  chunks: {
    run: (data) => {
      const head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
      agreeOnRequests(Buffer.concat([Buffer.from(head), data]), seedOf(data));
    },
    seeds: [
      "3\r\nabc\r\n00\r\n\r\n",
      "a\r\n0123456789\r\n0\r\nT: x\r\nU:\r\n\r\n",
      "0\r\n\r\n",
      "5;x=y\r\nhello\r\n0\r\n\r\n",
    ],
  },
  "proxy-request": {
    run: (data) =>
      only([HttpError], () => {
        const size = requestHeadEnd(data, 0);
        if (size < 0) return;
        const { host, port } = parseHttp(data, size);
        ok(isIP(host) !== 0 || /^[a-z0-9_.-]{1,253}$/.test(host));
        ok(port > 0 && port < 65_536);
      }),
    seeds: [
      "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n",
      "CONNECT [2001:DB8::1]:443 HTTP/1.0\r\n\r\n",
      "GET http://h.test/x HTTP/1.1\r\nHost: h.test\r\n\r\n",
    ],
  },
  socks: {
    run: (data) =>
      only([HttpError], () => {
        const read = parseSocks(data);
        if (read === undefined || "fault" in read.value) return;
        ok(isIP(read.value.host) !== 0 || /^[a-z0-9_.-]{1,253}$/.test(read.value.host));
        ok(read.size <= data.length && read.value.port > 0);
        deepStrictEqual(parseSocks(data.subarray(0, read.size)), read);
        strictEqual(parseSocks(data.subarray(0, read.size - 1)), undefined);
      }),
    seeds: [
      frame(5, 1, 0, 3, 6, ...Buffer.from("h.test"), 1, 187),
      frame(5, 1, 0, 1, 93, 184, 216, 34, 0, 80),
      frame(5, 1, 0, 4, ...Array<number>(16).fill(32), 0, 80),
    ],
  },
  "client-hello": {
    run: (data) => {
      const whole = new HelloReader().take(data);
      const reader = new HelloReader();
      let read = reader.take(Buffer.alloc(0));
      for (const piece of cut(data, 1)) {
        read = reader.take(piece);
        if (read.kind !== "more") break;
      }
      deepStrictEqual(read, whole);
      if (whole.kind === "hello" && whole.hello.serverName !== undefined)
        ok(/^[a-z0-9_.-]{1,253}$/.test(whole.hello.serverName));
    },
    seeds: [Buffer.from(hello, "latin1"), Buffer.from([0x16, 3, 1, 0, 1, 1, 0x16, 3, 1, 0, 3, 0, 0, 0])],
  },
  dns: {
    run: (data) => {
      const read = readQuestion(data);
      if (read.kind !== "question") return;
      const { question } = read;
      ok(/^(?:[\x21-\x2d\x2f-\x7e]{1,63}(?:\.[\x21-\x2d\x2f-\x7e]{1,63})*)?$/.test(question.name), question.name);
      ok(question.name.length <= 253 && question.name === question.name.toLowerCase());
      const said = answer(question, [Uint8Array.of(1, 2, 3, 4)], 30);
      deepStrictEqual(said.subarray(12, 12 + question.section.length), question.section);
      strictEqual(readQuestion(said).kind, "none");
    },
    seeds: [
      Buffer.from("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03API\x07example\x00\x00\x01\x00\x01", "latin1"),
      Buffer.from("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01", "latin1"),
    ],
  },
  "canonical-target": {
    run: (data) => {
      for (const encodedSlash of [false, true])
        only([TargetError], () => {
          const { path, query } = canonicalTarget(text(data), { encodedSlash });
          deepStrictEqual(canonicalTarget(path, { encodedSlash }), { path, query: undefined });
          ok(/^\/[\x21-\x7e]*$/.test(path) && !/\/\/|[?#\\;]/.test(path), path);
          ok(
            path.split("/").every((part) => part !== "." && part !== ".."),
            path,
          );
          // A reader of URLs sees the same path.
          strictEqual(new URL(`http://h${path}`).pathname, path);
          if (query !== undefined) queryParameters(query);
        });
    },
    seeds: ["/a/./b/../c;p=1?q=%41", "/%61%2f%2e%2e/x", "//a///b", '/a%20b|{c}"', "/..;/a"],
  },
  query: { run: (data) => void queryParameters(text(data)), seeds: ["a=1&b=%zz&c+d=x%20y", "%ff=%c3%28&&=&=="] },
  glob: {
    run: (data) => {
      const [pattern = "", subject = ""] = text(data).split("\n", 2);
      for (const separator of ["/", "."] as const) {
        const result = compileGlob(pattern, separator)(subject);
        // Whichever way it is matched: more than one repetition makes an automaton of what would be an expression.
        if (pattern.includes("\0") || subject.includes("\0")) continue;
        const [before, after] = [`{${pattern},\0*\0*}`, `${pattern}{,\0*\0*}`];
        if (!pattern.startsWith("**") && !pattern.includes(","))
          strictEqual(result, compileGlob(before, separator)(subject), `${pattern} on ${subject}`);
        // Nothing but leading ** is everything, as in globset.
        if (!pattern.endsWith("**") && !/^(?:\*\*[/.])*$/.test(pattern))
          strictEqual(result, compileGlob(after, separator)(subject), `${pattern} on ${subject}`);
      }
    },
    seeds: ["/a/**/b\n/a/x/y/b", "/v?/[a-c!]*/{x,y/*}\n/v1/a/x", "a**b\\*\naxb*", "**\nx"],
  },
  addresses: {
    run: (data) => {
      const address = text(data);
      const reach = reachOf(address);
      const inside = embeddedIpv4(address);
      if (isIP(address) === 0) strictEqual(reach, "never");
      if (isIP(address) !== 6 || address.includes("%")) return;
      const short = new URL(`http://[${address}]`).hostname.slice(1, -1);
      deepStrictEqual([reachOf(short), embeddedIpv4(short)], [reach, inside]);
      deepStrictEqual(addressBytes(short), addressBytes(address));
      // No form reaches further than the address that it stands for.
      if (inside !== undefined && reachOf(inside) === "never") strictEqual(reach, "never");
    },
    seeds: ["::ffff:127.0.0.1", "2001:db8::1", "64:ff9b::7f00:1", "2002:7f00:1::", "1:2:3:4:5:6:7:8", "127.0.0.1"],
  },
  certificate: {
    run: (data) => only([RangeError, Error], () => void subjectHash(data)),
    seeds: [
      frame(0x30, 0x14, 0x30, 0x12, 0x02, 1, 1, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 7, 0x31, 5, 0x30, 3, 6, 1, 42),
      frame(0x30, 0x80, 0, 0),
    ],
  },
  "java-store": {
    run: (data) => {
      const made = javaStore(javaEntries(data, Buffer.alloc(0)), Buffer.from("certificate"));
      strictEqual(made.readUInt32BE(0), 0xfeedfeed);
    },
    seeds: [javaStore(javaEntries(null, Buffer.alloc(0)), Buffer.from("one"))],
  },
  websocket: {
    run: (data) => {
      const count = (pieces: readonly Buffer[]): [number, string] => {
        let texts = 0;
        let fault = "";
        const frames = new ClientFrames(() => texts++);
        try {
          for (const piece of pieces) frames.take(piece);
        } catch (error) {
          if (!(error instanceof WebSocketError)) throw error;
          fault = error.message;
        }
        return [texts, fault];
      };
      deepStrictEqual(count(cut(data, 1)), count([data]));
    },
    seeds: [
      frame(0x81, 0x82, 0, 0, 0, 0, 1, 2, 0x89, 0x80, 0, 0, 0, 0),
      frame(0x02, 0xfe, 0, 3, 0, 0, 0, 0, 1, 2, 3, 0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9),
    ],
  },
  ...secretTargets,
};
