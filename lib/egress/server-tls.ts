import { constants } from "node:crypto";
import { isIP, type OnReadOpts, type Socket } from "node:net";
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  getCACertificates,
  type SecureContext,
  TLSSocket,
} from "node:tls";
import { ciphers } from "./ciphers.ts";
import { timeLimits } from "./time-limits.ts";
import type { Dial } from "./upstream.ts";

const mostSessions = 256;

let trust: SecureContext | undefined;
const sessions = new Map<string, Buffer>();

/** Whom servers are proved by: the host's own store, else the one that Node brings, and what its administrator adds to Node's. */
export function serverTrust(): SecureContext {
  if (trust === undefined) {
    const system = getCACertificates("system");
    const ca = [...(system.length > 0 ? system : getCACertificates("bundled")), ...getCACertificates("extra")];
    const secureOptions = constants.SSL_OP_NO_RENEGOTIATION;
    trust = createSecureContext({ ca, ciphers, minVersion: "TLSv1.2", secureOptions });
  }
  return trust;
}

/** What is said in a handshake with a server. */
function handshake(host: string, protocols: readonly string[]): ConnectionOptions {
  const session = sessions.get(keyOf(host, protocols));
  return {
    host,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ALPNProtocols: [...protocols],
    secureContext: serverTrust(),
    ...(session === undefined ? {} : { session }),
  };
}

function keyOf(host: string, protocols: readonly string[]): string {
  return `${host} ${protocols.join()}`;
}

/** Sockets that speak TLS from their beginning on; `secure` proves their servers. */
const begun = new WeakSet<Socket>();

/**
 * Makes sockets that speak TLS from their beginning on, and are read as is said: only of such a socket that can be told. Each
 * goes to `secure` when it is connected.
 */
export function securedDial(host: string, protocols: readonly string[], onread: OnReadOpts): Dial {
  return (options) => {
    const socket = connect({ ...handshake(host, protocols), ...options, onread } as ConnectionOptions);
    begun.add(socket);
    // Only a TCP socket can be reset; TLS that ends without being closed says the same (RFC 8446 section 6.1).
    socket.resetAndDestroy = () => socket.destroy();
    // Until `secure` has it.
    socket.on("error", () => {});
    return socket;
  };
}

/**
 * Speaks TLS on a connection that was made, and proves that its server is the one named.
 *
 * @param protocols what it may choose from (ALPN, RFC 7301)
 * @param limitMs how long its handshake may take
 */
export function secure(
  socket: Socket,
  host: string,
  protocols: readonly string[],
  limitMs: number = timeLimits.headMs,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const key = keyOf(host, protocols);
    const secured =
      socket instanceof TLSSocket && begun.delete(socket) ? socket : connect({ ...handshake(host, protocols), socket });
    const timer = setTimeout(
      () => secured.destroy(new Error("the server does not go on with the TLS handshake")),
      limitMs,
    );
    const onError = (error: Error): void => reject(new Error(faultOf(error, secured, protocols), { cause: error }));
    secured.once("error", onError);
    secured.once("close", () => {
      clearTimeout(timer);
      reject(new Error("the server closed the connection during the TLS handshake"));
    });
    secured.on("session", (made: Buffer) => {
      if (sessions.size >= mostSessions) sessions.clear();
      sessions.set(key, made);
    });
    secured.once("secureConnect", () => {
      clearTimeout(timer);
      secured.off("error", onError);
      // Whoever has it next listens; until then an error must not end this process.
      secured.on("error", () => {});
      resolve(secured);
    });
  });
}

function faultOf(error: Error, { authorizationError }: TLSSocket, protocols: readonly string[]): string {
  // Typed as an Error; it is a code of OpenSSL's, and null where the certificate was not reached or is good.
  if (authorizationError != null) {
    // Node adds how Node is to be run.
    const [why] = error.message.split("; if the root CA is installed locally");
    return `this host does not trust the server's certificate: ${why}`;
  }
  if ("code" in error && String(error.code).includes("NO_APPLICATION_PROTOCOL"))
    return `the server does not speak ${protocols.join(" or ")}, as its client does`;
  if ("code" in error && error.code === "ERR_SSL_WRONG_VERSION_NUMBER") return "the server does not speak TLS";
  return tlsFault(error);
}

/** What went wrong with TLS, in words. */
export function tlsFault(error: Error): string {
  // OpenSSL's own words, without its file and line.
  const reason = "reason" in error && typeof error.reason === "string" ? error.reason : error.message;
  return certificateFault(error) ?? reason;
}

/** Said of a server that asks for a certificate which only its client has. */
const wantsCertificate =
  "the server asks for a client's certificate, which cannot pass where TLS is inspected: `tls: skip` lets it through unseen";

/**
 * Whether a server ended TLS since its client showed no certificate, in words. A server of TLS 1.3 says so after the
 * handshake (RFC 8446 section 4.4.2.4), one of TLS 1.2 in it, and then by an alert that has other reasons too.
 */
function certificateFault(error: Error): string | undefined {
  const code = "code" in error ? String(error.code) : "";
  if (/CERTIFICATE_REQUIRED|ALERT_BAD_CERTIFICATE/.test(code)) return wantsCertificate;
  return code.includes("ALERT_HANDSHAKE_FAILURE")
    ? `the server refuses the TLS handshake: it shares no cipher with this host, or ${wantsCertificate}`
    : undefined;
}
