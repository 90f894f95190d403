// Runs inside the sandbox of inspected.ts: what programs see of an inspected endpoint. Knows of no proxy.
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { Agent, request as httpsRequest } from "node:https";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";

const api = "api.example.test";
const results = {};

/** One request of HTTP/1.1, and what came back of it. */
function ask(
  path,
  { method = "GET", port = 443, host = api, body, headers = {}, agent, isFast = false, onFirst } = {},
) {
  return new Promise((resolve) => {
    const make = port === 80 ? httpRequest : httpsRequest;
    const request = make({ host, port, path, method, headers, agent });
    let status;
    request.on("error", (error) => resolve({ ...(status && { status }), error: error.code ?? error.message }));
    request.on("response", (response) => {
      status = response.statusCode;
      const parts = [];
      if (onFirst !== undefined) response.once("data", onFirst);
      // Not read as fast as it comes.
      response.on("data", (part) => {
        parts.push(part);
        if (isFast) return;
        response.pause();
        setImmediate(() => response.resume());
      });
      response.on("error", (error) => resolve({ status: response.statusCode, error: error.code }));
      response.on("end", () => {
        const text = Buffer.concat(parts).toString();
        const isJson = response.headers["content-type"] === "application/json";
        resolve({ status: response.statusCode, body: isJson ? JSON.parse(text) : text, trailers: response.trailers });
      });
    });
    request.end(body);
  });
}

/** Bytes on a connection of its own, and all that came back until it ended. */
async function say(text, { port = 443, end = false, isPlain = port === 80 } = {}) {
  const socket = isPlain ? connectTcp(port, api) : connectTls({ host: api, port, servername: api });
  let got = "";
  socket.on("data", (part) => {
    got += part.toString("latin1");
  });
  socket.on("error", () => {});
  await once(socket, isPlain ? "connect" : "secureConnect");
  for (const part of [text].flat()) {
    socket.write(part);
    await new Promise((resolve) => setImmediate(resolve));
  }
  if (end) socket.end();
  await once(socket, "close");
  return got;
}

const status = (text) => text.split("\r\n", 1)[0];
const get = (line, ...fields) => [`GET ${line} HTTP/1.1`, `Host: ${api}`, ...fields, "", ""].join("\r\n");
const closing = (path) => get(path, "Connection: close");

results.allowed = await ask("/allowed/a?b=c");
results.plain = await ask("/plain", { port: 80 });
results.refused = await ask("/other");
results.denied = await ask("/allowed/secret");
results.method = await ask("/allowed/a", { method: "DELETE" });
results.head = await ask("/allowed/a", { method: "HEAD" });
results.audited = await ask("/audited/x", { port: 80 });
results.canonical = await ask("/allowed/%61//b/../c;p=1");
results.climbing = await ask("/allowed/../../etc");
results.upload = await ask("/upload", { method: "POST", body: Buffer.alloc(300_000, "x") });
results.chunked = await ask("/upload", {
  method: "POST",
  headers: { "Transfer-Encoding": "chunked" },
  body: "chunked",
});
results.trailers = await ask("/allowed/trailers");
results.untrusted = await ask("/", { host: "other.example.test", port: 444 });
results.private = await ask("/", { host: "mixed.example.test" });
results.odd = await ask("/allowed/odd");
results.cut = await ask("/allowed/cut");
const whole = Array.from({ length: 500_000 }, (_, at) => String(at).padStart(8)).join("");
const sizeOf = ({ body }) => (body === whole ? body.length : "other bytes");
results.large = sizeOf(await ask("/allowed/large"));
const goOn = () => void ask("/allowed/go-on");
results["large, after its first part"] = sizeOf(await ask("/allowed/begun", { onFirst: goOn }));
const several = Array.from({ length: 12 }, () => ask("/allowed/large", { isFast: true }));
results["large, as fast as it comes"] = [...new Set((await Promise.all(several)).map(sizeOf))];

const agent = new Agent({ keepAlive: true, maxSockets: 1 });
results["kept alive"] = [];
for (const path of ["/allowed/port", "/allowed/port", "/other", "/allowed/port"])
  results["kept alive"].push((await ask(path, { agent })).status);
