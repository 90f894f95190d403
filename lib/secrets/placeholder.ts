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
  /** What is made where no secret is asked: prefix and length. */
  readonly usual?: readonly [PlaceholderFormat, string, number];
}

/** As their issuers describe them. GitHub and npm check theirs (github.blog, 2021-04-05). */
const kinds: readonly Kind[] = [
  { prefix: /^gh[pousr]_/, alphabet: base62, hasChecksum: true, usual: ["github", "ghp_", 40] },
  { prefix: /^github_pat_/, alphabet: base62 },
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
  { prefix: /^SG\./, alphabet: url64 },
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
  const kind = kinds.find(({ prefix }) => prefix.test(start)) ?? plain;
  const prefix = kind.prefix.exec(start)?.[0] ?? "";
  return make(kind, prefix, secret.length);
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
  if (kind.hasChecksum !== true) return `${prefix}${draw(kind.alphabet, size)}`;
  const body = draw(kind.alphabet, size - 6);
  return `${prefix}${body}${checksum(body)}`;
}

function draw(alphabet: string, length: number): string {
  let drawn = "";
  while (drawn.length < length) {
    for (const byte of native().random(length * 2)) {
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
