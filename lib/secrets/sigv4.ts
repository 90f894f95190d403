import { createHash, createHmac } from "node:crypto";

/** Keys of AWS's, in locked memory but for what is no secret. */
export interface AwsKeys {
  readonly id: string;
  readonly secret: Buffer;
  /** Of keys that end; null where they do not. */
  readonly token: Buffer | null;
}

export interface SigningScope {
  readonly region: string;
  readonly service: string;
  /** `YYYYMMDDTHHMMSSZ`. */
  readonly time: string;
}

/** A request as it is signed. */
export interface SignedParts {
  readonly method: string;
  /** As it is sent: strictly encoded. */
  readonly path: string;
  readonly query: string;
  /** Those that the signature covers, lower case; values in order. */
  readonly fields: readonly (readonly [name: string, value: string | Buffer])[];
  /** Hexadecimal, or one of S3's words. */
  readonly payload: string;
}

export interface Signature {
  readonly authorization: string;
  /** Hexadecimal. */
  readonly seed: string;
}

export const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const algorithm = "AWS4-HMAC-SHA256";

/** AWS Signature Version 4 (docs.aws.amazon.com, "Create a signed AWS API request"). */
export function signRequest(keys: AwsKeys, scope: SigningScope, parts: SignedParts): Signature {
  const byName = new Map<string, (string | Buffer)[]>();
  for (const [name, value] of parts.fields) byName.set(name, [...(byName.get(name) ?? []), value]);
  const names = [...byName.keys()].sort();
  const hash = createHash("sha256");
  // S3's keys are paths as they are; elsewhere they are encoded once more.
  const path = scope.service === "s3" ? parts.path : strictPath(parts.path.replaceAll("%", "%25"));
  hash.update(`${parts.method}\n${path}\n${canonicalQuery(parts.query)}\n`);
  for (const name of names) {
    hash.update(`${name}:`);
    for (const [index, value] of (byName.get(name) ?? []).entries()) {
      if (index > 0) hash.update(",");
      hash.update(typeof value === "string" ? Buffer.from(value.trim().replace(/ +/g, " "), "latin1") : value);
    }
    hash.update("\n");
  }
  hash.update(`\n${names.join(";")}\n${parts.payload}`);
  const seed = sign(keys, scope, `${algorithm}\n${scope.time}\n${scopeOf(scope)}\n${hash.digest("hex")}`);
  const credential = `${keys.id}/${scopeOf(scope)}`;
  return {
    authorization: `${algorithm} Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${seed}`,
    seed,
  };
}

/**
 * The signature of one chunk of S3's `STREAMING-AWS4-HMAC-SHA256-PAYLOAD`, or of what comes after them.
 *
 * @param before the signature of what came before it
 * @param kind `TRAILER`: of the trailing fields
 */
export function signChunk(
  keys: AwsKeys,
  scope: SigningScope,
  before: string,
  data: Buffer,
  kind: "PAYLOAD" | "TRAILER" = "PAYLOAD",
): string {
  const hashed = createHash("sha256").update(data).digest("hex");
  const own = kind === "PAYLOAD" ? `${emptyHash}\n${hashed}` : hashed;
  return sign(keys, scope, `${algorithm}-${kind}\n${scope.time}\n${scopeOf(scope)}\n${before}\n${own}`);
}

function scopeOf({ time, region, service }: SigningScope): string {
  return `${time.slice(0, 8)}/${region}/${service}/aws4_request`;
}

function sign({ secret }: AwsKeys, { time, region, service }: SigningScope, text: string): string {
  let key = Buffer.concat([Buffer.from("AWS4"), secret]);
  for (const part of [time.slice(0, 8), region, service, "aws4_request"]) {
    const next = createHmac("sha256", key).update(part).digest();
    key.fill(0);
    key = next;
  }
  const signature = createHmac("sha256", key).update(text).digest("hex");
  key.fill(0);
  return signature;
}

/** Now, or another time, as AWS writes it. */
export function timeOf(date: Date = new Date()): string {
  return date.toISOString().replace(/[-:]|\.\d+/g, "");
}

/** A path in which all but unreserved characters are percent-encoded, so that nobody can read it in two ways. */
export function strictPath(path: string): string {
  return path.split("/").map(strict).join("/");
}

function canonicalQuery(query: string): string {
  return query
    .split("&")
    .filter((pair) => pair !== "")
    .map((pair) => {
      const at = pair.indexOf("=");
      const [name, value] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
      return [strict(name.replaceAll("+", "%20")), strict(value.replaceAll("+", "%20"))] as const;
    })
    .sort(([a, x], [b, y]) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0))
    .map(([name, value]) => `${name}=${value}`)
    .join("&");
}

/** What is encoded stays so, in one spelling; the rest is encoded (RFC 3986 section 2.3). */
function strict(text: string): string {
  return text.replace(/%[0-9A-Fa-f]{2}|[^A-Za-z0-9._~-]/gu, (found) => {
    const octets =
      found.length === 3 && found[0] === "%" ? Buffer.of(Number.parseInt(found.slice(1), 16)) : Buffer.from(found);
    return [...octets]
      .map((octet) => {
        const character = String.fromCharCode(octet);
        return /[A-Za-z0-9._~-]/.test(character) ? character : `%${octet.toString(16).toUpperCase().padStart(2, "0")}`;
      })
      .join("");
  });
}
