import { createHash } from "node:crypto";
import { regionIn } from "../policy/aws-region.ts";
import type { NetworkEndpoint } from "../policy/network.ts";
import { awsKeysIn } from "../secrets/aws-keys.ts";
import type { SessionCredentials } from "../secrets/session.ts";
import { type AwsKeys, emptyHash, type SigningScope, signRequest, strictPath, timeOf } from "../secrets/sigv4.ts";
import { AwsChunks } from "./aws-chunks.ts";
import { type ChangedBody, withoutFraming } from "./body-swap.ts";
import type { BodyReader } from "./http-body.ts";
import { type Field, HttpError, makeField, type RequestHead } from "./http-head.ts";
import { bytesOf, refreshFor, type SwapField, type SwapRequest } from "./swap.ts";

/** openshell.md 1.12: so much is held of a body whose hash has to be known first. */
const longestHashed = 10 * 1024 * 1024;

const unsigned = "UNSIGNED-PAYLOAD";
const streaming = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
/** What the client signed with, and what is said anew. */
const dropped: ReadonlySet<string> = new Set(["authorization", "x-amz-security-token", "x-amz-date", "date"]);
const droppedParameters =
  /^x-amz-(?:algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256)(?:=|$)/i;
/** Of its version before, which AWS's command line still presigns with. */
const olderParameters = /^(?:AWSAccessKeyId|Signature|Expires)(?:=|$)/;
/** Besides all of AWS's own. */
const signedToo: ReadonlySet<string> = new Set(["host", "content-type", "content-md5"]);

/** What the payload's place in the signature says. */
type Payload =
  | { readonly kind: "word"; readonly word: string }
  /** Known when all of it has come. */
  | { readonly kind: "hash" }
  | { readonly kind: "chunks"; readonly word: string };

/** A signed request of HTTP/2, by what its signature says of the body: given its fields, those that are sent. */
export type SignedStream =
  | { readonly kind: "plain"; readonly fields: (given: readonly SwapField[]) => readonly SwapField[] }
  | {
      readonly kind: "whole";
      readonly mostBytes: number;
      readonly fields: (given: readonly SwapField[], body: Buffer) => readonly SwapField[];
    }
  | {
      readonly kind: "chunks";
      readonly fields: (given: readonly SwapField[]) => readonly SwapField[];
      /** What goes on, once the fields are made. Throws an HttpError where it is malformed. */
      readonly take: (chunk: Buffer, isLast: boolean) => Buffer;
    };

/** Signs one request with keys of AWS's instead of those that its client has. */
export class RequestSigner {
  /** The credential. */
  readonly name: string;
  readonly #session: SessionCredentials;
  readonly #method: string;
  /** As it is sent. */
  readonly path: string;
  readonly query: string | undefined;
  readonly #payload: Payload;
  readonly #scope: SigningScope;

  constructor(
    session: SessionCredentials,
    name: string,
    endpoint: NetworkEndpoint,
    host: string,
    request: SwapRequest<SwapField> & { readonly method: string },
    hasBody: boolean,
  ) {
    this.name = name;
    this.#session = session;
    this.#method = request.method;
    this.path = strictPath(request.path);
    const said = request.query?.split("&");
    const isOlder = said?.some((pair) => pair.startsWith("AWSAccessKeyId=")) === true;
    const pairs = said?.filter((pair) => !droppedParameters.test(pair) && !(isOlder && olderParameters.test(pair)));
    this.query = pairs === undefined || pairs.length === 0 ? undefined : pairs.join("&");
    const isPresigned = pairs !== undefined && pairs.length < (said ?? []).length;
    const hash = request.fields.find((field) => field.name === "x-amz-content-sha256")?.value;
    this.#payload = payloadOf(endpoint.credentialSigning, hash ?? (isPresigned ? unsigned : undefined), hasBody);
    const { signingService: service, signingRegion } = endpoint;
    this.#scope = { region: signingRegion || regionOf(host), service, time: timeOf() };
  }

  /** Without what the client signed with. */
  without<F extends SwapField>(fields: readonly F[]): readonly F[] {
    return fields.filter(({ name }) => !dropped.has(name));
  }

  get isReady(): boolean {
    return this.#session.areFresh([this.name]);
  }