agent.destroy();

const pipelined = await say(get("/allowed/1") + get("/other") + closing("/allowed/2"));
results.pipelined = pipelined.match(/HTTP\/1\.1 \d+|GET \/allowed\/\d/g);
results["byte by byte"] = status(await say([...closing("/allowed/slow")]));
results.smuggled = {
  "two lengths": status(await say(get("/allowed/a", "Content-Length: 1", "Content-Length: 2"))),
  "length and chunks": status(await say(get("/allowed/a", "Content-Length: 1", "Transfer-Encoding: chunked"))),
  "folded field": status(await say(get("/allowed/a", "X: 1", " 2"))),
  "space before colon": status(await say(get("/allowed/a", "X : 1"))),
  "bare line feed": status(await say(`GET /allowed/a HTTP/1.1\nHost: ${api}\n\n`, { end: true })),
  "bad chunk": status(
    await say(`${`POST /upload HTTP/1.1\r\nHost: ${api}\r\nTransfer-Encoding: chunked\r\n\r\n`}0x5\r\nhello`),
  ),
  "another authority": status(await say("GET /allowed/a HTTP/1.1\r\nHost: other.example.test\r\n\r\n")),
  "absolute form": status(
    await say("GET https://other.example.test/allowed/a HTTP/1.1\r\nHost: api.example.test\r\n\r\n"),
  ),
  "length named by Connection": status(await say(get("/allowed/a", "Content-Length: 0", "Connection: content-length"))),
  "many fields": status(await say(get("/allowed/a", ...Array.from({ length: 300 }, (_, i) => `X${i}: 1`)))),
  "no HTTP": status(await say("hello\r\n\r\n")),
  "another method": status(await say(get("/allowed/a", "X-HTTP-Method-Override: DELETE", "Connection: close"))),
  "another method, to CGI": status(await say(get("/allowed/a", "X_HTTP_Method_Override: DELETE", "Connection: close"))),
  "another target": status(await say(get("/allowed/a", "X-Original-URL: /other"))),
  "a message's method": status(await say("WEBSOCKET_TEXT /ws/talk HTTP/1.1\r\nHost: api.example.test\r\n\r\n")),
};
const absolute = `GET https://${api}:443/allowed/a HTTP/1.1\r\nHost: ${api}:443\r\nConnection: close\r\n\r\n`;
results["own absolute form"] = status(await say(absolute));
results["own absolute form, again"] = status(await say(absolute));
// It is remembered for what speaks TLS alone.
results.smuggled["absolute form of another scheme"] = status(await say(absolute, { isPlain: true }));
results.continued = (
  await say(
    `POST /upload HTTP/1.1\r\nHost: ${api}\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nab`,
  )
).match(/HTTP\/1\.1 \d+/g);
results["upgrade to h2c"] = status(
  await say(get("/plain", "Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), {
    port: 80,
  }),
);

/** A WebSocket by hand: the handshake, one text message, and what comes back. */
async function webSocket(path, opcode) {
  const socket = connectTls({ host: api, port: 443, servername: api });
  let got = Buffer.alloc(0);
  socket.on("data", (part) => {
    got = Buffer.concat([got, part]);
    const end = got.indexOf("\r\n\r\n");
    // The echo of two bytes, or a close frame.
    if (end > 0 && got.length >= end + 8) socket.destroy();
  });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  socket.write(
    get(
      path,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ),
  );
  socket.write(Buffer.from([0x80 | opcode, 0x82, 0, 0, 0, 0, 0x68, 0x69]));
  await once(socket, "close");
  const end = got.indexOf("\r\n\r\n");
  const frame = got.subarray(end + 4);
  return [
    status(got.toString("latin1")),
    (frame[0] ?? 0) & 15,
    frame.length >= 4 && ((frame[0] ?? 0) & 15) === 8 ? frame.readUInt16BE(2) : frame.toString("latin1", 2, 4),
  ];
}
results.webSocket = {
  text: await webSocket("/ws/talk", 1),
  "text refused": await webSocket("/ws/listen", 1),
  binary: await webSocket("/ws/listen", 2),
};

