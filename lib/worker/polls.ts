import { isFatalAnswer, isRefusal } from "./failure.ts";
import type { WorkerLog } from "./log.ts";
import { Outage } from "./outage.ts";
import { jitter } from "./timings.ts";

const firstWaitMs = 1000;
const mostWaitMs = 60_000;

type Item = Readonly<Record<string, unknown>>;

/**
 * Stands between the queue's answers and the SDK's poller, which takes the fields of an item for granted, ends at what it
 * cannot read, and polls at once after an item that could not be acknowledged.
 */
export class Polls {
  readonly #environmentId: string;
  readonly #log: WorkerLog;
  readonly #outage: Outage;
  /** The item that was handed out last, until it is acknowledged. */
  #given: string | undefined;
  /** Items in a row that were not acknowledged. */
  #dropped = 0;
  #notBefore = 0;

  constructor(environmentId: string, log: WorkerLog) {
    this.#environmentId = environmentId;
    this.#log = log;
    this.#outage = new Outage(log);
  }

  /** When the next poll may go out (`performance.now()`). */
  get notBefore(): number {
    return this.#notBefore;
  }

  noAnswer(error: unknown): void {
    this.#outage.note({ error });
  }

  /**
   * A poll's answer as the poller can read it.
   *
   * @throws for one that it would end with although the next may be sound: it then backs off, as from a lost connection
   */
  async read(response: Response): Promise<Response> {
    this.#countDropped();
    const { status, headers } = response;
    if (!response.ok) {
      this.#outage.note({ status });
      if (isRefusal(status) && !isFatalAnswer(status, headers)) throw new Error(`status ${status}, to be tried again`);
      return response;
    }
    const item = readItem(await response.text(), this.#environmentId);
    if (item === undefined) {
      const error = new Error("the answer is no work item");
      this.#outage.note({ error });
      throw error;
    }
    this.#outage.note({ status });
    if (item !== null) this.#hand(item);
    return Response.json(item);
  }

  /** What became of an attempt to acknowledge the item that was handed out last. */
  acknowledged(status: number): void {
    if (status > 299) return;
    this.#given = undefined;
    this.#dropped = 0;
    this.#notBefore = 0;
  }

  #hand(item: Item): void {
    this.#given = String(item["id"]);
    if (this.#dropped > 0) {
      const wait = jitter(Math.min(firstWaitMs * 2 ** (this.#dropped - 1), mostWaitMs));
      this.#notBefore = performance.now() + wait;
    }
  }

  #countDropped(): void {
    if (this.#given === undefined) return;
    this.#log.warn({ work: this.#given }, "an item could not be acknowledged: it is left alone");
    this.#given = undefined;
    this.#dropped += 1;
  }
}

/**
 * The work item in a poll's answer, with `data` an object and the environment's id there, whatever came; null for none.
 * Undefined when it is not even that: without an id it can be neither acknowledged nor stopped.
 */
function readItem(text: string, environmentId: string): Item | null | undefined {
  let answer: unknown = null;
  try {
    if (text.trim() !== "") answer = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (answer === null) return null;
  if (!isObject(answer) || typeof answer["id"] !== "string" || answer["id"] === "") return undefined;
  const { data, environment_id: said } = answer;
  return {
    ...answer,
    data: isObject(data) ? data : {},
    environment_id: typeof said === "string" && said !== "" ? said : environmentId,
  };
}

function isObject(value: unknown): value is Item {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
