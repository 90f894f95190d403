import { createPrivateKey, sign } from "node:crypto";
import { encodeBase64 } from "./secret-text.ts";
import { SecretError } from "./sources.ts";

/**
 * A signed statement (RFC 7519, RS256), for the caller to wipe: whoever has it is who it speaks of.
 *
 * @param key PEM
 * @throws SecretError
 */
export function signedJwt(
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
  key: Buffer,
): Buffer {
  const said = [{ alg: "RS256", typ: "JWT", ...header }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url"),
  );
  const text = Buffer.from(said.join("."));
  const signature = urlSafe(encodeBase64(signed(text, key)));
  return Buffer.concat([text, Buffer.from("."), signature]);
}

function signed(text: Buffer, key: Buffer): Buffer {
  let privateKey: ReturnType<typeof createPrivateKey>;
  try {
    privateKey = createPrivateKey({ key, format: "pem" });
  } catch {
    // OpenSSL's words are of no use here, and nobody knows what they quote.
    throw new SecretError("the private key is no PEM that can be read, or is encrypted");
  }
  if (privateKey.asymmetricKeyType !== "rsa")
    throw new SecretError(`the private key is of ${privateKey.asymmetricKeyType}, and must be of RSA`);
  return sign("RSA-SHA256", text, privateKey);
}

/** RFC 4648 section 5, without padding. */
function urlSafe(base64: Buffer): Buffer {
  let size = base64.length;
  while (base64[size - 1] === 0x3d) size--;
  for (let at = 0; at < size; at++) {
    if (base64[at] === 0x2b) base64[at] = 0x2d;
    else if (base64[at] === 0x2f) base64[at] = 0x5f;
  }
  return base64.subarray(0, size);
}
