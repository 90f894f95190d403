import type { Readable } from "node:stream";
import { HoldfastError } from "../errors.ts";
import type { WorkItem } from "./item.ts";
import { settlesWithin } from "./timings.ts";

const inputMs = 5000;

/** An item that a poller hands to its handler: JSON on standard input, and variables (protocol section 15). */
export async function readClaimedItem(
  input: Readable & { isTTY?: boolean },
  env: NodeJS.ProcessEnv,
): Promise<WorkItem & { readonly secret: string | null }> {
  const text = input.isTTY === true ? "" : await readAll(input);
  let document: Record<string, unknown> = {};
  if (text.trim() !== "") {
    try {
      const parsed: unknown = JSON.parse(text);
      if (typeof parsed === "object" && parsed !== null) document = parsed as Record<string, unknown>;
    } catch (cause) {
      throw new HoldfastError("standard input is not a work item", {
        code: "ERR_HOLDFAST_USAGE",
        step: "worker",
        hint: "It must be the item as one JSON document, as `ant beta:worker poll --on-work` writes it.",
        cause,
      });
    }
  }
  const data =
    typeof document["data"] === "object" && document["data"] !== null
      ? (document["data"] as Record<string, unknown>)
      : {};
  const stringIn = (value: unknown): string | undefined =>
    typeof value === "string" && value !== "" ? value : undefined;
  const secret = stringIn(document["secret"]) ?? stringIn(env["ANTHROPIC_WORK_SECRET"]) ?? null;
  delete env["ANTHROPIC_WORK_SECRET"];
  const id = stringIn(document["id"]) ?? stringIn(env["ANTHROPIC_WORK_ID"]);
  const environmentId = stringIn(document["environment_id"]) ?? stringIn(env["ANTHROPIC_ENVIRONMENT_ID"]);
  const sessionId = stringIn(data["id"]) ?? stringIn(env["ANTHROPIC_SESSION_ID"]);
  for (const [value, name] of [
    [id, "ANTHROPIC_WORK_ID"],
    [environmentId, "ANTHROPIC_ENVIRONMENT_ID"],
    [sessionId, "ANTHROPIC_SESSION_ID"],
  ] as const) {
    if (value !== undefined) continue;
    throw new HoldfastError(`${name} is missing, and standard input does not say it`, {
      code: "ERR_HOLDFAST_USAGE",
      step: "worker",
      hint: "Start it by `ant beta:worker poll --on-work`, or set the variables of docs/worker.md.",
    });
  }
  return {
    id: id ?? "",
    environmentId: environmentId ?? "",
    sessionId: sessionId ?? "",
    type: stringIn(data["type"]) ?? "session",
    secret,
  };
}

/** Standard input to its end; a poller writes one document and closes. */
async function readAll(input: Readable): Promise<string> {
  const chunks: string[] = [];
  const reading = (async () => {
    for await (const chunk of input) chunks.push(chunk.toString());
  })();
  // Somebody else's standard input may stay open: the variables say the rest then, and it keeps nobody from ending.
  if (!(await settlesWithin(reading, inputMs))) input.destroy();
  return chunks.join("");
}
