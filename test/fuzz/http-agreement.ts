// Ours against Node's: what our reader of HTTP/1.1 takes for one message, and sends on, Node's takes for the same one.
import { deepStrictEqual, ok, strictEqual } from "node:assert";
import { TargetError } from "../../lib/egress/canonical.ts";
import { BodyReader } from "../../lib/egress/http-body.ts";
import { HttpError, parseRequest, parseResponse, requestHeadEnd, responseHeadEnd } from "../../lib/egress/http-head.ts";
import { answerBytes, isRaw, requestBytes } from "../../lib/egress/http1-forward.ts";
import { type InspectedFlow, requestOf } from "../../lib/egress/inspected-flow.ts";
import { LeakFlow } from "../../lib/egress/leak-flow.ts";
import { cut, knownMethods, nodeReads } from "./node-http.ts";

const flow: InspectedFlow = {
  scheme: "http",
  host: "h",
  port: 80,
  encodedSlash: true,
  last: {},
  credentials: null,
  leaks: LeakFlow.unrecorded(),
  judge: () => undefined,
  malformed: () => {},
  protocolOf: () => "rest",
  take: () => undefined,
  open: () => Promise.reject(new Error("nobody is there")),
  release: () => {},
};

/** Refused, or not whole yet: both of them are fine. */
class NotTaken extends Error {}

function known<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (error instanceof HttpError || error instanceof TargetError) throw new NotTaken();
    throw error;
  }
}

/** The size of a body, taken as it would come. */
function bodySize(reader: BodyReader, data: Buffer, seed: number): number {
  let taken = 0;
  for (const piece of cut(data, seed)) {
    if (reader.isDone) break;
    const size = known(() => reader.take(piece, 0));
    taken += size;
    if (size < piece.length) break;
  }
  if (!reader.isDone && !reader.endsWithConnection) throw new NotTaken();
  return taken;
}

/** Our head's end, found in pieces: -1 never comes after it. */
function headSize(find: (data: Buffer, from: number) => number, data: Buffer, seed: number): number {
  const whole = known(() => find(data, 0));
  if (whole < 0) throw new NotTaken();
  let held = 0;
  for (const piece of cut(data.subarray(0, whole), seed)) {
    const from = held;
    held += piece.length;
    strictEqual(
      known(() => find(data.subarray(0, held), from)),
      held === whole ? whole : -1,
    );
  }
  return whole;
}

/**
 * Reads requests from a client's bytes as the gateway does, and each that is sent on once more with Node's parser.
 *
 * @returns how many were taken
 */
export function agreeOnRequests(data: Buffer, seed: number): number {
  let at = 0;
  let taken = 0;
  try {
    while (at < data.length) {
      const rest = data.subarray(at);
      const size = headSize(requestHeadEnd, rest, seed);
      const head = known(() => parseRequest(rest, size));
      const request = known(() => requestOf(head.method, head.target, flow));
      const end = size + bodySize(new BodyReader(head.framing, 400), rest.subarray(size), seed);
      const original = rest.subarray(0, end);
      const sent =
        isRaw(head) && request.sent === head.target
          ? original
          : Buffer.concat([known(() => requestBytes(head, request.sent)), rest.subarray(size, end)]);
      for (const [bytes, url] of [
        [original, head.target],
        [sent, request.sent],
      ] as const) {
        // Ours takes any token for a method: the rules judge it.
        const isKnown = knownMethods.has(head.method);
        const theirs = isKnown ? bytes : Buffer.concat([Buffer.from("POST"), bytes.subarray(head.method.length)]);
        const seen = nodeReads("request", cut(theirs, seed));
        deepStrictEqual([seen.error, seen.messages.length], [undefined, 1], "one whole message");
        const [message] = seen.messages;
        deepStrictEqual([message?.isDone, message?.url], [true, url]);
        if (isKnown) strictEqual(message?.method, head.method);
        const before = nodeReads("request", [theirs.subarray(0, -1)]);
        ok(
          before.messages.every(({ isDone }) => !isDone),
          "it ends where ours ends",
        );
        if (bytes === original) strictEqual(fieldsIn(message?.fields), ourFields(head.fields));
      }
      taken++;
      at += end;
    }
  } catch (error) {
    if (!(error instanceof NotTaken)) throw error;
  }
  return taken;
}

/** As `agreeOnRequests`, of a server's answers to GET. */
export function agreeOnAnswers(data: Buffer, seed: number): number {
  let at = 0;
  let taken = 0;
  try {
    while (at < data.length) {
      const rest = data.subarray(at);
      const size = headSize(responseHeadEnd, rest, seed);
      const head = known(() => parseResponse(rest, size, "GET"));
      if (head.status === 101) return taken;
      const body = new BodyReader(head.framing, 502);
      const end = size + bodySize(body, rest.subarray(size), seed);
      const closes = head.framing.kind === "close";
      const sent = isRaw(head)
        ? rest.subarray(0, end)
        : Buffer.concat([known(() => answerBytes(head, rest, { closes })), rest.subarray(size, end)]);
      for (const bytes of head.hasVainFraming ? [sent] : [rest.subarray(0, end), sent]) {
        const seen = nodeReads("response", cut(bytes, seed), { ends: closes });
        deepStrictEqual([seen.error, seen.messages.length], [undefined, 1], "one whole message");
        const [message] = seen.messages;
        deepStrictEqual([message?.isDone, message?.status], [true, head.status]);
        if (!closes) {
          const before = nodeReads("response", [bytes.subarray(0, -1)]);
          ok(
            before.messages.every(({ isDone }) => !isDone),
            "it ends where ours ends",
          );
        }
      }
      taken++;
      at += end;
      if (closes) break;
    }
  } catch (error) {
    if (!(error instanceof NotTaken)) throw error;
  }
  return taken;
}

function fieldsIn(fields: readonly string[] = []): string {
  return fields.map((text, i) => (i % 2 === 0 ? text.toLowerCase() : text)).join("\n");
}

function ourFields(fields: readonly { readonly name: string; readonly value: string }[]): string {
  return fields.flatMap(({ name, value }) => [name, value]).join("\n");
}
