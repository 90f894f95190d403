// Runs inside the sandbox of credentialed.ts: what a program does with its placeholders.

import { request as httpRequest } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { Agent, request as httpsRequest } from "node:https";
import { gzipSync } from "node:zlib";

const { TOKEN, NARROW, NARROW_BODY, OTHERS, BROKEN, MISSING, CLEAR } = process.env;
const api = "api.example.test";
const results = { environment: process.env };

function ask(path, { method = "GET", port = 443, host = api, headers = {}, agent, body } = {}) {
  return new Promise((resolve) => {
    const make = port === 80 || port === 8080 ? httpRequest : httpsRequest;
    const request = make({ host, port, path, method, headers, agent });
    request.on("error", (error) => resolve({ error: error.code ?? error.message }));
    request.on("response", (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", (error) => resolve({ status: response.statusCode, error: error.code }));
      response.on("end", () => {
        const text = Buffer.concat(parts).toString();
        const isJson = response.headers["content-type"] === "application/json";
        resolve({ status: response.statusCode, body: isJson ? JSON.parse(text) : text, headers: response.headers });
      });
    });
    request.end(body);
  });
}

const bearer = (token) => ({ headers: { Authorization: `Bearer ${token}` } });
const login = (token) => ({ headers: { Authorization: `Basic ${Buffer.from(`user:${token}`).toString("base64")}` } });
const percent = (text) => [...text].map((each) => `%${each.charCodeAt(0).toString(16)}`).join("");

results.header = await ask("/header", bearer(TOKEN));
results.basic = await ask("/basic", login(TOKEN));
results.twice = await ask("/twice", { headers: { "X-One": TOKEN, "X-Two": `a ${TOKEN} b ${TOKEN}` } });
results.query = await ask(`/query?a=1&key=${TOKEN}&b=2`);
results.queryEncoded = await ask(`/query-encoded?key=${percent(TOKEN)}`);
results.path = await ask(`/path/${TOKEN}/x`);
results.pathEncoded = await ask(`/path-encoded/${percent(TOKEN)}/x`);
results.headerEncoded = await ask("/header-encoded", { headers: { Referer: `https://x/?k=${percent(TOKEN)}` } });
results.openshell = await ask("/openshell", bearer("openshell:resolve:env:TOKEN"));
results.alias = await ask("/alias", bearer("xoxb-OPENSHELL-RESOLVE-ENV-TOKEN"));
results.unknown = await ask("/unknown", bearer("openshell:resolve:env:NOBODY"));
results.none = await ask("/none", bearer("something else"));

// Elsewhere: another path, host, port, scheme.
results.narrow = await ask("/only/this", bearer(NARROW));
await ask(`/only/query?k=${NARROW}`);
results.narrowPath = await ask("/header", bearer(NARROW));
results.narrowUp = await ask("/only/../header", bearer(NARROW));
results.otherHost = await ask("/x", { host: "other.example.test", ...bearer(TOKEN) });
results.otherHostBasic = await ask("/x", { host: "other.example.test", ...login(TOKEN) });
results.otherHostQuery = await ask(`/x?k=${percent(TOKEN)}`, { host: "other.example.test" });
results.otherHostReferer = await ask("/x", {
  host: "other.example.test",
  headers: { Referer: `https://${api}/?key=${TOKEN}` },
});
results.otherPort = await ask("/x", { port: 8443, ...bearer(TOKEN) });
results.clear = await ask("/x", { port: 80, ...bearer(TOKEN) });
// A bound port, spoken to in clear text.
results.boundClear = await ask("/x", { port: 8080, ...bearer(TOKEN) });
results.saidClear = await ask("/clear", { port: 8080, ...bearer(CLEAR) });
results.otherProgram = await ask("/x", bearer(OTHERS));
results.broken = await ask("/x", bearer(BROKEN));
results.missing = await ask("/x", bearer(MISSING));

// Without a placeholder: what the program sends in that place is replaced.
const injected = {
  port: 8443,
  headers: { Authorization: "Bearer of its own", "X-Api-Key": ["own", "another"], X_Api_Key: "third" },
};
for (const path of [
  "/inject/bearer",
  "/inject/basic",
  "/inject/header",
  "/inject/query?a=1&key=own&k%65y=encoded&b=2&key",
  "/bot123:own/send?x=1",
  "/inject/none",
])
  await ask(path, injected);

// A server that says what it was told.
results.echo = await ask("/echo", { headers: { Authorization: `Bearer ${TOKEN}`, "Accept-Encoding": "gzip, br" } });
results.echoBasic = await ask("/echo", login(TOKEN));
results.echoChunks = await ask("/echo-chunks", bearer(TOKEN));
results.echoNarrow = await ask("/only/echo", bearer(NARROW));
results.echoLater = await ask("/echo-last");
results.echoCompressed = await ask("/echo-gzip", bearer(TOKEN));
results.echoClose = await ask("/echo-close", bearer(TOKEN));

// Bodies, where their endpoint asks for it.
const json = (text) => ({ method: "POST", headers: { "Content-Type": "application/json" }, body: text });
const unicode = (text) => [...text].map((each) => `\\u00${each.charCodeAt(0).toString(16)}`).join("");
await ask("/body/json", json(JSON.stringify({ key: TOKEN, quoted: NARROW_BODY })));
await ask("/body/escaped", json(`{"key":"${unicode(TOKEN)}","quoted":"${unicode(NARROW_BODY)}"}`));
await ask("/body/form", {
  method: "POST",
  headers: { "Content-Type": "application/x-www-form-urlencoded" },
  body: `a=1&key=${percent(NARROW_BODY)}&b=${TOKEN}`,
});
await ask("/body/text", {
  method: "PUT",
  headers: { "Content-Type": "text/plain" },
  body: "openshell:resolve:env:TOKEN",
});
await ask("/body/binary", { method: "PUT", headers: { "Content-Type": "application/octet-stream" }, body: TOKEN });
await ask("/body/gzip", {
  method: "POST",
  headers: { "Content-Type": "application/json", "Content-Encoding": "gzip" },
  body: gzipSync(`"${TOKEN}"`),
});
await ask("/no-body", json(`"${TOKEN}"`));
results.bodyMismatch = await ask("/body/mismatch", json(`{"key":"${OTHERS}"}`));
results.bodyUnknown = await ask("/body/unknown", json(`"openshell:resolve:env:NOBODY"`));
results.bodyBroken = await ask("/body/broken", json(`"${BROKEN}"`));

