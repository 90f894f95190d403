import { encodeBase64, jsonEscaped, percentEncoded, shortestSought } from "./secret-text.ts";
import { locked } from "./sources.ts";

/** A form of a secret that is looked for, and what is put in its place: as long as it. */
export interface Needle {
  readonly bytes: Buffer;
  readonly filler: Buffer;
}

/**
 * A secret's forms, in locked memory, for the caller to wipe.
 *
 * @param placeholder what stands in its place where it is as long
 * @param isEncoded with those of base64
 */
export function needlesOf(secret: Buffer, placeholder: string, isEncoded: boolean): readonly Needle[] {
  if (secret.length < shortestSought) return [];
  const forms: [Buffer, string | Buffer][] = [[secret, placeholder.length === secret.length ? placeholder : "*"]];
  for (const encoded of [percentEncoded(secret), jsonEscaped(secret)]) {
    if (encoded.equals(secret)) encoded.fill(0);
    else forms.push([encoded, "*"]);
  }
  // Basic's come first, which reach further: `user:SECRET`, and `SECRET:`.
  const empty = Buffer.alloc(secret.length);
  if (isEncoded)
    for (const [shift, before, after] of [
      ...[0, 1, 2].map((shift) => [shift, ":", "end"] as const),
      [0, "", ":"] as const,
      ...[0, 1, 2].map((shift) => [shift, "", ""] as const),
    ])
      forms.push([base64Part(secret, shift, before, after), base64Part(empty, shift, before, after)]);
  const used = forms.filter(([bytes]) => bytes.length >= shortestSought);
  const memory = locked(used.reduce((sum, [bytes]) => sum + bytes.length, 0));
  let at = 0;
  const needles = used.map(([bytes, filler]) => {
    const kept = memory.subarray(at, at + bytes.length);
    kept.set(bytes);
    at += bytes.length;
    return { bytes: kept, filler: Buffer.alloc(bytes.length, filler) };
  });
  for (const [bytes] of forms) if (bytes !== secret) bytes.fill(0);
  return needles;
}

/**
 * What base64 makes of a secret that stands so many bytes behind a group's begin, without what its neighbours have a part in
 * where they are not known.
 */
function base64Part(secret: Buffer, shift: number, before: "" | ":", after: "" | ":" | "end"): Buffer {
  const unknown = (shift + 3 - before.length) % 3;
  const text = Buffer.concat([
    Buffer.alloc(unknown),
    Buffer.from(before),
    secret,
    Buffer.from(after === "end" ? "" : after),
  ]);
  const encoded = encodeBase64(text);
  const until = (text.length * 8) / 6;
  const from = Math.ceil((unknown * 8) / 6);
  const part = Buffer.from(encoded.subarray(from, after === "end" ? Math.ceil(until) : Math.floor(until)));
  text.fill(0);
  encoded.fill(0);
  return part;
}