/** Server-sent events: the first must come while the answer goes on. */
results.events = await new Promise((resolve) => {
  const request = httpsRequest({ host: api, path: "/allowed/events" }, (response) => {
    response.once("data", (part) => {
      resolve(part.toString());
      request.destroy();
    });
  });
  request.on("error", () => {});
  request.end();
});

const session = connectHttp2(`https://${api}:8443`);
const stream = (headers, body, on = session) =>
  new Promise((resolve) => {
    const request = on.request(headers, { endStream: body === undefined });
    const out = { trailers: null };
    let text = "";
    request.on("response", (fields) => {
      out.status = fields[":status"];
      if (fields["grpc-status"] !== undefined) out.trailers = `${fields["grpc-status"]} ${fields["grpc-message"]}`;
    });
    request.on("trailers", (fields) => {
      out.trailers = fields["grpc-status"] ?? null;
    });
    request.on("data", (part) => {
      text += part;
    });
    request.on("error", (error) => {
      out.error = error.code;
    });
    request.on("close", () => resolve({ ...out, length: text.length, text: text.slice(0, 40) }));
    if (body !== undefined) request.end(body);
  });
await once(session, "connect");
results.h2 = {
  protocol: session.alpnProtocol,
  streams: await Promise.all([1, 2, 3].map((n) => stream({ ":path": `/allowed/${n}` }))),
  refused: await stream({ ":path": "/other" }),
  "refused, gRPC": await stream(
    { ":path": "/other", ":method": "POST", "content-type": "application/grpc+proto" },
    "x",
  ),
  upload: await stream({ ":path": "/allowed/echo", ":method": "POST", te: "trailers" }, "x".repeat(200_000)),
  "another authority": await stream({ ":path": "/allowed/1", ":authority": "other.example.test:8443" }),
  "another target": await stream({ ":path": "/allowed/1", "x-rewrite-url": "/other" }),
};
// More of them than a session may have at once, and none of their bodies is read.
results["answered early"] = {};
for (let round = 0; round < 10; round++) {
  const post = () => stream({ ":path": "/allowed/early", ":method": "POST" }, "x".repeat(70_000));
  for (const { status } of await Promise.all(Array.from({ length: 30 }, post)))
    results["answered early"][status] = (results["answered early"][status] ?? 0) + 1;
}
session.close();
const leaving = connectHttp2(`https://${api}:8444`);
await once(leaving, "connect");
results.leaving = await Promise.all([1, 2, 3, 4].map((n) => stream({ ":path": `/allowed/${n}` }, undefined, leaving)));
leaving.close();

// Granted to another program.
const others = connectHttp2("https://other.example.test");
const byAnother = others.request({ ":path": "/" });
byAnother.resume();
const [answer] = await once(byAnother, "response");
others.destroy();
/** How a connection ends on which nothing is said, or no HTTP. */
const ending = (words) =>
  new Promise((resolve) => {
    const socket = connectTcp(80, "other.example.test");
    if (words !== "") socket.write(words);
    socket.on("error", ({ code }) => resolve(code));
    socket.on("end", () => resolve("ended"));
  });
/** In HTTP/2 without TLS, on one connection. */
async function askWithoutTls(host, paths) {
  const session = connectHttp2(`http://${host}`);
  session.on("error", () => {});
  const answers = [];
  for (const path of paths) {
    const stream = session.request({ ":path": path });
    const [headers] = await once(stream, "response");
    let text = "";
    for await (const part of stream) text += part;
    answers.push({ status: headers[":status"], body: JSON.parse(text) });
  }
  session.destroy();
  return answers;
}
results["without TLS"] = await askWithoutTls("api.example.test", ["/plain", "/plain"]);
results["another program's"] = {
  tls: await ask("/a", { host: "other.example.test" }),
  plain: await ask("/a", { host: "other.example.test", port: 80, method: "POST", body: "x" }),
  h2: answer[":status"],
  silent: await ending(""),
  "other words": await ending("\0\x01"),
  "HTTP/2 without TLS": (await askWithoutTls("other.example.test", ["/a"]))[0],
};
console.log(JSON.stringify(results));
