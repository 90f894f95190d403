/** A shorter rest of a key is of no use to anybody, and is met by chance. */
const shortestLine = 16;

const [begin, end] = ["-----BEGIN", "-----END"].map((text) => Buffer.from(text)) as [Buffer, Buffer];
const [backslash, slash] = [0x5c, 0x2f];

/**
 * The lines of base64 of private keys in PEM (RFC 7468), also where it is a text of JSON: each is found by itself, however
 * they are parted, and in any encoding of the whole.
 *
 * @returns views of it
 */
export function keyLinesIn(document: Buffer): readonly Buffer[] {
  const lines: Buffer[] = [];
  for (let from = document.indexOf(begin); from >= 0; from = document.indexOf(begin, from)) {
    from = document.indexOf("-----", from + begin.length);
    if (from < 0) break;
    from += 5;
    const until = document.indexOf(end, from);
    if (until < 0) break;
    for (const line of runsIn(document.subarray(from, until))) if (line.length >= shortestLine) lines.push(line);
    from = until;
  }
  return lines;
}

/** Escaped as in JSON a character stays as it is spelled, since searches read it. */
function* runsIn(text: Buffer): Generator<Buffer> {
  let from = 0;
  for (let at = 0; at <= text.length; ) {
    const [code, size] = characterAt(text, at);
    if (!isBase64(code)) {
      yield text.subarray(from, at);
      from = at + size;
    }
    at += size;
  }
}

/** What stands there, and in how many bytes. */
function characterAt(text: Buffer, at: number): readonly [code: number, size: number] {
  const code = text[at] ?? 0;
  if (code !== backslash) return [code, 1];
  const escaped = text[at + 1] ?? 0;
  if (escaped === slash) return [slash, 2];
  // A line end is a letter there.
  return escaped === 0x75 ? [Number.parseInt(text.toString("latin1", at + 2, at + 6), 16), 6] : [0, 2];
}

function isBase64(byte: number): boolean {
  const small = byte | 0x20;
  return (small >= 0x61 && small <= 0x7a) || (byte >= 0x30 && byte <= 0x39) || [0x2b, slash, 0x3d].includes(byte);
}
