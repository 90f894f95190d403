/** Text with secrets in it, as pieces: they become bytes when they are sent, in buffers that are wiped, and never a string. */

/** A secret, or a form of one, that is shorter is not looked for: it would be met by chance. */
export const shortestSought = 8;

/** How a secret is written where it stands. */
export type SecretForm = "plain" | "percent" | "json";

export type Piece =
  | string
  | Buffer
  | { readonly name: string; readonly form: SecretForm }
  /** Encoded as one (RFC 7617). */
  | { readonly base64: readonly Piece[] };

/** Where a credential's secret is; it is not kept. */
export type SecretOf = (name: string) => Buffer;

const base64 = Buffer.from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
const hexDigits = Buffer.from("0123456789ABCDEF");
/** RFC 3986 section 2.3. */
const unreserved = new Uint8Array(128).map((_, code) => (/[A-Za-z0-9._~-]/.test(String.fromCharCode(code)) ? 1 : 0));

/** The bytes, for the caller to wipe when they are sent. */
export function assemble(pieces: readonly Piece[], secretOf: SecretOf): Buffer {
  const parts: (string | Buffer)[] = [];
  /** Nobody else's. */
  let own: Buffer[] | undefined;
  let size = 0;
  for (const piece of pieces) {
    let part: string | Buffer;
    if (typeof piece === "string" || Buffer.isBuffer(piece)) part = piece;
    else if ("name" in piece && piece.form === "plain") part = secretOf(piece.name);
    else {
      part = written(piece, secretOf);
      own = [...(own ?? []), part];
    }
    parts.push(part);
    size += part.length;
  }
  const whole = Buffer.allocUnsafe(size);
  let at = 0;
  for (const part of parts) {
    // Texts are written where they go.
    if (typeof part === "string") whole.write(part, at, "latin1");
    else whole.set(part, at);
    at += part.length;
  }
  if (own !== undefined) for (const each of own) each.fill(0);
  return whole;
}

/** Text that is written more than once. */
export function encoded(piece: Piece): Piece {
  return typeof piece === "string" ? Buffer.from(piece, "latin1") : piece;
}

function written(piece: Exclude<Piece, string | Buffer>, secretOf: SecretOf): Buffer {
  if (!("base64" in piece)) {
    const secret = secretOf(piece.name);
    return piece.form === "percent" ? percentEncoded(secret) : jsonEscaped(secret);
  }
  const inner = assemble(piece.base64, secretOf);
  const bytes = encodeBase64(inner);
  inner.fill(0);
  return bytes;
}

/** Not Buffer's own, whose result is a string. */
export function encodeBase64(bytes: Buffer): Buffer {
  const encoded = Buffer.allocUnsafeSlow(Math.ceil(bytes.length / 3) * 4);
  let to = 0;
  for (let at = 0; at < bytes.length; at += 3) {
    const left = bytes.length - at;
    const group = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    encoded[to++] = base64[group >> 18] ?? 0;
    encoded[to++] = base64[(group >> 12) & 63] ?? 0;
    encoded[to++] = left > 1 ? (base64[(group >> 6) & 63] ?? 0) : 0x3d;
    encoded[to++] = left > 2 ? (base64[group & 63] ?? 0) : 0x3d;
  }
  return encoded;
}

/** All but unreserved characters: nothing in a secret ends a segment or a parameter. */
export function percentEncoded(bytes: Buffer): Buffer {
  const encoded = Buffer.allocUnsafeSlow(bytes.length * 3);
  let to = 0;
  for (const byte of bytes) {
    if (unreserved[byte] === 1) encoded[to++] = byte;
    else {
      encoded[to++] = 0x25;
      encoded[to++] = hexDigits[byte >> 4] ?? 0;
      encoded[to++] = hexDigits[byte & 15] ?? 0;
    }
  }
  return encoded.subarray(0, to);
}

/** In a string of JSON: a secret is ASCII without control characters. */
export function jsonEscaped(bytes: Buffer): Buffer {
  const escaped = Buffer.allocUnsafeSlow(bytes.length * 2);
  let to = 0;
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) escaped[to++] = 0x5c;
    escaped[to++] = byte;
  }
  return escaped.subarray(0, to);
}
