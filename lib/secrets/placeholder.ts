import { native } from "../native.ts";
import type { PlaceholderFormat } from "../policy/credentials.ts";

const digits = "0123456789";
const base62 = `${digits}ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz`;
const url64 = `${base62}-_`;
const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const hex = "0123456789abcdef";

/** A kind of secret that is known by how it begins. */
interface Kind {
  /** All that is copied of a secret: what everybody knows of its kind. */
  readonly prefix: RegExp;
  readonly alphabet: string;
  /** Base62 of the CRC32 of what stands between prefix and it, six characters at the end. */
  readonly hasChecksum?: boolean;
  /** What stands behind so many characters. */
  readonly parts?: readonly [number, string];
  /** What is made where no secret is asked: prefix and length. */
  readonly usual?: readonly [PlaceholderFormat, string, number];
}

/** As their issuers describe them. GitHub and npm check theirs (github.blog, 2021-04-05). */
const kinds: readonly Kind[] = [
  { prefix: /^gh[pousr]_/, alphabet: base62, hasChecksum: true, usual: ["github", "ghp_", 40] },
  { prefix: /^github_pat_/, alphabet: base62, parts: [22, "_"] },
  { prefix: /^npm_/, alphabet: base62, hasChecksum: true, usual: ["npm", "npm_", 40] },
  { prefix: /^sk-ant-[a-z]{3,5}[0-9]{2}-/, alphabet: url64, usual: ["anthropic", "sk-ant-api03-", 108] },
  { prefix: /^sk-(?:proj|svcacct|admin|or-v1)-/, alphabet: url64, usual: ["openai", "sk-proj-", 164] },
  { prefix: /^sk-/, alphabet: base62 },
  { prefix: /^(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)/, alphabet: base32, usual: ["aws", "AKIA", 20] },
  { prefix: /^xox[abeoprs]-/, alphabet: base62, usual: ["slack", "xoxb-", 57] },
  { prefix: /^xapp-/, alphabet: base62 },
  { prefix: /^gl(?:pat|dt|rt|cbt|ptt|ft|soat)-/, alphabet: url64, usual: ["gitlab", "glpat-", 26] },
  { prefix: /^(?:sk|rk|pk)_(?:live|test)_/, alphabet: base62 },
  { prefix: /^hf_/, alphabet: base62 },
  { prefix: /^pypi-/, alphabet: url64 },
  { prefix: /^AIza/, alphabet: url64 },
  { prefix: /^SG\./, alphabet: url64, parts: [22, "."] },
  { prefix: /^dop_v1_/, alphabet: hex },
];

const plain: Kind = { prefix: /^/, alphabet: base62, usual: ["generic", "", 40] };
/** So many characters that are drawn: nobody guesses one, and none stands in a text by chance. */
const leastDrawn = 16;
/** Slack's segments are numbers but the last. */
const slack = /^xox/;

/** A token that says nothing, in the shape of a secret: its public prefix, its length, its checksum. */
export function placeholderLike(secret: Buffer): string {
  // As much as a prefix can be, and no more.
  const start = secret.toString("latin1", 0, Math.min(16, secret.length));
  const kind = kinds.find(({ prefix }) => prefix.test(start));
  if (kind === undefined) return alike(secret);
  const prefix = kind.prefix.exec(start)?.[0] ?? "";
  return make(kind, prefix, secret.length);
}

/** By what its characters are alone, where nothing tells its kind: that is looked at in its own memory. */
function alike(secret: Buffer): string {
  const isOf = (alphabet: string): boolean => secret.every((byte) => alphabet.includes(String.fromCharCode(byte)));
  if (secret.length === 36 && isOf(`${hex}-`) && [8, 13, 18, 23].every((at) => secret[at] === dash)) {
    // Version 4 (RFC 9562 section 5.4).
    const drawn = draw(hex, 30);
    const cut = (from: number, until: number): string => drawn.slice(from, until);
    return `${cut(0, 8)}-${cut(8, 12)}-4${cut(12, 15)}-a${cut(15, 18)}-${cut(18, 30)}`;
  }
  const dots = secret.reduce((sum, byte) => sum + (byte === dot ? 1 : 0), 0);
  if (dots === 2 && secret.toString("latin1", 0, 3) === "eyJ" && isOf(`${url64}.`) && secret.length >= leastToken)
    return jsonToken(secret.length);
  const own = [digits, hex, hex.toUpperCase()].find((alphabet) => secret.length >= leastDrawn * 2 && isOf(alphabet));
  return make(own === undefined ? plain : { ...plain, alphabet: own }, "", secret.length);
}

const dash = 0x2d;
const dot = 0x2e;
const jsonHead = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");
const leastToken = 160;

/** A JSON token (RFC 7519) that can be read, is good until 2100 and is nobody's. */
function jsonToken(length: number): string {
  const claims = (id: string): string => JSON.stringify({ exp: 4_102_444_800, jti: id });
  const room = length - jsonHead.length - 2;
  const bytes = Math.floor(((room - 43) * 3) / 4);
  const body = Buffer.from(claims(draw(base62, bytes - claims("").length))).toString("base64url");
  return `${jsonHead}.${body}.${draw(url64, room - body.length)}`;
}

/** A token of a kind that is known by name. */
export function placeholderOf(format: Exclude<PlaceholderFormat, "openshell">): string {
  const kind = [...kinds, plain].find(({ usual }) => usual?.[0] === format) ?? plain;
  const [, prefix, length] = kind.usual ?? ["", "", 0];
  return make(kind, prefix, length);
}

function make(kind: Kind, prefix: string, length: number): string {
  const size = Math.max(length - prefix.length, leastDrawn + (kind.hasChecksum ? 6 : 0));
  if (slack.test(prefix) && size >= 44)
    return `${prefix}${draw(digits, 12)}-${draw(digits, 13)}-${draw(base62, size - 27)}`;
  if (kind.parts !== undefined && size > kind.parts[0] + leastDrawn) {
    const [before, between] = kind.parts;
    return `${prefix}${draw(kind.alphabet, before)}${between}${draw(kind.alphabet, size - before - between.length)}`;
  }
  if (kind.hasChecksum !== true) return `${prefix}${draw(kind.alphabet, size)}`;
  const body = draw(kind.alphabet, size - 6);
  return `${prefix}${body}${checksum(body)}`;
}

function draw(alphabet: string, length: number): string {
  let drawn = "";
  while (drawn.length < length) {
    // All that comes at once (getrandom(2)).
    for (const byte of native().random(256)) {
      // Every character as likely as another.
      if (byte >= 256 - (256 % alphabet.length)) continue;
      drawn += alphabet[byte % alphabet.length] ?? "";
      if (drawn.length === length) break;
    }
  }
  return drawn;
}

/** Six characters of base62, as GitHub's tokens end. */
export function checksum(text: string): string {
  let crc = ~0;
  for (const byte of Buffer.from(text, "latin1")) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ ((crc & 1) * 0xedb88320);
  }
  let left = ~crc >>> 0;
  let written = "";
  for (let place = 0; place < 6; place++) {
    written = `${base62[left % 62]}${written}`;
    left = Math.floor(left / 62);
  }
  return written;
}
