import { constants } from "node:crypto";
import { DEFAULT_CIPHERS } from "node:tls";

const own = constants.defaultCoreCipherList;

/**
 * Node's own, of TLS 1.3 the one first that is the cheapest for both ends, as Go's and Chromium's clients have it. What the
 * host's administrator set instead (node --tls-cipher-list) stays as it is.
 */
export const ciphers: string = DEFAULT_CIPHERS === own ? `TLS_AES_128_GCM_SHA256:${own}` : DEFAULT_CIPHERS;
