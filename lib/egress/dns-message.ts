/**
 * DNS as far as a resolver needs it that answers from a table: one question in, addresses or a refusal out (RFC 1035
 * section 4, RFC 6891 for EDNS, RFC 2308 for negative answers). Names in a question may not be compressed.
 */

export interface Question {
  readonly id: number;
  /** Lower case, without the final dot; the root is empty. */
  readonly name: string;
  /** The same as it was spelled. */
  readonly spelled: string;
  readonly type: number;
  readonly recursionDesired: boolean;
  /** The question section as it came, to be sent back. */
  readonly section: Buffer;
}

export const types = { a: 1, soa: 6, ptr: 12, aaaa: 28 } as const;

/** RFC 1035 section 4.1.1. */
export const codes = { fine: 0, malformed: 1, failed: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;

export type QuestionRead =
  | { readonly kind: "question"; readonly question: Question }
  /** Answered with an error: there is a header to answer. */
  | { readonly kind: "faulty"; readonly id: number; readonly code: number }
  /** Not answered at all: no query. */
  | { readonly kind: "none" };

const headerSize = 12;
const classIn = 1;
const longestName = 253;

export function readQuestion(data: Buffer): QuestionRead {
  if (data.length < headerSize) return { kind: "none" };
  const id = data.readUInt16BE(0);
  const flags = data.readUInt16BE(2);
  // An answer is no question: answering it would make two resolvers talk for ever.
  if ((flags & 0x8000) !== 0) return { kind: "none" };
  const faulty = (code: number): QuestionRead => ({ kind: "faulty", id, code });
  if (((flags >> 11) & 0xf) !== 0) return faulty(codes.notImplemented);
  if (data.readUInt16BE(4) !== 1 || data.readUInt16BE(6) !== 0) return faulty(codes.malformed);
  const labels: string[] = [];
  let at = headerSize;
  let length = 0;
  for (;;) {
    const size = data[at];
    if (size === undefined) return faulty(codes.malformed);
    at++;
    if (size === 0) break;
    // 63 at most; anything above is a pointer or of a kind that was never used.
    if (size > 63 || at + size > data.length) return faulty(codes.malformed);
    labels.push(data.toString("latin1", at, at + size));
    at += size;
    length += size + 1;
    if (length > longestName + 1) return faulty(codes.malformed);
  }
  if (at + 4 > data.length) return faulty(codes.malformed);
  const type = data.readUInt16BE(at);
  const section = data.subarray(headerSize, at + 4);
  if (data.readUInt16BE(at + 2) !== classIn) return faulty(codes.refused);
  // A dot within a label would read as two labels: such a name is nobody's.
  if (labels.some((label) => label.includes(".") || /[^\x21-\x7e]/.test(label))) return faulty(codes.refused);
  const spelled = labels.join(".");
  return {
    kind: "question",
    question: { id, name: spelled.toLowerCase(), spelled, type, recursionDesired: (flags & 0x100) !== 0, section },
  };
}

/** The address that a name of the reverse zones stands for (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function reversedAddress(name: string): string | undefined {
  const [, four, six] = /^(?:((?:\d{1,3}\.){4})in-addr|((?:[\da-f]\.){32})ip6)\.arpa$/.exec(name) ?? [];
  const parts = (four ?? six)?.slice(0, -1).split(".").reverse();
  if (six === undefined) return parts?.join(".");
  const written = parts?.join("").replace(/.{4}(?!$)/g, "$&:");
  return new URL(`http://[${written}]`).hostname.slice(1, -1);
}

/** A name as a record holds it. */
export function nameData(name: string): Uint8Array {
  const labels = name.split(".").map((label) => Buffer.from(label, "latin1"));
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(label.length), label]), Buffer.of(0)]);
}

/** An answer with what it is asked for, addresses or a name; without any it says that the name has none of this type. */
export function answer(question: Question, found: readonly Uint8Array[], ttlSeconds: number): Buffer {
  const records = found.map((address) => {
    const record = Buffer.alloc(12 + address.length);
    record.writeUInt16BE(0xc000 | headerSize, 0); // the question's name
    record.writeUInt16BE(question.type, 2);
    record.writeUInt16BE(classIn, 4);
    record.writeUInt32BE(ttlSeconds, 6);
    record.writeUInt16BE(address.length, 10);
    record.set(address, 12);
    return record;
  });
  return Buffer.concat([header(question, codes.fine, records.length), question.section, ...records]);
}

/** An answer that says why there is none. */
export function refusal(question: Question, code: number): Buffer {
  return Buffer.concat([header(question, code, 0), question.section]);
}

/** What a message that could not be read is answered with. */
export function fault(id: number, code: number): Buffer {
  const data = Buffer.alloc(headerSize);
  data.writeUInt16BE(id, 0);
  data.writeUInt16BE(0x8080 | code, 2);
  return data;
}

function header(question: Question, code: number, answers: number): Buffer {
  const data = Buffer.alloc(headerSize);
  data.writeUInt16BE(question.id, 0);
  // An answer, with recursion available.
  data.writeUInt16BE(0x8080 | (question.recursionDesired ? 0x100 : 0) | code, 2);
  data.writeUInt16BE(1, 4);
  data.writeUInt16BE(answers, 6);
  return data;
}
