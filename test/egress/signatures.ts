// Checks AWS's signatures as its servers do, by aws4, which has nothing in common with what makes them; those of chunks by the
// few lines below.
import { createHash, createHmac } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { createRequire } from "node:module";

export interface Keys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

interface Aws4 {
  sign(request: object, keys: Keys): { readonly headers: Readonly<Record<string, string>> };
}
const aws4: Aws4 = createRequire(import.meta.url)("aws4");

/** What a server has got, by either version of HTTP. */
export interface Received {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

export interface Checked {
  /** The index of the keys; -1 where it is none of them. */
  readonly by: number;
  readonly scope: string;
  readonly isGood: boolean;
  readonly hasToken: boolean;
  readonly isNow: boolean;
  readonly names: string;
}

export function isSigned({ method, url: path, headers }: Received, body: Buffer, real: readonly Keys[]): Checked {
  const said = headers.authorization ?? "";
  const [, id, scope = "", names = ""] =
    /Credential=([A-Z0-9]+)\/(\S+), SignedHeaders=(\S+), Signature=/.exec(said) ?? [];
  const by = real.findIndex(({ accessKeyId }) => accessKeyId === id);
  const host = headers.host ?? headers[":authority"];
  const own = Object.fromEntries(names.split(";").map((name) => [name, name === "host" ? host : headers[name]]));
  const [, region, service] = scope.split("/");
  const keysOfIt = real[by];
  // With a body it adds a type; without one it takes what the request says of it.
  const sent = body.length === 0 || headers["x-amz-content-sha256"] !== undefined ? {} : { body };
  const ignored = { extraHeadersToIgnore: { "content-length": true } };
  const remade =
    keysOfIt && aws4.sign({ host, path, method, headers: own, region, service, ...sent, ...ignored }, keysOfIt);
  const isGood = (remade?.headers["Authorization"] ?? remade?.headers["authorization"]) === said;
  const hasToken = headers["x-amz-security-token"] === keysOfIt?.sessionToken;
  const date = Math.abs(
    Date.now() - Date.parse(String(headers["x-amz-date"]).replace(/(....)(..)(..T..)(..)/, "$1-$2-$3:$4:")),
  );
  return { by, scope: `${region}/${service}`, isGood, hasToken, isNow: date < 60_000, names };
}

/** docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html and -trailers.html */
export function areChunksSigned({ headers }: Received, body: Buffer, { secretAccessKey }: Keys): boolean {
  const [, scope = "", seed = ""] =
    /Credential=[A-Z0-9]+\/(\S+), .*Signature=(\S+)/.exec(headers.authorization ?? "") ?? [];
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();
  const sha = (data: Buffer | string): string => createHash("sha256").update(data).digest("hex");
  const key = scope.split("/").reduce<Buffer>(hmac, Buffer.from(`AWS4${secretAccessKey}`));
  const next = (kind: string, before: string, hashes: string): string =>
    hmac(key, `AWS4-HMAC-SHA256-${kind}\n${headers["x-amz-date"]}\n${scope}\n${before}\n${hashes}`).toString("hex");
  let before = seed;
  let at = 0;
  for (;;) {
    const end = body.indexOf("\r\n", at);
    const [size = "", signature] = body.toString("latin1", at, end).split(";chunk-signature=");
    const data = body.subarray(end + 2, end + 2 + Number.parseInt(size, 16));
    before = next("PAYLOAD", before, `${sha("")}\n${sha(data)}`);
    if (before !== signature) return false;
    at = end + 2 + data.length;
    if (data.length === 0) break;
    at += 2;
  }
  const rest = body.toString("latin1", at);
  if (headers["x-amz-trailer"] === undefined) return rest === "\r\n";
  const [, fields = "", signature] = /^((?:.*\r\n)*?)x-amz-trailer-signature:(\S+)\r\n\r\n$/.exec(rest) ?? [];
  return next("TRAILER", before, sha(fields.replaceAll("\r\n", "\n"))) === signature;
}
