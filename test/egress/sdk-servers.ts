// What the libraries of sdks.ts talk to: S3 as it keeps objects, and models as OpenAI's and Bedrock's servers answer.
import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { crc32 } from "node:zlib";
import type { Received } from "./signatures.ts";

export interface Answered {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly parts: readonly (string | Buffer)[];
}

/** What a signature says of a body has to be so. */
export function isPayload({ headers }: Received, body: Buffer): boolean {
  const word = String(headers["x-amz-content-sha256"]);
  return word.length !== 64 || createHash("sha256").update(body).digest("hex") === word;
}

const base64Crc = (data: Buffer): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(data));
  return bytes.toString("base64");
};

/** The object in a body of `STREAMING-UNSIGNED-PAYLOAD-TRAILER`, if its checksum holds. */
function unchunked(body: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = body.indexOf("\r\n", at);
    const size = Number.parseInt(body.toString("latin1", at, end), 16);
    at = end + 2;
    if (size === 0) {
      const object = Buffer.concat(parts);
      return body.toString("latin1", at).startsWith(`x-amz-checksum-crc32:${base64Crc(object)}\r\n`)
        ? object
        : undefined;
    }
    parts.push(body.subarray(at, at + size));
    at += size + 2;
  }
}

function objectOf(headers: IncomingHttpHeaders, body: Buffer): Buffer | undefined {
  if (headers["x-amz-content-sha256"] === "STREAMING-UNSIGNED-PAYLOAD-TRAILER") return unchunked(body);
  const said = headers["x-amz-checksum-crc32"];
  return said === undefined || said === base64Crc(body) ? body : undefined;
}

/** One bucket. */
export class S3 {
  readonly #objects = new Map<string, Buffer>();
  readonly #parts = new Map<string, Buffer>();

