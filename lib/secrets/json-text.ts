/** Values of an object of JSON, read as bytes: a secret in one is never a string of JavaScript's. */

const quoteMark = 0x22;
const backslash = 0x5c;
const escapes: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, b: 8, f: 12, '"': 34, "\\": 92, "/": 47 };

/**
 * The members of the outermost object that are strings or numbers, the last of a name; a string's escapes are undone.
 *
 * @returns undefined where it is no object; the buffers are the caller's to wipe
 */
export function membersOf(json: Buffer): ReadonlyMap<string, Buffer> | undefined {
  const members = new Map<string, Buffer>();
  let at = skipSpace(json, 0);
  if (json[at] !== 0x7b) return undefined;
  at = skipSpace(json, at + 1);
  while (json[at] !== 0x7d) {
    const name = stringAt(json, at);
    if (name === undefined) return undefined;
    at = skipSpace(json, name.end);
    if (json[at] !== 0x3a) return undefined;
    at = skipSpace(json, at + 1);
    const value = json[at] === quoteMark ? stringAt(json, at) : otherAt(json, at);
    if (value === undefined) return undefined;
    const key = name.text.toString("latin1");
    members.get(key)?.fill(0);
    if (value.text !== undefined) members.set(key, value.text);
    at = skipSpace(json, value.end);
    if (json[at] === 0x2c) at = skipSpace(json, at + 1);
    else if (json[at] !== 0x7d) return undefined;
  }
  return members;
}

function skipSpace(json: Buffer, from: number): number {
  let at = from;
  while (json[at] === 0x20 || json[at] === 0x0a || json[at] === 0x0d || json[at] === 0x09) at++;
  return at;
}

function stringAt(json: Buffer, from: number): { readonly text: Buffer; readonly end: number } | undefined {
  if (json[from] !== quoteMark) return undefined;
  const end = stringEnd(json, from);
  if (end === undefined) return undefined;
  const text = Buffer.allocUnsafeSlow(end - from);
  let to = 0;
  for (let at = from + 1; at < end - 1; at++) {
    const byte = json[at] ?? 0;
    if (byte !== backslash) {
      text[to++] = byte;
      continue;
    }
    const kind = String.fromCharCode(json[++at] ?? 0);
    if (kind === "u") {
      const code = Number.parseInt(json.toString("latin1", at + 1, at + 5), 16);
      // Beyond ASCII it is no secret's and no key's: what it stands for is refused later.
      text[to++] = code < 0x80 ? code : 0xff;
      at += 4;
    } else text[to++] = escapes[kind] ?? 0xff;
  }
  return { text: text.subarray(0, to), end };
}

/** Behind the closing mark. */
function stringEnd(json: Buffer, from: number): number | undefined {
  for (let at = from + 1; at < json.length; at++) {
    if (json[at] === backslash) at++;
    else if (json[at] === quoteMark) return at + 1;
  }
  return undefined;
}

/** A number, or what is passed over. */
function otherAt(json: Buffer, from: number): { readonly text: Buffer | undefined; readonly end: number } | undefined {
  let depth = 0;
  let at = from;
  for (; at < json.length; at++) {
    const byte = json[at];
    if (byte === quoteMark) {
      const end = stringEnd(json, at);
      if (end === undefined) return undefined;
      at = end - 1;
    } else if (byte === 0x7b || byte === 0x5b) depth++;
    else if (depth > 0 && (byte === 0x7d || byte === 0x5d)) depth--;
    else if (depth === 0 && (byte === 0x2c || byte === 0x7d || byte === 0x5d)) break;
  }
  if (at === from || at === json.length) return undefined;
  if (json[from] === 0x7b || json[from] === 0x5b) return { text: undefined, end: at };
  const written = json.toString("latin1", from, Math.min(at, from + 64)).trimEnd();
  if (!/^(?:-?\d[\d.eE+-]*|true|false|null)$/.test(written)) return undefined;
  return { text: /\d$/.test(written) ? Buffer.from(written) : undefined, end: at };
}
