import type { Socket } from "node:net";

/**
 * Writes what holds secrets, and wipes it when it is written.
 *
 * @param parts are taken over
 */
export function writeSecret(socket: Socket, parts: readonly Buffer[]): boolean {
  const [first] = parts;
  if (first === undefined) return true;
  // Several at once a TLS socket puts together in memory that nobody wipes, also those that had to wait (tls_wrap.cc, DoWrite).
  if (Reflect.get(socket, "_writev") !== null) Reflect.set(socket, "_writev", null);
  let whole = first;
  if (parts.length > 1) {
    whole = Buffer.concat(parts);
    for (const part of parts) part.fill(0);
  }
  return socket.write(whole, () => whole.fill(0));
}
