/** The few forms of DER that a certificate is written in (ITU-T X.690, RFC 5280). */

export function tagged(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const size = content.reduce((sum, piece) => sum + piece.length, 0);
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), ...content]);
}

export function sequence(...content: readonly Uint8Array[]): Buffer {
  return tagged(0x30, ...content);
}

export function set(...content: readonly Uint8Array[]): Buffer {
  return tagged(0x31, ...content);
}

/** A non-negative number, big endian. */
export function integer(bytes: Uint8Array): Buffer {
  const isNegative = ((bytes[0] ?? 0) & 0x80) !== 0;
  return isNegative ? tagged(0x02, Buffer.from([0]), bytes) : tagged(0x02, bytes);
}

export function boolean(value: boolean): Buffer {
  return tagged(0x01, Buffer.from([value ? 0xff : 0]));
}

export function octetString(content: Uint8Array): Buffer {
  return tagged(0x04, content);
}

/** @param unused bits at the end that do not count */
export function bitString(content: Uint8Array, unused = 0): Buffer {
  return tagged(0x03, Buffer.from([unused]), content);
}

export function utf8String(text: string): Buffer {
  return tagged(0x0c, Buffer.from(text));
}

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    bytes.push(...septets);
  }
  return tagged(0x06, Buffer.from(bytes));
}

/** RFC 5280 section 4.1.2.5: two digits of the year up to 2049, four from then on. */
export function time(date: Date): Buffer {
  const digits = date.toISOString().replace(/[-:T]|\.\d+/g, "");
  return date.getUTCFullYear() < 2050 ? tagged(0x17, Buffer.from(digits.slice(2))) : tagged(0x18, Buffer.from(digits));
}
