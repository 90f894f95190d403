import { isUtf8 } from "node:buffer";

const shortEscapes: ReadonlyMap<number, string> = new Map([
  [0x07, "\\a"],
  [0x08, "\\b"],
  [0x09, "\\t"],
  [0x0a, "\\n"],
  [0x0b, "\\v"],
  [0x0c, "\\f"],
  [0x0d, "\\r"],
  [0x22, '\\"'],
  [0x5c, "\\\\"],
]);

function quote(bytes: Buffer, needsEscape: (byte: number) => boolean): string {
  let text = "";
  for (const byte of bytes) {
    const short = shortEscapes.get(byte);
    if (short !== undefined) text += short;
    else if (needsEscape(byte)) text += `\\${byte.toString(8).padStart(3, "0")}`;
    else text += String.fromCharCode(byte);
  }
  return `"${text}"`;
}

// C0, DEL, C1 and what turns the direction of text round: a name is the session's to choose, and it is printed.
const unprintable = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069"\\]/;

/** A path as text that can be printed anywhere: as it is, or in C's quotes with octal escapes, as git writes it. */
export function displayPath(path: Buffer): string {
  if (isUtf8(path)) {
    const text = path.toString();
    if (!unprintable.test(text)) return text;
  }
  return quote(path, (byte) => byte < 0x20 || byte > 0x7e);
}

/** A path in a patch: quoted where git quotes it (core.quotePath), so that patch(1) and git-apply(1) read it back. */
export function patchPath(path: Buffer): string {
  const plain = path.every((byte) => byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c);
  return plain ? path.toString("latin1") : quote(path, (byte) => byte < 0x20 || byte > 0x7e);
}