// And where it does not: one for another place is refused, however it is spelled.
const elsewhere = { host: "other.example.test" };
results.otherHostBody = await ask("/x", { ...json(`{"key":"${TOKEN}"}`), ...elsewhere });
results.otherHostEscaped = await ask("/x", { ...json(`{"key":"${unicode(TOKEN)}"}`), ...elsewhere });
results.otherHostForm = await ask("/x", { method: "POST", body: `a=${percent(TOKEN)}`, ...elsewhere });
results.otherProgramBody = await ask("/x", json(OTHERS));
results.otherPathBody = await ask("/x", json(`"${NARROW}"`));

/** A body that comes piece by piece, each in a chunk of its own. */
function stream(path, pieces, headers = {}) {
  return new Promise((resolve) => {
    const request = httpsRequest({
      ...{ host: api, path, method: "POST" },
      headers: { "Content-Type": "application/json", ...headers },
    });
    request.on("response", (response) => resolve(response.resume().statusCode));
    request.on("error", (error) => resolve(error.code));
    const write = async () => {
      for (const piece of pieces) {
        request.write(piece);
        await new Promise((next) => setImmediate(next));
      }
      request.end();
    };
    if (headers.Expect === undefined) void write();
    else request.on("continue", write);
  });
}
const streamed = `{"key":"${TOKEN}","escaped":"${unicode(TOKEN)}"}`;
await stream("/body/pieces", [...streamed]);
await stream("/body/long", [`{"x":"${"x".repeat(400_000)}`, TOKEN.slice(0, 5), TOKEN.slice(5), `"}`]);
await stream("/body/continue", [`"${TOKEN}"`], { Expect: "100-continue", "Content-Length": TOKEN.length + 2 });
results.streamElsewhere = await stream("/streamed", ["{", OTHERS.slice(0, 20), OTHERS.slice(20), "}"]);
results.streamMismatch = await stream("/body/stream-mismatch", ["{", OTHERS, "}"]);

/** What a server answers to text messages, one after the other, and how it ends. */
function talk(messages) {
  return new Promise((resolve) => {
    const socket = new WebSocket(`wss://${api}/ws/talk`);
    const answers = [];
    let sent = 0;
    const next = () => (sent < messages.length ? socket.send(messages[sent++]) : socket.close(1000));
    socket.binaryType = "arraybuffer";
    socket.onopen = next;
    socket.onmessage = ({ data }) => {
      answers.push(typeof data === "string" ? data : Buffer.from(data).toString());
      next();
    };
    socket.onclose = ({ code }) => resolve({ code, answers: answers.length });
    socket.onerror = () => {};
  });
}
results.texts = await talk([
  "hello",
  TOKEN,
  JSON.stringify({ t: NARROW_BODY }),
  "x".repeat(70_000) + TOKEN,
  Buffer.from(TOKEN),
]);
results.textMismatch = await talk([OTHERS]);

// One connection, several requests: what is put in is not kept for the next.
const agent = new Agent({ keepAlive: true, maxSockets: 1 });
results.kept = [];
for (const token of [TOKEN, "x", TOKEN]) results.kept.push((await ask("/kept", { agent, ...bearer(token) })).status);
agent.destroy();

/** One session of HTTP/2; the answers of its streams. */
async function askHttp2(...requests) {
  const session = connectHttp2(`https://${api}:8444`);
  session.on("error", () => {});
  const answers = await Promise.all(
    requests.map(
      ({ body, ...headers }) =>
        new Promise((resolve) => {
          const stream = session.request(headers);
          let answer;
          let said = "";
          stream.on("response", (fields) => {
            answer = { status: fields[":status"] };
          });
          stream.setEncoding("utf8");
          stream.on("data", (part) => {
            said += part;
          });
          stream.on("error", (error) => resolve({ error: error.code }));
          stream.on("end", () => resolve({ ...answer, body: said }));
          stream.end(body);
        }),
    ),
  );
  session.close();
  return answers;
}
results.http2 = await askHttp2(
  { ":path": `/h2/${TOKEN}?k=${TOKEN}`, authorization: `Bearer ${TOKEN}`, cookie: [`a=${TOKEN}`, "b=c"] },
  { ":path": "/h2/narrow", authorization: `Bearer ${NARROW}` },
  // In more than one frame (RFC 9113 section 6.10).
  { ":path": "/h2/echo", authorization: `Bearer ${TOKEN}`, "accept-encoding": "gzip" },
  { ":path": "/h2/long", "x-filler": "y".repeat(20_000), "x-token": TOKEN },
  {
    ...{ ":path": "/body/h2", ":method": "POST", "content-type": "application/json" },
    ...{ "content-length": TOKEN.length + NARROW_BODY.length + 4, body: `["${TOKEN}${NARROW_BODY}"]` },
  },
  { ":path": "/x", ":method": "POST", body: `x${OTHERS}` },
  { ":path": "/body/h2-mismatch", ":method": "POST", "content-type": "application/json", body: `"${OTHERS}"` },
);

process.stdout.write(JSON.stringify(results));
