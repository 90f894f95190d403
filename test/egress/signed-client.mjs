// Asks for what signed.ts serves, signed with what stands in its environment, and writes what it was answered.
import { createHash } from "node:crypto";
import { connect } from "node:http2";
import { request } from "node:https";

const id = process.env.AWS_ACCESS_KEY_ID;
const authorization = `AWS4-HMAC-SHA256 Credential=${id}/20300101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=${"0".repeat(64)}`;

function ask(path, { method = "GET", headers = {}, parts = [], host = "api.example.test", signs = true } = {}) {
  return new Promise((resolve) => {
    const own = signs ? { authorization, "x-amz-date": "20300101T000000Z", "x-amz-security-token": "own" } : {};
    const asked = request({ host, path, method, headers: { ...own, ...headers } }, (response) => {
      let body = "";
      response.on("data", (part) => (body += part));
      response.on("end", () => resolve({ status: response.statusCode, body }));
      response.on("error", () => resolve({ status: 0, body }));
    });
    asked.on("error", (error) => resolve({ status: 0, body: String(error) }));
    const send = () => {
      for (const part of parts) asked.write(part);
      asked.end();
    };
    if (headers.expect === undefined) send();
    else {
      asked.on("continue", send);
      asked.flushHeaders();
    }
  });
}

const type = { "content-type": "application/json" };
const sha = (text) => createHash("sha256").update(text).digest("hex");
const put = (headers, ...parts) => ({
  method: "PUT",
  parts,
  headers: { ...type, "content-length": Buffer.concat(parts.map((part) => Buffer.from(part))).length, ...headers },
});
const chunk = (size) => `${size.toString(16)};chunk-signature=${"f".repeat(64)}\r\n${"a".repeat(size)}\r\n`;
const streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const chunks = chunk(70_000) + chunk(8192) + chunk(10) + chunk(0);
const trailers = `x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:${"e".repeat(64)}\r\n\r\n`;
const signedTrailers = chunk(9000) + chunk(0).slice(0, -2) + trailers;
const cut = (text, ...at) => [0, ...at].map((from, index) => text.slice(from, at[index]));
const aws = { "content-encoding": "aws-chunked" };

