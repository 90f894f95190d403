import test from "ava";
import fc from "fast-check";
import { BodyReader } from "../../lib/egress/http-body.ts";
import {
  HttpError,
  longestHead,
  parseRequest,
  parseResponse,
  type RequestHead,
  requestHeadEnd,
} from "../../lib/egress/http-head.ts";
import { answerBytes, isRaw } from "../../lib/egress/http1-forward.ts";

function request(text: string): RequestHead {
  const data = Buffer.from(text, "latin1");
  const size = requestHeadEnd(data);
  if (size < 0) throw new Error("no end");
  return parseRequest(data, size);
}

test("A request's head gives its method, target, host, fields and framing", (t) => {
  const head = request(
    "POST /a?b=1 HTTP/1.1\r\nHost: h.example\r\nX-Two:  words here \t\r\nContent-Length: 12\r\n\r\n",
  );
  t.like(head, {
    method: "POST",
    target: "/a?b=1",
    host: "h.example",
    framing: { kind: "length", length: 12 },
    keepAlive: true,
  });
  t.is(head.fields.find(({ name }) => name === "x-two")?.value, "words here");
  t.deepEqual(request("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n").framing, { kind: "chunked" });
  t.deepEqual(request("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").framing, { kind: "none" });
  t.false(request("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").keepAlive);
  t.false(request("GET / HTTP/1.0\r\nHost: h\r\n\r\n").keepAlive);
  t.is(
    request("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n").upgrade,
    "websocket",
  );
  t.is(request("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n").upgrade, undefined);
  t.deepEqual(request("GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Hop, close\r\n\r\n").hopByHop, ["x-hop"]);
  t.true(request("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expectsContinue);
});

const host = "Host: h\r\n";
const refused: readonly (readonly [string, string])[] = [
  ["two lengths", `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`],
  ["a list of lengths", `POST / HTTP/1.1\r\n${host}Content-Length: 1, 1\r\n\r\n`],
  ["a length beside chunked", `POST / HTTP/1.1\r\n${host}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n`],
  ["a signed length", `POST / HTTP/1.1\r\n${host}Content-Length: +1\r\n\r\n`],
  ["a hexadecimal length", `POST / HTTP/1.1\r\n${host}Content-Length: 0x1\r\n\r\n`],
  ["an empty length", `POST / HTTP/1.1\r\n${host}Content-Length:\r\n\r\n`],
  ["an endless length", `POST / HTTP/1.1\r\n${host}Content-Length: 9999999999999999\r\n\r\n`],
  ["two codings", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: gzip, chunked\r\n\r\n`],
  ["chunked twice", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`],
  ["a coding that looks like chunked", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: xchunked\r\n\r\n`],
  ["a coding with a vertical tab", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: \x0bchunked\r\n\r\n`],
  ["a tabulator behind chunked", `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\t\r\n\r\n`],
  ["chunked in HTTP/1.0", `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n`],
  ["a space before the colon", `GET / HTTP/1.1\r\n${host}Content-Length : 1\r\n\r\n`],
  ["a name that is no token", `GET / HTTP/1.1\r\n${host}Content Length: 1\r\n\r\n`],
  ["a folded line", `GET / HTTP/1.1\r\n${host}A: b\r\n c\r\n\r\n`],
  ["a folded first line", `GET / HTTP/1.1\r\n ${host}\r\n\r\n`],
  ["a line without a colon", `GET / HTTP/1.1\r\n${host}nothing\r\n\r\n`],
  ["a bare line feed", `GET / HTTP/1.1\r\n${host}A: b\nC: d\r\n\r\n`],
  ["a bare carriage return", `GET / HTTP/1.1\r\n${host}A: b\rC: d\r\n\r\n`],
  ["a NUL", `GET / HTTP/1.1\r\n${host}A: b\0c\r\n\r\n`],
  ["no Host", "GET / HTTP/1.1\r\nA: b\r\n\r\n"],
  ["two Hosts", `GET / HTTP/1.1\r\n${host}${host}\r\n`],
  ["two spaces in the request line", `GET  / HTTP/1.1\r\n${host}\r\n`],
  ["a tab in the request line", `GET\t/ HTTP/1.1\r\n${host}\r\n`],
  ["no version", `GET /\r\n${host}\r\n`],
  ["another version", `GET / HTTP/2.0\r\n${host}\r\n`],
  ["HTTP/1.2", `GET / HTTP/1.2\r\n${host}\r\n`],
  ["a lower-case version", `GET / http/1.1\r\n${host}\r\n`],
  ["a leading empty line", `\r\nGET / HTTP/1.1\r\n${host}\r\n`],
  ["a trailing space", `GET / HTTP/1.1 \r\n${host}\r\n`],
  ["a method that is no token", `GE(T / HTTP/1.1\r\n${host}\r\n`],
  ["a target with a control character", `GET /\x01 HTTP/1.1\r\n${host}\r\n`],
  ["CONNECT", `CONNECT h:443 HTTP/1.1\r\n${host}\r\n`],
  ["an unknown expectation", `GET / HTTP/1.1\r\n${host}Expect: magic\r\n\r\n`],
  ["a bomb of fields", `GET / HTTP/1.1\r\n${host}${"a: b\r\n".repeat(300)}\r\n`],
  ["a bomb of bytes", `GET / HTTP/1.1\r\n${host}a: ${"b".repeat(longestHead)}\r\n\r\n`],
];

for (const [what, text] of refused) {
  test(`A request with ${what} is refused`, (t) => {
    const error = t.throws(() => request(text), { instanceOf: HttpError });
    t.true([400, 417, 431].includes(error.status));
  });
}

test("A head that never ends is given up at the bound, however it comes", (t) => {
  t.is(requestHeadEnd(Buffer.from("GET / HTTP/1.1\r\n")), -1);
  t.throws(() => requestHeadEnd(Buffer.alloc(longestHead + 1, 0x61)), { instanceOf: HttpError });
  const head = Buffer.from("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  for (let seen = 0; seen < head.length; seen++)
    t.is(requestHeadEnd(head, Math.min(seen, head.length - 4)), head.length);
});

test("A response's framing follows from its fields, its status and the request's method", (t) => {
  const response = (text: string, method = "GET"): ReturnType<typeof parseResponse> => {
    const data = Buffer.from(text, "latin1");
    return parseResponse(data, requestHeadEnd(data), method);
  };
  t.deepEqual(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").framing, { kind: "length", length: 5 });
  t.deepEqual(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD").framing, { kind: "none" });
  t.deepEqual(response("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n").framing, { kind: "none" });
  t.deepEqual(response("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n").framing, { kind: "chunked" });
  const open = response("HTTP/1.0 200 OK\r\n\r\n");
  t.like(open, { framing: { kind: "close" }, keepAlive: false });
  t.is(
    response("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade,
    "websocket",
  );
  for (const text of [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
  ]) {
    t.is(t.throws(() => response(text), { instanceOf: HttpError }).status, 502, text);
  }
});

/** All of a body that comes in pieces, and what is left over. */
function readBody(reader: BodyReader, pieces: readonly Buffer[]): { taken: number; done: boolean } {
  let taken = 0;
  for (const piece of pieces) {
    if (reader.isDone) break;
    taken += reader.take(piece, 0);
  }
  return { taken, done: reader.isDone };
}

function cut(data: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  let at = 0;
  for (let index = 0; at < data.length; index++) {
    const size = Math.max(1, sizes[index % Math.max(1, sizes.length)] ?? data.length);
    pieces.push(data.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

test("A chunked body's end is found wherever it is cut, and nothing beyond it is taken", (t) => {
  const body = Buffer.from("5\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n");
  const next = Buffer.from("GET / HTTP/1.1\r\n");
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 }), (sizes) => {
      const reader = new BodyReader({ kind: "chunked" }, 400);
      t.deepEqual(readBody(reader, cut(Buffer.concat([body, next]), sizes)), { taken: body.length, done: true });
    }),
  );
});

for (const body of [
  "5;ext=1\r\nhello\r\n0\r\n\r\n",
  "5\nhello\r\n0\r\n\r\n",
  "5\r\nhelloX\r\n0\r\n\r\n",
  "5\r\nhello0\r\n\r\n",
  " 5\r\nhello\r\n0\r\n\r\n",
  "5 \r\nhello\r\n0\r\n\r\n",
  "0x5\r\nhello\r\n0\r\n\r\n",
  "-1\r\n\r\n",
  "\r\n0\r\n\r\n",
  "fffffffffffff\r\n",
  "0\r\nContent-Length: 5\r\n\r\n",
  "0\r\nTransfer-Encoding: chunked\r\n\r\n",
  "0\r\nbad trailer\r\n\r\n",
  "0\r\nX-HTTP-Method-Override: DELETE\r\n\r\n",
  "0\r\nA: b\r\nx_method_override: DELETE\r\n\r\n",
  "0\r\nX-Original-URL: /b\r\n\r\n",
  "0\r\nProxy-Authorization: b\r\n\r\n",
  `0\r\n${"a: b\r\n".repeat(4000)}\r\n`,
]) {
  test(`A chunked body ${JSON.stringify(body.slice(0, 24))} is refused`, (t) => {
    const reader = new BodyReader({ kind: "chunked" }, 400);
    t.throws(() => readBody(reader, [Buffer.from(body)]), { instanceOf: HttpError });
    const slow = new BodyReader({ kind: "chunked" }, 400);
    t.throws(() => readBody(slow, cut(Buffer.from(body), [1])), { instanceOf: HttpError });
  });
}

test("An answer that cannot have a body is told without one's length", (t) => {
  for (const [text, sent] of [
    ["HTTP/1.1 204 No Content\r\nContent-Length: 3\r\nA: b\r\n\r\n", "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n"],
    ["HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n\r\n"],
    ["HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\n"],
  ] as const) {
    const data = Buffer.from(text);
    const head = parseResponse(data, data.length, "GET");
    t.like(head, { framing: { kind: "none" }, hasVainFraming: true });
    t.false(isRaw(head));
    t.is(answerBytes(head, data, { closes: false }).toString(), sent);
  }
  const empty = Buffer.from("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
  t.true(isRaw(parseResponse(empty, empty.length, "GET")));
  const head = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
  t.true(isRaw(parseResponse(head, head.length, "HEAD")));
});

test("A head is read the same whatever was said before it on the connection", (t) => {
  const line = fc.constantFrom("GET /a HTTP/1.1", "POST /b?c HTTP/1.1", "GET /a HTTP/1.0", "CONNECT h:1 HTTP/1.1");
  const fields = fc.constantFrom("Host: h", "Host: h\r\nContent-Length: 3", "Host: h\r\nConnection: close", "Host : h");
  const text = fc.tuple(line, fields).map(([first, rest]) => Buffer.from(`${first}\r\n${rest}\r\n\r\n`));
  const outcome = (data: Buffer, before?: RequestHead): unknown => {
    try {
      return parseRequest(data, data.length, before);
    } catch (error) {
      return String(error);
    }
  };
  fc.assert(
    fc.property(text, text, (one, other) => {
      const before = outcome(one);
      if (typeof before === "string") return;
      t.deepEqual(outcome(other, before as RequestHead), outcome(other));
    }),
  );
});

test("A head that is the same as the one before is read once, and no other is taken for it", (t) => {
  const ask = (line: string, before?: RequestHead, fields = "Host: a\r\nX: 1"): RequestHead => {
    const data = Buffer.from(`${line} HTTP/1.1\r\n${fields}\r\n\r\n`);
    return parseRequest(data, data.length, before);
  };
  const first = ask("GET /a");
  t.is(ask("GET /a", first), first);
  t.like(ask("GET /b", first), { method: "GET", target: "/b" });
  t.like(ask("HEAD /a", first), { method: "HEAD", target: "/a" });
  t.like(ask("GET /a", first, "Host: b"), { host: "b", target: "/a" });
  const answer = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
  const got = parseResponse(answer, answer.length, "GET");
  t.is(parseResponse(answer, answer.length, "GET", got), got);
  t.deepEqual(got.framing, { kind: "length", length: 3 });
  t.deepEqual(parseResponse(answer, answer.length, "HEAD", got).framing, { kind: "none" });
  const other = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
  t.deepEqual(parseResponse(other, other.length, "GET", got).framing, { kind: "length", length: 4 });
});