  answer({ method, url = "", headers }: Received, body: Buffer): Answered {
    const { pathname, searchParams: query } = new URL(url, "https://s3");
    const xml = (text: string): Answered => ({ headers: { "Content-Type": "application/xml" }, parts: [text] });
    const part = `${query.get("uploadId")} ${query.get("partNumber")}`;
    if (method === "PUT") {
      const object = objectOf(headers, body);
      if (object === undefined) return { status: 400, parts: ["<Error><Code>BadDigest</Code></Error>"] };
      (query.has("partNumber") ? this.#parts : this.#objects).set(query.has("partNumber") ? part : pathname, object);
      return { headers: { ETag: `"${createHash("md5").update(object).digest("hex")}"` }, parts: [] };
    }
    if (method === "POST" && query.has("uploads"))
      return xml("<InitiateMultipartUploadResult><UploadId>one</UploadId></InitiateMultipartUploadResult>");
    if (method === "POST") {
      const numbers = [...body.toString().matchAll(/<PartNumber>(\d+)</g)].map(([, number]) => number);
      const whole = Buffer.concat(numbers.map((number) => this.#parts.get(`one ${number}`) ?? Buffer.alloc(0)));
      this.#objects.set(pathname, whole);
      return xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>");
    }
    if (query.has("list-type")) {
      const keys = [...this.#objects.keys()].map((path) => `<Contents><Key>${path.split("/")[2]}</Key></Contents>`);
      return xml(`<ListBucketResult>${keys.join("")}</ListBucketResult>`);
    }
    const object = this.#objects.get(pathname);
    return object === undefined
      ? { status: 404, parts: ["<Error><Code>NoSuchKey</Code></Error>"] }
      : { headers: { "x-amz-checksum-crc32": base64Crc(object) }, parts: [object] };
  }
}

/** docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html: the encoding of all of AWS's event streams. */
function event(type: string, payload: object): Buffer {
  const headers = Object.entries({
    ":message-type": "event",
    ":event-type": type,
    ":content-type": "application/json",
  }).map(([name, value]) =>
    Buffer.concat([
      Buffer.from([name.length]),
      Buffer.from(name),
      Buffer.from([7, 0, value.length]),
      Buffer.from(value),
    ]),
  );
  const [head, body] = [Buffer.concat(headers), Buffer.from(JSON.stringify(payload))];
  const whole = Buffer.alloc(16 + head.length + body.length);
  whole.writeUInt32BE(whole.length, 0);
  whole.writeUInt32BE(head.length, 4);
  whole.writeUInt32BE(crc32(whole.subarray(0, 8)), 8);
  head.copy(whole, 12);
  body.copy(whole, 12 + head.length);
  whole.writeUInt32BE(crc32(whole.subarray(0, -4)), whole.length - 4);
  return whole;
}

const json = (value: object): Answered => ({
  headers: { "Content-Type": "application/json" },
  parts: [JSON.stringify(value)],
});
const usage = { inputTokens: 3, outputTokens: 2, totalTokens: 5 };

/** Words of a request, and a stream where it asks for one. */
export function bedrock({ url = "" }: Received, body: Buffer): Answered {
  const [, model = "", action] = /^\/model\/([^/]+)\/(\S+)$/.exec(url) ?? [];
  const asked = JSON.parse(body.toString());
  const said = asked.messages?.[0]?.content[0].text ?? asked.prompt;
  const streamed = (...parts: readonly Buffer[]): Answered => ({
    headers: { "Content-Type": "application/vnd.amazon.eventstream" },
    parts,
  });
  const text = `${decodeURIComponent(model)} heard ${said}`;
  switch (action) {
    case "converse": {
      const message = { role: "assistant", content: [{ text }] };
      return json({ output: { message }, stopReason: "end_turn", usage, metrics: { latencyMs: 1 } });
    }
    case "converse-stream":
      return streamed(
        event("messageStart", { role: "assistant" }),
        ...text
          .split(/(?= )/)
          .map((word) => event("contentBlockDelta", { contentBlockIndex: 0, delta: { text: word } })),
        event("messageStop", { stopReason: "end_turn" }),
        event("metadata", { usage, metrics: { latencyMs: 1 } }),
      );
    case "invoke":
      return json({ text });
    default:
      return streamed(
        ...["one", "two"].map((word) =>
          event("chunk", { bytes: Buffer.from(JSON.stringify({ word })).toString("base64") }),
        ),
      );
  }
}

export function openai({ url }: Received, body: Buffer): Answered {
  const asked = body.length === 0 ? {} : JSON.parse(body.toString());
  const counted = { input_tokens: 3, output_tokens: 2, total_tokens: 5 };
  const events = (...all: readonly object[]): Answered => ({
    headers: { "Content-Type": "text/event-stream" },
    parts: all.map((each) => `data: ${typeof each === "string" ? each : JSON.stringify(each)}\n\n`),
  });
  const chat = { id: "c", object: "chat.completion", created: 1, model: asked.model };
  const response = { id: "r", object: "response", model: asked.model, usage: counted };
  const output = [
    { type: "message", role: "assistant", content: [{ type: "output_text", text: `re: ${asked.input}` }] },
  ];
  switch (url) {
    case "/v1/models":
      return json({ object: "list", data: [{ id: "a-model", object: "model" }] });
    case "/v1/models/a-model":
      return json({ id: "a-model", object: "model" });
    case "/v1/embeddings":
      return json({
        data: [{ index: 0, embedding: Buffer.from(new Float32Array([0.5, 0.25]).buffer).toString("base64") }],
      });
    case "/v1/responses":
      if (asked.stream !== true) return json({ ...response, output });
      return events(
        { type: "response.created", response },
        { type: "response.output_text.delta", delta: "re: ", output_index: 0, content_index: 0 },
        { type: "response.output_text.delta", delta: asked.input, output_index: 0, content_index: 0 },
        { type: "response.completed", response: { ...response, output } },
      );
    default: {
      const text = `re: ${asked.messages[0].content}`;
      if (asked.stream !== true)
        return json({
          ...chat,
          choices: [{ index: 0, message: { role: "assistant", content: text }, finish_reason: "stop" }],
        });
      const words = text.split(/(?= )/).map((content) => ({ ...chat, choices: [{ index: 0, delta: { content } }] }));
      return { ...events(...words), parts: [...events(...words).parts, "data: [DONE]\n\n"] };
    }
  }
}
