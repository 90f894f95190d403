/** The numbers of the protocol (protocol section 14), in milliseconds; tests make them shorter. */
export interface WorkerTimings {
  readonly heartbeatLongest: number;
  readonly heartbeatShortest: number;
  /** Between heartbeats until the first answer. */
  readonly heartbeatFirst: number;
  /** The lease's length until the first answer. */
  readonly assumedTtl: number;
  readonly streamBackoff: number;
  readonly streamBackoffMost: number;
  /** How long the stream may be silent before the connection is made anew to read a history that could not be read. */
  readonly historyAgain: number;
  readonly postBackoff: number;
  readonly postBackoffMost: number;
  /** How long a result is posted again when the lease's length is not known. */
  readonly postWindow: number;
  /** A call is aborted after this. */
  readonly call: number;
  /** How long an aborted call may take to end before it is answered without it. */
  readonly callGrace: number;
  /** How long the end of a session waits for a call in flight. */
  readonly drain: number;
  /** Between two syncs of the memory stores. */
  readonly memorySync: number;
  /** How long a memory's file must be missing before the memory is deleted. */
  readonly memoryDelete: number;
  /** The last sync, and the last upload, each. */
  readonly memoryFinal: number;
  /** The last upload when the worker was asked to end: it has 30 s for everything. */
  readonly memoryHurried: number;
  /** An item's stop, with all its attempts. */
  readonly stop: number;
}

export const protocolTimings: WorkerTimings = Object.freeze({
  heartbeatLongest: 30_000,
  heartbeatShortest: 1000,
  heartbeatFirst: 30_000,
  assumedTtl: 90_000,
  streamBackoff: 500,
  streamBackoffMost: 10_000,
  historyAgain: 10_000,
  postBackoff: 1000,
  postBackoffMost: 30_000,
  postWindow: 300_000,
  call: 120_000,
  callGrace: 5000,
  drain: 30_000,
  memorySync: 15_000,
  memoryDelete: 30_000,
  memoryFinal: 30_000,
  memoryHurried: 10_000,
  stop: 8000,
});

/** What one timer can take (31 bits); Node fires at once for more. */
export const longestTimer: number = 2 ** 31 - 1;

/** A delay shortened by a random 0 to 25 %, so that workers do not come back in step. */
export function jitter(ms: number): number {
  return ms * (1 - Math.random() * 0.25);
}

/** Waits; ends early, without an error, when the signal is aborted. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted || ms <= 0) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(ms, longestTimer));
    signal.addEventListener("abort", done, { once: true });
  });
}

/** Resolves to true when `work` settles within `ms`, else to false; `work` goes on. */
export async function settlesWithin(work: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  try {
    return await Promise.race([
      work.then(
        () => true,
        () => true,
      ),
      new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(false), ms);
      }),
    ]);
  } finally {
    clearTimeout(timer);
  }
}