const seen = {
  get: await ask("/s3/a%20b(1):c%c3%a9/x?prefix=a%2Fb&list-type=2&start-after=a+b", {
    headers: { "x-amz-content-sha256": sha("") },
  }),
  hash: await ask("/s3/hash", put({ "x-amz-content-sha256": sha("body"), "x-amz-meta-a": "  two   spaces " }, "body")),
  unsigned: await ask("/s3/unsigned", put({ "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, "body")),
  stream: await ask(
    "/s3/stream",
    put(
      { ...aws, "x-amz-content-sha256": streaming, "x-amz-decoded-content-length": 78_202 },
      ...cut(chunks, 3, 60, 100, 50_000, 70_085, 70_088, 78_300),
    ),
  ),
  trailer: await ask("/s3/trailer", {
    ...put({}, ...cut(signedTrailers, 50, 9000, 9090, 9170)),
    headers: {
      ...type,
      ...aws,
      "transfer-encoding": "chunked",
      "x-amz-content-sha256": `${streaming}-TRAILER`,
      "x-amz-trailer": "x-amz-checksum-crc32c",
    },
  }),
  unsignedTrailer: await ask(
    "/s3/unsigned-trailer",
    put(
      { ...aws, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER" },
      "4\r\nbody\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n",
    ),
  ),
  presignedBefore: await ask(`/s3/presigned-before?Expires=1&AWSAccessKeyId=${id}&Signature=a%2Fb%3D&x=1`, {
    signs: false,
  }),
  presigned: await ask(
    `/s3/presigned?x=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${id}%2F20300101&X-Amz-Date=20300101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=${"0".repeat(64)}`,
    { signs: false },
  ),
  hashed: await ask("/bedrock/model/a.b%3A0/invoke?x", { ...put({}, "{}", "more"), method: "POST" }),
  hashedChunks: await ask("/bedrock/model/x/invoke", { method: "POST", headers: type, parts: ["one", "two"] }),
  hashedContinue: await ask("/bedrock/model/x/invoke", { ...put({ expect: "100-continue" }, "later"), method: "POST" }),
  body: await ask("/body/x", put({ "x-amz-content-sha256": "UNSIGNED-PAYLOAD" }, "body")),
  noBody: await ask("/nobody/x", put({ "x-amz-content-sha256": sha("body") }, "body")),
  role: await ask("/role/x"),
  again: await ask("/role/y"),
  long: await ask("/bedrock/long", { method: "POST", headers: { ...type, "content-length": 10 * 1024 * 1024 + 1 } }),
  hopByHop: await ask("/bedrock/x", { headers: { connection: "close, x-amz-security-token" } }),
  lost: await ask("/lost/x"),
  elsewhere: await ask("/s3/x", { host: "other.example.test" }),
  unsignedPath: await ask("/plain/x"),
  badChunk: await ask(
    "/s3/bad",
    put({ ...aws, "x-amz-content-sha256": streaming }, chunk(10).replace(";chunk-signature=", ";other=")),
  ),
  lyingChunk: await ask("/s3/bad", put({ ...aws, "x-amz-content-sha256": streaming }, chunk(10).replace("a;", "9;"))),
  shortChunks: await ask("/s3/bad", put({ ...aws, "x-amz-content-sha256": streaming }, chunk(10))),
  unknownWord: await ask("/s3/bad", put({ "x-amz-content-sha256": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD" }, "x")),
};
const session = connect("https://api.example.test:8443");
session.on("error", () => {});

function askHttp2(path, { headers = {}, parts = [], method = "PUT" } = {}) {
  return new Promise((resolve) => {
    const own = { authorization, "x-amz-date": "20300101T000000Z", "x-amz-security-token": "own" };
    const stream = session.request({ ":path": path, ":method": method, ...own, ...headers });
    const said = { status: 0, body: "" };
    stream.on("response", (fields) => (said.status = fields[":status"]));
    stream.on("data", (part) => (said.body += part));
    stream.on("error", (error) => (said.body = said.body || String(error)));
    stream.on("close", () => resolve(said));
    const send = async () => {
      for (const part of parts) if (!stream.destroyed) await new Promise((done) => stream.write(part, done));
      stream.end();
    };
    void send();
  });
}

const signedStream = { ...type, ...aws, "x-amz-content-sha256": streaming };
const http2 = {
  stream: await askHttp2("/s3/h2-stream", {
    headers: { ...signedStream, "content-length": chunks.length, "x-amz-decoded-content-length": 78_202 },
    parts: cut(chunks, 3, 60, 100, 50_000, 70_085, 70_088, 78_300),
  }),
  trailer: await askHttp2("/s3/h2-trailer", {
    headers: {
      ...signedStream,
      "x-amz-content-sha256": `${streaming}-TRAILER`,
      "x-amz-trailer": "x-amz-checksum-crc32c",
    },
    parts: cut(signedTrailers, 50, 9000, 9090, 9170),
  }),
  hashed: await askHttp2("/bedrock/h2/invoke", { method: "POST", headers: type, parts: ["one", "two"] }),
  body: await askHttp2("/body/h2", {
    headers: { ...type, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    parts: ["body"],
  }),
  noBody: await askHttp2("/nobody/h2", { headers: { ...type, "x-amz-content-sha256": sha("body") }, parts: ["body"] }),
  unsigned: await askHttp2("/s3/h2-unsigned", {
    headers: { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    parts: ["body"],
  }),
  long: await askHttp2("/bedrock/h2-long", {
    ...{ method: "POST", headers: type },
    parts: Array(11).fill(Buffer.alloc(1024 * 1024)),
  }),
  badChunk: await askHttp2("/s3/h2-bad", { headers: signedStream, parts: [chunk(10).replace("a;", "9;")] }),
  shortChunks: await askHttp2("/s3/h2-bad", { headers: signedStream, parts: [chunk(10)] }),
};
session.close();
process.stdout.write(JSON.stringify({ ...seen, http2, id, key: process.env.AWS_SECRET_ACCESS_KEY }));
