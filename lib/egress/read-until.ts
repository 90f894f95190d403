import type { Socket } from "node:net";

/** The connection ended, or was lost, before enough had come. */
export class EndedError extends Error {
  override readonly name = "EndedError";
  readonly held: Buffer;

  constructor(held: Buffer) {
    super("it closed the connection");
    this.held = held;
  }
}

export class TooSlowError extends Error {
  override readonly name = "TooSlowError";
  readonly held: Buffer;

  constructor(held: Buffer) {
    super("it does not go on");
    this.held = held;
  }
}

/**
 * Reads from a connection until there is enough of it. Pauses it then; what is left over stays to be read.
 *
 * @param look what is made of all that has come, and how many bytes of it that took; undefined where there must be more.
 *   `from` is where the new bytes begin. What it throws is what the promise is rejected with
 * @param limits firstMs until the first byte, restMs from there on
 * @throws EndedError, TooSlowError
 */
export function readUntil<Value>(
  socket: Socket,
  look: (held: Buffer, from: number) => { readonly value: Value; readonly size: number } | undefined,
  limits?: { readonly firstMs: number | undefined; readonly restMs: number },
): Promise<Value> {
  return new Promise((resolve, reject) => {
    let held: Buffer = Buffer.alloc(0);
    let timer: NodeJS.Timeout | undefined;
    const give = (ms: number | undefined): void => {
      clearTimeout(timer);
      if (ms !== undefined) timer = setTimeout(() => fail(new TooSlowError(held)), ms).unref();
    };
    const leave = (): void => {
      give(undefined);
      socket.off("data", onData);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
      socket.off("error", fail);
      socket.pause();
    };
    const fail = (error: unknown): void => {
      leave();
      reject(error);
    };
    const onEnd = (): void => fail(new EndedError(held));
    const onData = (chunk: Buffer): void => {
      const from = held.length;
      if (from === 0) give(limits?.restMs);
      held = from === 0 ? chunk : Buffer.concat([held, chunk]);
      try {
        const found = look(held, from);
        if (found === undefined) return;
        leave();
        if (held.length > found.size) socket.unshift(held.subarray(found.size));
        resolve(found.value);
      } catch (error) {
        fail(error);
      }
    };
    give(limits?.firstMs);
    if (socket.destroyed || socket.readableEnded) return onEnd();
    socket.on("data", onData);
    socket.on("end", onEnd);
    socket.on("close", onEnd);
    socket.on("error", fail);
    socket.resume();
  });
}
