import type { AwsKeysFrom } from "../policy/token-source.ts";
import type { AwsKeys } from "./sigv4.ts";
import { checkSecret, locked, longestSecret, readSource, SecretError } from "./sources.ts";

const lineEnd = 0x0a;

/**
 * Reads keys from where they are kept.
 *
 * @returns one buffer of locked memory with all of them, for the caller to wipe
 * @throws SecretError
 */
export async function readAwsKeys({ accessKeyId, secretAccessKey, sessionToken }: AwsKeysFrom): Promise<Buffer> {
  const parts: Buffer[] = [];
  try {
    for (const source of [accessKeyId, secretAccessKey, ...(sessionToken === undefined ? [] : [sessionToken])]) {
      const found = await readSource(source);
      if (found !== undefined) parts.push(found.bytes);
    }
    return joinAwsKeys(parts);
  } finally {
    for (const part of parts) part.fill(0);
  }
}

/**
 * @param parts id, secret and, where there is one, token; the caller wipes them
 * @throws SecretError
 */
export function joinAwsKeys(parts: readonly Buffer[]): Buffer {
  const [id] = parts;
  if (id === undefined || !/^[A-Z0-9]{16,128}$/.test(id.toString("latin1", 0, 129)))
    throw new SecretError("the access key's id is none of AWS's: capital letters and digits");
  const size = parts.reduce((sum, { length }) => sum + length + 1, -1);
  if (size > longestSecret) throw new SecretError(`the keys are longer than ${longestSecret} bytes`);
  const whole = locked(size + 2);
  let at = 0;
  for (const part of parts) {
    part.copy(whole, at);
    at += part.length;
    if (at < size) whole[at++] = lineEnd;
  }
  return whole.subarray(0, size);
}

/** Parts of what was joined: views, wiped with it. */
export function awsKeysIn(joined: Buffer): AwsKeys {
  const first = joined.indexOf(lineEnd);
  const second = joined.indexOf(lineEnd, first + 1);
  return {
    id: joined.toString("latin1", 0, first),
    secret: joined.subarray(first + 1, second < 0 ? joined.length : second),
    token: second < 0 ? null : joined.subarray(second + 1),
  };
}

/** What of them is secret by itself: not the id. */
export function awsSecretsIn(joined: Buffer): readonly Buffer[] {
  const { secret, token } = awsKeysIn(joined);
  return token === null ? [secret] : [secret, token];
}

/**
 * What STS answers (docs.aws.amazon.com, AssumeRole).
 *
 * @returns undefined where a part is missing
 */
export function credentialsIn(
  xml: Buffer,
): { readonly parts: readonly Buffer[]; readonly expiration: string } | undefined {
  const [id, secret, token, until] = ["AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"].map((name) =>
    elementIn(xml, name),
  );
  if (id === undefined || secret === undefined || token === undefined || until === undefined) return undefined;
  const parts = [id, secret, token];
  for (const part of parts) checkSecret(part, part.length, "what STS answers");
  return { parts, expiration: until.toString("latin1") };
}

/** A copy, for the caller to wipe. */
function elementIn(xml: Buffer, name: string): Buffer | undefined {
  const from = xml.indexOf(`<${name}>`);
  const until = from < 0 ? -1 : xml.indexOf(`</${name}>`, from);
  return until < 0 ? undefined : Buffer.from(xml.subarray(from + name.length + 2, until));
}
