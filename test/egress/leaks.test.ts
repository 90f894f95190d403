// What the leak guard makes of requests: the readers of HTTP between a client and a server, without a sandbox.
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2, performServerHandshake } from "node:http2";
import { connect, type Socket } from "node:net";
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import test, { type ExecutionContext } from "ava";
import type { Request } from "../../lib/egress/flow.ts";
import { LeakFlow } from "../../lib/egress/leak-flow.ts";
import { LeakFault, RequestGuard, type RequestLeak } from "../../lib/egress/leaks.ts";
import { masked } from "../../lib/egress/websocket.ts";
import { defaultLeakGuard, type LeakGuardSettings } from "../../lib/policy/leak-guard.ts";
import { checksum } from "../../lib/secrets/placeholder.ts";
import { SecretSearch } from "../../lib/secrets/secret-search.ts";
import { type Front, get, type Said, say, startFront, statusOf } from "./hostile-peers.ts";

const secret = 'n4rrow-se"cret.of+one=odd&character';
const body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5";
const token = `ghp_${body}${checksum(body)}`;
const placeholder = `ghp_${[...body].reverse().join("")}${checksum([...body].reverse().join(""))}`;

interface World extends Front {
  /** What came to the server. */
  readonly came: () => string;
  readonly leaks: readonly RequestLeak[];
  readonly refused: readonly string[];
}