  /** @throws SwapFault */
  prepare(): Promise<void> {
    return refreshFor(this.#session, [this.name]);
  }

  /**
   * The head, signed, for the caller to wipe; undefined where its body has to come first.
   *
   * @param write makes it of its fields
   */
  head(fields: readonly Field[], write: (fields: readonly Field[]) => Buffer): (() => Buffer) | undefined {
    const payload = this.#payload;
    return payload.kind === "word" ? () => this.#signed(payload.word, fields, write).bytes : undefined;
  }

  /** Where the body is held or changed: it brings its head. */
  body(
    head: RequestHead,
    reader: BodyReader,
    fields: readonly Field[],
    write: (fields: readonly Field[]) => Buffer,
  ): ChangedBody | undefined {
    const payload = this.#payload;
    if (payload.kind === "word") return undefined;
    if (payload.kind === "chunks") {
      const isChunked = head.framing.kind === "chunked";
      return new ResignedBody(reader, isChunked, () => {
        const { bytes, seed } = this.#signed(payload.word, fields, write);
        const hasTrailer = payload.word.endsWith("-TRAILER");
        return { head: bytes, chunks: new AwsChunks(() => this.#keys(), this.#scope, seed, hasTrailer) };
      });
    }
    if (head.framing.kind === "length" && head.framing.length > longestHashed) throw tooLong();
    return new HashedBody(reader, (hash, length) => {
      return this.#signed(hash, [...withoutFraming(fields), makeField("content-length", String(length))], write).bytes;
    });
  }

  #keys(): AwsKeys {
    const bytes = bytesOf(this.#session, this.name);
    return awsKeysIn(bytes);
  }

  /** The head of a request whose body brings what its signature says. */
  #signed(
    payload: string,
    fields: readonly Field[],
    write: (fields: readonly Field[]) => Buffer,
  ): { readonly bytes: Buffer; readonly seed: string } {
    const { sent, token, seed } = this.#sign(payload, fields);
    if (token === null) return { bytes: write(sent), seed };
    // Never a string.
    const mark = this.#session.placeholderOf(this.name);
    const bytes = write([...sent, makeField("x-amz-security-token", mark)]);
    const line = bytes.lastIndexOf(`\r\nx-amz-security-token: ${mark}\r\n`);
    if (line < 0) throw new HttpError(400, "Connection names a field of the signature");
    const at = line + "\r\nx-amz-security-token: ".length;
    const whole = Buffer.concat([bytes.subarray(0, at), token, bytes.subarray(at + mark.length)]);
    bytes.fill(0);
    return { bytes: whole, seed };
  }

  /** @returns token: to be sent as well, a view of locked memory */
  #sign<F extends SwapField>(
    payload: string,
    fields: readonly F[],
  ): { readonly sent: readonly (F | Field)[]; readonly token: Buffer | null; readonly seed: string } {
    const keys = this.#keys();
    const { time, service } = this.#scope;
    const own = [makeField("x-amz-date", time)];
    // S3 wants it; others take it where their client says it.
    if (service === "s3" || fields.some(({ name }) => name === "x-amz-content-sha256"))
      own.push(makeField("x-amz-content-sha256", payload));
    const all = [...fields.filter(({ name }) => name !== "x-amz-content-sha256"), ...own];
    const covered = all
      .filter(({ name }) => signedToo.has(name) || name.startsWith("x-amz-"))
      .map(({ name, value }) => [name, value] as const);
    const { authorization, seed } = signRequest(keys, this.#scope, {
      ...{ method: this.#method, path: this.path, query: this.query ?? "", payload },
      fields: keys.token === null ? covered : [...covered, ["x-amz-security-token", keys.token]],
    });
    return { sent: [...all, makeField("authorization", authorization)], token: keys.token, seed };
  }

  /** How HTTP/2 sends it, whose sessions take fields as strings: a session's token, too. */
  stream(): SignedStream {
    const payload = this.#payload;
    const sign = (word: string, fields: readonly SwapField[]): { fields: readonly SwapField[]; seed: string } => {
      const { sent, token, seed } = this.#sign(word, fields);
      const own = token === null ? [] : [{ name: "x-amz-security-token", value: token.toString("latin1") }];
      return { fields: [...sent, ...own], seed };
    };
    if (payload.kind === "word") return { kind: "plain", fields: (given) => sign(payload.word, given).fields };
    if (payload.kind === "hash")
      return {
        kind: "whole",
        mostBytes: longestHashed,
        fields: (given, body) => sign(createHash("sha256").update(body).digest("hex"), given).fields,
      };
    let chunks: AwsChunks | undefined;
    return {
      kind: "chunks",
      fields: (given) => {
        const signed = sign(payload.word, given);
        const hasTrailer = payload.word.endsWith("-TRAILER");
        chunks = new AwsChunks(() => this.#keys(), this.#scope, signed.seed, hasTrailer);
        return signed.fields;
      },
      take: (chunk, isLast) => Buffer.concat(chunks?.take(chunk, isLast) ?? []),
    };
  }
}

function payloadOf(mode: NetworkEndpoint["credentialSigning"], said: string | undefined, hasBody: boolean): Payload {
  if (said?.startsWith(streaming)) return { kind: "chunks", word: said };
  // Its chunks bear no signature.
  if (said === "STREAMING-UNSIGNED-PAYLOAD-TRAILER" && mode !== "sigv4:body") return { kind: "word", word: said };
  if (said?.startsWith("STREAMING-"))
    throw new HttpError(400, `a body signed by ${said.slice(0, 64)} cannot be signed anew`);
  if (mode === "sigv4:no_body") return { kind: "word", word: unsigned };
  if (!hasBody) return { kind: "word", word: emptyHash };
  if (mode === "sigv4:body" || said === undefined) return { kind: "hash" };
  if (said === unsigned || /^[0-9a-f]{64}$/.test(said)) return { kind: "word", word: said };
  throw new HttpError(400, "x-amz-content-sha256 is no hash");
}

/** As AWS names its hosts; what is none of them says its region by `signing_region`. */
export function regionOf(host: string): string {
  return regionIn(host) ?? "us-east-1";
}

export function tooLong(): HttpError {
  return new HttpError(413, `a body that is hashed for its signature is at most ${longestHashed} bytes`);
}

/** A body that is held until its hash is known. */
class HashedBody implements ChangedBody {
  readonly used: readonly string[] = [];
  readonly #reader: BodyReader;
  readonly #head: (hash: string, length: number) => Buffer;
  readonly #parts: Buffer[] = [];
  #size = 0;

  constructor(reader: BodyReader, head: (hash: string, length: number) => Buffer) {
    this.#reader = reader;
    this.#head = head;
  }

  get waits(): boolean {
    return !this.#reader.isDone;
  }

  take(data: Buffer, at: number): { readonly size: number; readonly out: readonly Buffer[] } {
    const ranges: [number, number][] = [];
    const size = this.#reader.take(data, at, ranges);
    for (const [from, until] of ranges) {
      this.#parts.push(Buffer.from(data.subarray(from, until)));
      this.#size += until - from;
    }
    if (this.#size > longestHashed) throw tooLong();
    if (!this.#reader.isDone) return { size, out: [] };
    const hash = createHash("sha256");
    for (const part of this.#parts) hash.update(part);
    return { size, out: [this.#head(hash.digest("hex"), this.#size), ...this.#parts.splice(0)] };
  }
}

/** A body whose chunks are signed anew as they come. */
class ResignedBody implements ChangedBody {
  readonly used: readonly string[] = [];
  readonly waits = false;
  readonly #reader: BodyReader;
  /** By HTTP's own chunks, around those of AWS's. */
  readonly #isChunked: boolean;
  readonly #begin: () => { readonly head: Buffer; readonly chunks: AwsChunks };
  #chunks: AwsChunks | undefined;

  constructor(reader: BodyReader, isChunked: boolean, begin: () => { head: Buffer; chunks: AwsChunks }) {
    this.#reader = reader;
    this.#isChunked = isChunked;
    this.#begin = begin;
  }

  take(data: Buffer, at: number): { readonly size: number; readonly out: readonly Buffer[] } {
    const out: Buffer[] = [];
    if (this.#chunks === undefined) {
      const { head, chunks } = this.#begin();
      this.#chunks = chunks;
      out.push(head);
    }
    const ranges: [number, number][] = [];
    const size = this.#reader.take(data, at, ranges);
    const came = Buffer.concat(ranges.map(([from, until]) => data.subarray(from, until)));
    // Copies: what is sent is wiped.
    const made = Buffer.concat(this.#chunks.take(came, this.#reader.isDone));
    if (made.length > 0)
      out.push(
        ...(this.#isChunked ? [Buffer.from(`${made.length.toString(16)}\r\n`), made, Buffer.from("\r\n")] : [made]),
      );
    if (this.#isChunked && this.#reader.isDone) out.push(Buffer.from("0\r\n\r\n"));
    return { size, out };
  }
}
