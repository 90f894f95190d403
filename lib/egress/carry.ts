import type { Socket } from "node:net";

/** Passes on what the server says, and lets neither side outlive the other; what the client says is the caller's to pass. */
export function join(client: Socket, upstream: Socket): void {
  upstream.pipe(client);
  for (const [one, other] of [
    [client, upstream],
    [upstream, client],
  ] as const) {
    if (one.destroyed) other.resetAndDestroy();
    one.on("error", () => other.resetAndDestroy());
    // After what was said is delivered; what ended by a reset ends the other so too.
    one.on("close", (hadError) => (hadError ? other.resetAndDestroy() : other.destroySoon()));
  }
}