async function start(
  t: ExecutionContext,
  settings: Partial<LeakGuardSettings> = {},
  {
    h2 = false,
    serve,
    placeholders = null,
  }: {
    readonly h2?: boolean;
    readonly serve?: (socket: Socket) => void;
    readonly placeholders?: SecretSearch | null;
  } = {},
): Promise<World> {
  const leaks: RequestLeak[] = [];
  const refused: string[] = [];
  const search = new SecretSearch(() => [["the key", Buffer.from(secret)]]);
  const flow = new LeakFlow(
    new RequestGuard(
      { ...defaultLeakGuard, ...settings },
      {
        isPlaceholder: (text) => text === placeholder,
        search,
        placeholders,
      },
    ),
    (leak) => leaks.push(leak),
    ({ message }: Error, rule: string, { path }: Request) => {
      refused.push(`${path}: ${message} (${rule})`);
      return { policy: "api" };
    },
    (path) => (path === "/bound" ? ["one"] : []),
  );
  let came = "";
  const usual = (socket: Socket): void => {
    socket.on("data", (part: Buffer) => {
      came += part.toString("latin1");
      const last = came.slice(came.lastIndexOf(" HTTP/1.1\r\n"));
      const isWhole = /\nTransfer-Encoding/.test(last) ? /\r\n0\r\n\r\n$/.test(last) : /\r\n\r\n$|END$/.test(last);
      if (isWhole) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    socket.on("end", () => socket.end());
  };
  const front = await startFront(t, serve ?? usual, { h2, leaks: flow });
  return { ...front, came: () => came, leaks, refused };
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
const base64 = (text: string): string => latin1(text).toString("base64");

/** In which the secret leaves; none stands for it as it is. */
const forms: readonly (readonly [form: string, text: string])[] = [
  ["percent-encoded", encodeURIComponent(secret)],
  ["in JSON", JSON.stringify(secret)],
  ["hex", latin1(secret).toString("hex")],
  ["hex", latin1(secret).toString("hex").toUpperCase()],
  ["reversed", [...secret].reverse().join("")],
  ...["", "a", "ab"].map((before) => ["base64", base64(`${before}${secret}`)] as const),
  ["base64", latin1(secret).toString("base64url")],
  ["in pieces", [...secret].join(" ")],
];

function post(path: string, text: string, ...fields: readonly string[]): string {
  const own = [`POST ${path} HTTP/1.1`, "Host: h.test", "Connection: close", ...fields];
  return [...own, `Content-Length: ${text.length}`, "", text].join("\r\n");
}

/** With the connection's end after it. */
const closing = (path: string, ...fields: readonly string[]): string => get(path, "Connection: close", ...fields);

test("A known secret in a path, a query or a field is refused in every form, and nothing of the request goes on", async (t) => {
  const world = await start(t);
  for (const [form, text] of [["plain", secret.replaceAll('"', "")] as const, ...forms]) {
    // A path with a backslash has no single meaning.
    const inUrl = encodeURIComponent(text.replaceAll("\\", ""));
    const asked: readonly string[] = [
      closing(`/${inUrl}`),
      closing(`/?a=1&k=${inUrl}`),
      closing("/", `X-Note: ${text}`),
    ];
    for (const request of asked) {
      const said = await say(world.port, request);
      t.is(statusOf(said), 403, request);
      t.like(bodyOf(said), { error: "secret_in_request", policy: "api", rule: "leak_guard.requests: block" });
      t.true(String(bodyOf(said)["detail"]).startsWith("the head holds the key ("), form);
      t.false(said.text.includes(text));
    }
  }
  t.is(statusOf(await say(world.port, closing("/", `Authorization: Basic ${base64(`me:${secret}`)}`))), 403);
  t.is(world.came(), "");
  t.is(world.refused.length, world.leaks.length);
  t.is(statusOf(await say(world.port, closing(`/${secret.slice(0, 20)}`, `X-Note: ${placeholder}`))), 200);
});

function bodyOf({ text }: Said): Record<string, unknown> {
  return JSON.parse(text.slice(text.indexOf("\r\n\r\n"))) as Record<string, unknown>;
}

test("In a body it is found in every form, before a byte of a short one goes on", async (t) => {
  const world = await start(t);
  for (const [form, text] of [["plain", secret] as const, ...forms]) {
    const said = await say(world.port, post("/", `{"note": "${text}"}END`));
    t.is(statusOf(said), 403);
    t.is(bodyOf(said)["detail"], `the body holds the key (${form}), which the leak guard keeps back`);
  }
  t.is(world.came(), "");
  t.true(world.leaks.every(({ where, action, kind }) => where === "body" && action === "block" && kind === "known"));
  t.is(statusOf(await say(world.port, post("/", `{"note": "${secret.slice(1)}"}END`))), 200);
});

/** As a client would that cuts it in chunks and says them one by one. */
async function sayChunks(port: number, text: string, size: number, trailer = "", field = ""): Promise<Said> {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.setNoDelay(true);
  let came = "";
  socket.on("data", (part: Buffer) => {
    came += part.toString("latin1");
  });
  socket.on("error", () => {});
  socket.once("end", () => socket.end());
  socket.write(`POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\n${field}Transfer-Encoding: chunked\r\n\r\n`);
  for (let at = 0; at < text.length && !socket.destroyed; at += size) {
    const part = text.slice(at, at + size);
    socket.write(`${part.length.toString(16)}\r\n${part}\r\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.write(`0\r\n${trailer}\r\n`);
  if (!socket.closed) await once(socket, "close");
  return { text: came, wasReset: false };
}

/** The data of a body in chunks, the last of which may not be whole. */
function dataOf(came: string): string {
  let data = "";
  for (let at = came.indexOf("\r\n\r\n") + 4; ; ) {
    const end = came.indexOf("\r\n", at);
    const size = end < 0 ? 0 : Number.parseInt(came.slice(at, end), 16);
    if (size === 0) return data;
    data += came.slice(end + 2, end + 2 + size);
    at = end + 2 + size + 2;
  }
}

test("Across chunks and reads no more of it goes on than its first characters", async (t) => {
  for (const size of [1, 3, 7]) {
    const world = await start(t);
    const said = await sayChunks(world.port, `before ${secret} after`, size);
    t.is(statusOf(said), 403);
    const gone = dataOf(world.came());
    t.true(`before ${secret}`.startsWith(gone) && gone.length < "before ".length + 8, gone);
  }
});

test("In trailers it is found too, and what only begins like it arrives whole", async (t) => {
  const world = await start(t);
  t.is(statusOf(await sayChunks(world.port, "a", 1, `X-Note: ${secret}\r\n`)), 403);
  const before = world.came().length;
  t.is(statusOf(await sayChunks(world.port, `${secret.slice(0, 12)}${secret.slice(0, 20)} END`, 5)), 200);
  t.is(dataOf(world.came().slice(before)), `${secret.slice(0, 12)}${secret.slice(0, 20)} END`);
});

/** A request whose body is coded, in two chunks. */
function coded(coding: string, data: Buffer, trailer = ""): Buffer {
  const head =
    "POST / HTTP/1.1\r\nHost: h.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Encoding: ";
  const chunks = [data.subarray(0, 9), data.subarray(9)].flatMap((part) => [
    Buffer.from(`${part.length.toString(16)}\r\n`),
    part,
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([Buffer.from(`${head}${coding}\r\n\r\n`), ...chunks, Buffer.from(`0\r\n${trailer}\r\n`)]);
}

test("A compressed body is searched as it reads, arrives as it came, and is refused where it cannot be read", async (t) => {
  const world = await start(t, { requests: "redact" });
  const leaky = Buffer.from(`{"note": "${secret}"}`);
  const harmless = Buffer.from(`{"note": "${secret.slice(1)}"}`);
  for (const [coding, encode] of [
    ["gzip", gzipSync],
    ["Deflate", deflateSync],
    ["br", brotliCompressSync],
    ["zstd", zstdCompressSync],
    ["gzip, identity, br", (data: Buffer) => brotliCompressSync(gzipSync(data))],
  ] as const) {
    const refused = await say(world.port, coded(coding, encode(leaky)));
    t.is(statusOf(refused), 403, coding);
    t.is(bodyOf(refused)["detail"], "the body holds the key (plain), which the leak guard keeps back");
    t.is(world.came(), "", "nothing of it goes on before it is whole");
  }
  const gone = gzipSync(harmless);
  t.is(statusOf(await say(world.port, coded("gzip", gone))), 200);
  t.is(dataOf(world.came()), gone.toString("latin1"));
  t.is(statusOf(await say(world.port, coded("gzip", gone, `X-Note: ${secret}\r\n`))), 403);
  t.is(statusOf(await say(world.port, coded("gzip", harmless))), 400);
  const bomb = gzipSync(Buffer.alloc(65 * 1024 * 1024));
  const long = randomBytes(1024 * 1024 + 1);
  for (const data of [bomb, long]) {
    t.regex(
      String(bodyOf(await say(world.port, coded("gzip", data)))["detail"]),
      /^the body holds more compressed data/,
    );
  }
  const lenient = await start(t, { requests: "warn" });
  t.is(statusOf(await say(lenient.port, coded("gzip", bomb))), 200);
  t.is(statusOf(await say(lenient.port, coded("gzip", long))), 200);
  t.is(statusOf(await say(lenient.port, coded("gzip", gzipSync(leaky)))), 200);
  t.deepEqual(
    lenient.leaks.map(({ what, action }) => `${what} ${action}`),
    ["the key warn"],
  );
});

const signature = ";chunk-signature=";

/** A body as AWS's clients cut it, each chunk with a signature or none. */
function framed(data: Buffer | string, size: number, sign = signature + "0".repeat(64), trailer = "\r\n"): Buffer {
  const bytes = Buffer.from(data as string, "latin1");
  const chunks: (string | Buffer)[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    const part = bytes.subarray(at, at + size);
    chunks.push(`${part.length.toString(16)}${sign}\r\n`, part, "\r\n");
  }
  return Buffer.concat([...chunks, `0${sign}\r\n`, trailer].map((each) => Buffer.from(each as string)));
}

function putFramed(body: Buffer, ...fields: readonly string[]): Buffer {
  const word = "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER";
  return latin1(post("/", body.toString("latin1"), word, ...fields));
}

test("Chunks of AWS's hide nothing: what lies in them is searched as if they were not there", async (t) => {
  const world = await start(t);
  for (const [form, text] of [["plain", secret] as const, ...forms]) {
    for (const size of [1, 5, 1000]) {
      const sign = size === 5 ? "" : undefined;
      const said = await say(world.port, putFramed(framed(`${"x".repeat(20)}${text}${"x".repeat(20)}`, size, sign)));
      t.is(statusOf(said), 403, `${form} ${size}`);
      t.is(bodyOf(said)["detail"], `the body holds the key (${form}), which the leak guard keeps back`);
    }
  }
  // Nor do what stands between and behind them.
  for (const body of [
    framed("data", 2, signature + latin1(secret).toString("hex")),
    framed("data", 2, "", `x-amz-checksum-crc32:${base64(secret)}\r\n\r\n`),
  ])
    t.is(statusOf(await say(world.port, putFramed(body))), 403);
  const before = world.came().length;
  const harmless = framed(`${secret.slice(0, 20)}${secret.slice(0, 20)} END`, 3, "", "x-amz-checksum-crc32:AAAA==END");
  t.is(statusOf(await say(world.port, putFramed(harmless))), 200);
  t.true(world.came().slice(before).endsWith(harmless.toString("latin1")), "it arrives as it came");
});

test("Across reads no more of a secret in AWS's chunks goes on than its first characters, nor of a line", async (t) => {
  for (const size of [1, 3, 7, 50]) {
    const world = await start(t);
    const text = framed(`before ${secret} after`, 2, "").toString("latin1");
    const said = await sayChunks(world.port, text, size, "", "x-amz-decoded-content-length: 49\r\n");
    t.is(statusOf(said), 403);
    const gone = dataOf(world.came()).replace(/[12]\r\n(.{0,2})(?:\r\n|$)/g, "$1");
    t.true(`before ${secret}`.startsWith(gone) && gone.length < "before ".length + 8, gone);
  }
});

test("Compressed data in AWS's chunks is searched as it reads, and chunks that are none are refused", async (t) => {
  const world = await start(t);
  const fields = ["gzip,aws-chunked", "aws-chunked, gzip", "gzip"].map((coding) => `Content-Encoding: ${coding}`);
  for (const field of fields) {
    const leaky = framed(gzipSync(`{"note": "${secret}"}`), 16);
    t.is(statusOf(await say(world.port, putFramed(leaky, field))), 403, field);
    t.is(world.came(), "");
  }
  const field = "Content-Encoding: gzip\r\nContent-Encoding: aws-chunked";
  t.is(
    statusOf(await say(world.port, putFramed(framed(gzipSync("a"), 16, "", `a:${base64(secret)}\r\n`), field))),
    403,
  );
  const harmless = framed(gzipSync(secret.slice(1)), 16, undefined, "x-amz-checksum-crc32:AAAA==END");
  t.is(statusOf(await say(world.port, putFramed(harmless, field))), 200);
  t.true(world.came().endsWith(harmless.toString("latin1")));
  for (const body of ["4\r\nbody\r\n", "4\r\nbodies\r\n0\r\n\r\n", "4;other=1\r\nbody\r\n0\r\n\r\n", "x".repeat(300)])
    for (const coding of ["identity", "gzip"])
      t.is(statusOf(await say(world.port, putFramed(latin1(body), `Content-Encoding: ${coding}`))), 400, body);
});

test("Redacted, what lies in AWS's chunks goes on as long as it was", async (t) => {
  const world = await start(t, { requests: "redact" });
  const body = framed(`a ${secret} b`, 9, "", "x-amz-checksum-crc32:AAAA==END");
  t.is(statusOf(await say(world.port, putFramed(body))), 200);
  t.false(/n4r|ret/.test(world.came()));
  t.true(world.came().includes('9\r\na *******\r\n9\r\n**"******\r\n'));
  t.is(statusOf(await say(world.port, putFramed(framed("a", 9, "", `x:${base64(secret)}\r\n`)))), 403);
});

test("A placeholder for another place is taken out of a body, or let go and told of, as the policy says", async (t) => {
  for (const action of ["redact", "warn"] as const) {
    const placeholders = new SecretSearch(() => [["one", Buffer.from(placeholder)]]);
    const world = await start(t, { placeholders: action }, { placeholders });
    const stars = "*".repeat(placeholder.length);
    for (const [text, clean] of [
      [placeholder, stars],
      [base64(placeholder), "*".repeat(53)],
      [[...placeholder].join(" "), [...stars].join(" ")],
    ] as const) {
      t.is(statusOf(await say(world.port, post("/", `a ${text} END`))), 200);
      t.is(world.came().includes(text), action === "warn", `${action} ${text}`);
      t.is(world.came().includes(`a ${clean}`), action === "redact");
    }
    t.is(statusOf(await sayChunks(world.port, `${placeholder} END`, 5)), 200);
    const last = world.came().slice(world.came().lastIndexOf("POST"));
    t.is(dataOf(last), `${action === "warn" ? placeholder : stars} END`);
    t.is(world.leaks.length, 4);
    t.true(
      world.leaks.every(({ what, kind, action: done }) => what === "one" && kind === "placeholder" && done === action),
    );
    const before = world.came().length;
    t.is(statusOf(await say(world.port, post("/bound", `a ${placeholder} END`))), 200);
    t.true(world.came().slice(before).includes(placeholder), "what is for the place goes on");
    t.is(world.leaks.length, 4);
  }
});

test("What does not go on is refused by the rule that says so", (t) => {
  const rules: string[] = [];
  const guard = new RequestGuard(undefined, { isPlaceholder: () => false, placeholders: null });
  const flow = new LeakFlow(
    guard,
    () => {},
    (_, rule) => {
      rules.push(rule);
      return { policy: null };
    },
  );
  for (const kind of ["known", "token", "placeholder"] as const) {
    const leak = { what: "a", form: "plain", action: "redact", kind, where: "body" } as const;
    flow.refuse(new LeakFault(leak), { method: "POST", path: "/" } as Request);
  }
  t.deepEqual(rules, ["leak_guard.requests: redact", "leak_guard.tokens: redact", "leak_guard.placeholders: redact"]);
});

test("Redacted, a body goes on as long as it was and without it; a head does not", async (t) => {
  const world = await start(t, { requests: "redact" });
  for (const text of [secret, JSON.stringify({ key: secret }), `${secret} and ${base64(secret)}`]) {
    t.is(statusOf(await say(world.port, post("/", `${text} END`))), 200);
  }
  t.is(statusOf(await sayChunks(world.port, `{"a":"${[...secret].join('","')}"} END`, 6)), 200);
  t.false(/n4rrow|jRycm|char/.test(world.came()));
  t.regex(world.came(), /Content-Length: 39\r\n\r\n\*+ ?"?\*+ END/);
  t.regex(world.came(), /\{"key":"\*+\\"\*+"\} END/);
  t.is(statusOf(await say(world.port, closing(`/${encodeURIComponent(secret)}`))), 403);
  t.true(world.leaks.some(({ action }) => action === "redact"));
});

test("Redacted, a body of JSON is read as JSON all the same", async (t) => {
  const world = await start(t, { requests: "redact" });
  const lines = secret.replace(/.{9}/g, "$&\n");
  const sent = {
    a: lines,
    b: [...secret],
    c: JSON.stringify({ d: lines }),
    e: base64(secret).replace(/.{16}/g, "$&\n"),
  };
  const text = JSON.stringify(sent).replaceAll("&", "\\u0026");
  t.is(statusOf(await say(world.port, post("/", `${text} END`))), 200);
  const came = JSON.parse(world.came().split("\r\n\r\n")[1]?.replace(" END", "") ?? "") as typeof sent;
  t.regex(came.a, /^[*\n"]+$/);
  t.is(came.a.split("\n").length, 4);
  t.regex(came.b.join(""), /^[*"]+$/);
  t.regex((JSON.parse(came.c) as { d: string }).d, /^[*\n"]+$/);
  // What stands beside it has a part in its last character.
  t.regex(came.e, /^[*\n]+.=$/m);
});

test("Where the policy only warns it goes on as it is, and is told of once", async (t) => {
  const world = await start(t, { requests: "warn" });
  t.is(statusOf(await say(world.port, post("/", `${secret} ${secret} END`, `X-Note: ${secret}`))), 200);
  t.is(world.came().split(secret).length, 4);
  t.deepEqual(
    world.leaks.map(({ what, where, action }) => `${what} ${where} ${action}`),
    ["the key head warn", "the key body warn"],
  );
});

test("What looks like a key is told of, and kept back where the policy says so, across chunks too", async (t) => {
  const warned = await start(t);
  t.is(statusOf(await say(warned.port, closing("/", `X-Note: ${token}`))), 200);
  t.is(statusOf(await sayChunks(warned.port, `${token} ${placeholder} END`, 9)), 200);
  t.deepEqual(
    warned.leaks.map(({ what, where }) => `${what} ${where}`),
    ["a GitHub token head", "a GitHub token body"],
  );
  const blocked = await start(t, { tokens: "block" });
  t.is(statusOf(await sayChunks(blocked.port, `${token} END`, 4)), 403);
  t.false(blocked.came().includes(token.slice(0, 8)));
  t.is(statusOf(await say(blocked.port, closing("/", `Authorization: Bearer ${token}`))), 403);
  t.is(statusOf(await say(blocked.port, closing("/", `Authorization: Bearer ${placeholder}`))), 200);
  t.regex(blocked.refused[0] ?? "", /a GitHub token \(plain\).*\(leak_guard\.tokens: block\)$/);
});

/** A client's frames (RFC 6455 section 5.2), one for each text. */
function frames(opcode: number, texts: readonly string[]): Buffer {
  const all = texts.map((text, index) => {
    const key = Buffer.from([1, 2, 3, index]);
    const head = [(index === texts.length - 1 ? 0x80 : 0) | (index === 0 ? opcode : 0), 0x80 | text.length, ...key];
    return Buffer.concat([Buffer.from(head), masked(latin1(text), key)]);
  });
  return Buffer.concat(all);
}

async function speak(
  t: ExecutionContext,
  settings: Partial<LeakGuardSettings>,
  said: Buffer,
  step: number,
): Promise<Omit<World, "came"> & { readonly came: Buffer; readonly answered: Buffer }> {
  const parts: Buffer[] = [];
  const world = await start(t, settings, {
    serve: (socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
        socket.on("data", (part: Buffer) => parts.push(part));
      });
      socket.on("end", () => socket.end());
    },
  });
  const socket = connect({ port: world.port, host: "127.0.0.1", allowHalfOpen: true });
  socket.setNoDelay(true);
  socket.on("error", () => {});
  socket.write(get("/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"));
  await once(socket, "data");
  let answered = Buffer.alloc(0);
  socket.on("data", (part: Buffer) => {
    answered = Buffer.concat([answered, part]);
  });
  for (let at = 0; at < said.length; at += step) {
    socket.write(said.subarray(at, at + step));
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
  await once(socket, "close");
  return { ...world, came: Buffer.concat(parts), answered };
}

test("No WebSocket's messages are compressed where they have to be searched", async (t) => {
  const offer = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
  const asked = get("/ws", ...offer, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits");
  for (const [requests, isOffered] of [
    ["block", false],
    ["warn", true],
  ] as const) {
    const { port, came } = await start(t, { requests });
    const socket = connect(port, "127.0.0.1");
    socket.write(asked);
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    t.regex(answer.toString(), /^HTTP\/1\.1 200 /);
    t.regex(came(), /^GET \/ws HTTP\/1\.1\r\n[\s\S]*Sec-WebSocket-Version: 13\r\n/);
    t.is(came().includes("permessage-deflate"), isOffered);
  }
});

test("A frame of an extension, which cannot be read, is not passed on but where the policy only warns", async (t) => {
  for (const bit of [0x40, 0x20, 0x10]) {
    const said = frames(2, ["compressed by itself"]);
    said.writeUInt8((said[0] ?? 0) | bit);
    for (const step of [1, 1000]) {
      const { came, answered } = await speak(t, {}, Buffer.concat([frames(1, ["a"]), said]), step);
      t.is(answered.readUInt16BE(2), 1002);
      t.is(answered.toString("latin1", 4), "a frame is of an extension");
      t.true(came.length <= frames(1, ["a"]).length);
    }
    t.deepEqual((await speak(t, { requests: "warn" }, said, 1000)).came, said);
  }
});

test("In messages to a WebSocket it is found, in text and binary, across frames and reads", async (t) => {
  for (const [opcode, texts] of [
    [1, [`hello ${secret} END`]],
    [2, [`\u0001${secret.slice(0, 9)}`, secret.slice(9, 20), secret.slice(20)]],
    [1, [`{"a": "${base64(secret)}"}`]],
  ] as const) {
    const { came, answered, leaks } = await speak(t, {}, frames(opcode, texts), 5);
    t.is(answered.readUInt16BE(2), 1008);
    t.regex(answered.toString("latin1", 4), /^the message holds the key \(/);
    t.true(came.length < 24);
    t.is(leaks[0]?.where, "message");
  }
  const fine = frames(1, [secret.slice(0, 20), " and ", secret.slice(21)]);
  t.deepEqual((await speak(t, {}, fine, 4)).came, fine);
  const clean = frames(1, [`a ${"*".repeat(10)}"${"*".repeat(secret.length - 11)} b`]);
  const { came } = await speak(t, { requests: "redact" }, frames(1, [`a ${secret} b`]), 1000);
  t.is(came.length, clean.length);
  t.false(masked(came.subarray(6), came.subarray(2, 6)).toString("latin1").includes("n4rrow"));
  t.true(masked(came.subarray(6), came.subarray(2, 6)).toString("latin1").startsWith("a ***"));
});

test("Over HTTP/2 it is found in fields, data and trailers, and what is none of it arrives", async (t) => {
  const bodies: string[] = [];
  const world = await start(
    t,
    {},
    {
      h2: true,
      serve: (socket) => {
        const session = performServerHandshake(socket);
        session.on("error", () => {});
        session.on("stream", (stream) => {
          let text = "";
          stream.on("error", () => {});
          stream.on("data", (part: Buffer) => {
            text += part;
          });
          stream.on("end", () => {
            bodies.push(text);
            if (stream.destroyed) return;
            stream.respond({ ":status": 200 });
            stream.end("ok");
          });
        });
      },
    },
  );
  const session = connectHttp2("http://h.test", { createConnection: () => connect(world.port, "127.0.0.1") });
  session.on("error", () => {});
  t.teardown(() => session.destroy());
  await once(session, "connect");
  const ask = async (
    fields: Record<string, string>,
    parts: readonly (string | Buffer)[] = [],
    trailers: Record<string, string> = {},
  ): Promise<readonly [status: unknown, body: string]> => {
    const stream = session.request(
      { ":path": "/", ...(parts.length > 0 ? { ":method": "POST" } : {}), ...fields },
      { endStream: parts.length === 0, waitForTrailers: parts.length > 0 },
    );
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.on("error", () => {});
    let text = "";
    stream.on("data", (part: Buffer) => {
      text += part;
    });
    let status: unknown;
    stream.on("response", (headers) => {
      status = headers[":status"];
    });
    for (const part of parts) {
      stream.write(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    stream.end();
    if (!stream.closed) await once(stream, "close");
    return [status, text];
  };
  for (const [status, text] of [
    await ask({ ":path": `/${encodeURIComponent(secret)}` }),
    await ask({ "x-note": base64(secret) }),
    await ask({}, [`a ${secret.slice(0, 12)}`, secret.slice(12)]),
    await ask({}, ["a"], { "x-note": secret }),
    await ask({ "content-encoding": "gzip" }, [gzipSync(secret)]),
    await ask({ "content-encoding": "gzip" }, [gzipSync("a")], { "x-note": secret }),
  ]) {
    t.is(status, 403);
    t.is((JSON.parse(text) as { error: string }).error, "secret_in_request");
  }
  t.deepEqual(await ask({}, [`a ${secret.slice(0, 12)}`, "and more"], { "x-note": "b" }), [200, "ok"]);
  t.deepEqual(await ask({}), [200, "ok"]);
  t.true(bodies.includes(`a ${secret.slice(0, 12)}and more`));
  t.false(bodies.some((text) => text.includes(secret)));
  t.is(world.refused.length, 6);
});
