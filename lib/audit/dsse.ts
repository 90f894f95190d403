import { type KeyObject, sign, verify } from "node:crypto";
import { HoldfastError } from "../errors.ts";
import { keyId } from "./receipt-key.ts";

/** A DSSE envelope (github.com/secure-systems-lab/dsse, v1.0) around an in-toto statement. */
export interface Envelope {
  /** What the payload is. */
  readonly payloadType: string;
  /** The statement's bytes, base64. */
  readonly payload: string;
  /** Ed25519 over the pre-authentication encoding, base64; `keyid` is the SHA-256 of the public key's SPKI, in DER. */
  readonly signatures: readonly { readonly keyid: string; readonly sig: string }[];
}

export const payloadType = "application/vnd.in-toto+json";

/** What is signed: type and payload with their lengths, so that neither can be taken for the other. */
function preAuthenticationEncoding(type: string, payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `;
  return Buffer.concat([Buffer.from(head), payload]);
}

export function signStatement(statement: object, key: KeyObject): Envelope {
  const payload = Buffer.from(JSON.stringify(statement));
  const sig = sign(null, preAuthenticationEncoding(payloadType, payload), key).toString("base64");
  return { payloadType, payload: payload.toString("base64"), signatures: [{ keyid: keyId(key), sig }] };
}

/**
 * The payload of an envelope whose signature holds. Read strictly: one that could be written in two ways is none.
 *
 * @throws HoldfastError ERR_HOLDFAST_RECEIPT_INVALID
 */
export function openEnvelope(text: string, key: KeyObject): Buffer {
  const { payload, signatures, payloadType: type } = parseEnvelope(text);
  if (type !== payloadType) throw invalid(`its payload is ${JSON.stringify(type)}, not ${payloadType}`);
  const bytes = fromBase64(payload, "the payload");
  const wanted = keyId(key);
  const own = signatures.find(({ keyid }) => keyid === wanted);
  if (own === undefined) {
    const signers = signatures.map(({ keyid }) => keyid.slice(0, 16)).join(", ");
    throw invalid(`it is signed by another key (${signers || "none"}), not by ${wanted.slice(0, 16)}`);
  }
  if (!verify(null, preAuthenticationEncoding(type, bytes), key, fromBase64(own.sig, "the signature"))) {
    throw invalid("the signature does not belong to this payload and key: one of them was changed");
  }
  return bytes;
}

function parseEnvelope(text: string): Envelope {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What the parser says of it quotes it: it may be another file, of secrets.
    throw invalid("it is not JSON");
  }
  // A name that is there twice, or written in escapes: another reader would see something else. No value has white space.
  if (JSON.stringify(value) !== text.replace(/[ \t\r\n]/g, "")) throw invalid("its JSON could be read in two ways");
  const { payloadType: type, payload, signatures, ...rest } = asRecord(value);
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw invalid(`an envelope has no ${JSON.stringify(unknown)}`);
  if (typeof type !== "string" || typeof payload !== "string" || !Array.isArray(signatures)) {
    throw invalid("it is no DSSE envelope: payloadType, payload or signatures are missing");
  }
  const read = signatures.map((one: unknown) => {
    const { keyid, sig } = asRecord(one);
    if (typeof keyid !== "string" || typeof sig !== "string") throw invalid("a signature has no keyid or no sig");
    return { keyid, sig };
  });
  return { payloadType: type, payload, signatures: read };
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function fromBase64(text: string, what: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  if (bytes.toString("base64") !== text) throw invalid(`${what} is not base64 as it is written here`);
  return bytes;
}

export function invalid(why: string): HoldfastError {
  return new HoldfastError(`the receipt is not valid: ${why}`, {
    code: "ERR_HOLDFAST_RECEIPT_INVALID",
    step: "audit",
    hint: "Do not rely on it. Compare the key with that of the host that is said to have made it (--key).",
    exitCode: 1,
  });
}
