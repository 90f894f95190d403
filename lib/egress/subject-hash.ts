import { createHash } from "node:crypto";
import { sequence, set, utf8String } from "./der.ts";

interface Item {
  readonly tag: number;
  /** With its tag and length. */
  readonly whole: Buffer;
  readonly content: Buffer;
  readonly items: () => readonly Item[];
}

/**
 * The name, without its number, under which OpenSSL looks for a certificate in a folder: X509_NAME_hash(3), a hash of the
 * subject in lower case and with single spaces.
 */
export function subjectHash(certificate: Buffer): string {
  const [signed] = read(certificate, 0).items();
  const fields = signed?.items() ?? [];
  // RFC 5280 section 4.1: [version], serialNumber, signature, issuer, validity, subject.
  const subject = fields[fields[0]?.tag === 0xa0 ? 5 : 4];
  if (subject === undefined) throw new Error("not a certificate");
  const parts = subject.items().map((part) =>
    set(
      ...part.items().map((attribute) => {
        const [type, value] = attribute.items();
        return type === undefined || value === undefined ? attribute.whole : sequence(type.whole, canonical(value));
      }),
    ),
  );
  return createHash("sha1").update(Buffer.concat(parts)).digest().readUInt32LE(0).toString(16).padStart(8, "0");
}

const utf8 = 0x0c;
/** UTF8String, PrintableString, T61String, IA5String and VisibleString; what is of another kind stays as it is. */
const texts: ReadonlySet<number> = new Set([utf8, 0x13, 0x14, 0x16, 0x1a]);

function canonical({ tag, whole, content }: Item): Buffer {
  if (!texts.has(tag)) return whole;
  const text = content
    .toString(tag === utf8 ? "utf8" : "latin1")
    .replace(/^[\t-\r ]+|[\t-\r ]+$/g, "")
    .replace(/[\t-\r ]+/g, " ");
  return utf8String(text.replace(/[A-Z]+/g, (upper) => upper.toLowerCase()));
}

function read(bytes: Buffer, at: number): Item {
  const tag = bytes.readUInt8(at);
  const first = bytes.readUInt8(at + 1);
  // Without a length (X.690 section 8.1.3.6): nothing that is DER.
  if (first === 0x80) throw new RangeError("not a certificate: a length is missing");
  const octets = first < 0x80 ? 0 : first & 0x7f;
  const start = at + 2 + octets;
  const end = start + (octets === 0 ? first : bytes.readUIntBE(at + 2, octets));
  if (end > bytes.length) throw new RangeError("not a certificate: it ends early");
  const content = bytes.subarray(start, end);
  const items = (): Item[] => {
    const found: Item[] = [];
    for (let next = 0; next < content.length; ) {
      const item = read(content, next);
      found.push(item);
      next += item.whole.length;
    }
    return found;
  };
  return { tag, whole: bytes.subarray(at, end), content, items };
}
