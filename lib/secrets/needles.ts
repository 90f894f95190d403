import { native } from "../native.ts";
import { encodeBase64, jsonEscaped, percentEncoded, shortestSought } from "./secret-text.ts";

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
  const forms: [Buffer, string][] = [[secret, placeholder.length === secret.length ? placeholder : "*"]];
  for (const encoded of [percentEncoded(secret), jsonEscaped(secret)]) {
    if (encoded.equals(secret)) encoded.fill(0);
    else forms.push([encoded, "*"]);
  }
  if (isEncoded) for (const shift of [0, 1, 2]) forms.push([base64Part(secret, shift), "A"]);
  const used = forms.filter(([bytes]) => bytes.length >= shortestSought);
  const memory = native().secretBuffer(used.reduce((sum, [bytes]) => sum + bytes.length, 0));
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

/** What base64 makes of a secret that stands so many bytes behind a group's begin, without what its neighbours have a part in. */
function base64Part(secret: Buffer, shift: number): Buffer {
  const from = shift === 0 ? 0 : 3 - shift;
  const whole = secret.subarray(from, from + Math.floor((secret.length - from) / 3) * 3);
  return encodeBase64(whole);
}
