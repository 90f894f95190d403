import { styleText } from "node:util";
import type { QueueClient, SessionResults } from "../queue/client.ts";
import type { DemoTask } from "./demo-world.ts";

/** The wall that is to hold an attempt of the hostile session, and what it has to have recorded when it did. */
interface ExpectedWall {
  readonly wall: string;
  readonly refused?: RegExp;
}

const walls: Readonly<Record<string, ExpectedWall>> = {
  "reads ssh keys": { wall: "mount view: not granted, does not exist" },
  "reads the environment key": { wall: "own environment, pid namespace" },
  "asks a model, and looks for its key": { wall: "inference.local: keys stay outside" },
  "scans the network": { wall: "network namespace, network policy", refused: /^connect 192\.0\.2\.1:80 / },
  "kills its parent": { wall: "pid namespace, Landlock scope" },
  "traces another process": { wall: "seccomp, init not dumpable", refused: /^syscall (mount|unshare)$/ },
  "fills the disk": { wall: "limit tmp-size", refused: /^limit tmp-size$/ },
  "escapes by a link": { wall: "mount view, Landlock" },
  "escapes by a link, with the read tool": { wall: "path judged by the kernel" },
  "writes through the root link": { wall: "path judged by the kernel" },
  "plants a git hook": { wall: "protected name, read-only mount" },
  "leaves a daemon behind": { wall: "pid namespace ends with the session" },
};

export interface Check {
  readonly what: string;
  readonly fine: boolean;
}

/** What the demo knows of one session. */
export interface Story {
  readonly id: string;
  readonly task: DemoTask;
  /** When its sandbox stood, by the worker's clock, in milliseconds since 1970. */
  claimedAt: number;
  /** Calls that the worker has run. */
  calls: number;
  /** What walls refused, by the call (from 0) that they refused it to. */
  readonly refusals: Map<number, string[]>;
}

export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return styleText(style, text, { stream: process.stdout });
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function label({ task }: Story): string {
  return paint("cyan", task.agent.name.padEnd(9));
}

/** Prints each call of a session as it is answered, with its time from the model's asking to the answer. */
export async function showCalls(client: QueueClient, story: Story): Promise<void> {
  const room = Math.max(30, lineWidth() - 28);
  const inputWidth = Math.min(52, Math.floor(room * 0.55));
  const answerWidth = Math.min(44, room - inputWidth);
  const asked = new Map<unknown, { tool: string; input: string; at: number }>();
  for await (const event of client.follow(story.id)) {
    if (event["type"] === "agent.tool_use") {
      const input = event["input"] as Record<string, unknown>;
      const words = String(input["command"] ?? input["file_path"] ?? input["pattern"] ?? "");
      asked.set(event["id"], { tool: String(event["name"]), input: words, at: timeOf(event["processed_at"]) });
    }
    if (event["type"] !== "user.tool_result") continue;
    const call = asked.get(event["tool_use_id"]);
    if (call === undefined) continue;
    const content = event["content"] as { text?: string }[];
    const text = firstLine(content[0]?.text ?? "");
    // The first call waits for the worker as well.
    const ms = `${Math.max(0, timeOf(event["processed_at"]) - Math.max(call.at, story.claimedAt))} ms`.padStart(8);
    const words = clip(call.input.replace(/\s+/g, " "), inputWidth);
    const answer = clip(text, answerWidth);
    const outcome = event["is_error"] === true ? paint("yellow", answer) : answer;
    say(`${label(story)} ${ms}  ${call.tool.padEnd(5)} ${words.padEnd(inputWidth)}  ${outcome}`);
  }
}

/** Where it was said, and not where it arrived: on a busy host that can be a good deal later. */
function timeOf(stamp: unknown): number {
  return Date.parse(String(stamp));
}

/** Takes in a line of the worker's log, and shows what is no call. */
export function showLog(line: Readonly<Record<string, unknown>>, stories: readonly Story[], sandboxes: string[]): void {
  const story = stories.find(({ id }) => id === line["session"]);
  if (story === undefined) return;
  switch (line["msg"]) {
    case "claimed":
      story.claimedAt = timeOf(line["time"]);
      sandboxes.push(String(line["sandbox"]));
      say(`${label(story)}     ${paint("dim", `claimed: sandbox ${line["sandbox"]}, uid ${line["uid"]} of the host`)}`);
      break;
    case "tool call":
      story.calls += 1;
      break;
    case "refused": {
      const what = `${line["kind"]} ${line["subject"]}`;
      const call = Math.max(0, story.calls - 1);
      story.refusals.set(call, [...(story.refusals.get(call) ?? []), what]);
      say(`${label(story)}     ${paint("magenta", `refused: ${clip(what, 60)}`)}`);
      break;
    }
    case "extracted":
      say(`${label(story)}     ${paint("dim", `came out: ${line["path"]} (${line["bytes"]} bytes)`)}`);
      break;
    case "torn down":
      say(`${label(story)}     ${paint("dim", `torn down: sandbox ${line["sandbox"]}`)}`);
      break;
  }
}

/**
 * What the hostile session tried, as a table. An attempt was held when its answer, the record of its wall and what lies
 * outside are as expected.
 *
 * @param outside by attempt, where there is something to see outside
 */
export function showAttempts(story: Story, results: SessionResults, outside: Readonly<Record<string, boolean>>): Check {
  say(`\n${paint("bold", "what the hostile session tried, and the wall that refused it")}`);
  let held = 0;
  story.task.calls.forEach((script, index) => {
    const what = script.say ?? "";
    const call = results.calls[index];
    const refusals = story.refusals.get(index) ?? [];
    const { wall, refused } = walls[what] ?? { wall: "" };
    const isRecorded = refused === undefined || refusals.some((one) => refused.test(one));
    const isHeld = call?.passed === true && isRecorded && outside[what] !== false;
    if (isHeld) held += 1;
    const verdict = isHeld ? paint("green", "held   ") : paint("red", "ESCAPED");
    const got = refusals.length > 0 ? `refused: ${refusals.join(", ")}` : telling(call?.text ?? "it was not answered");
    say(
      `  ${verdict} ${what.padEnd(37)} ${wall.padEnd(43)} ${paint("dim", clip(got, Math.min(60, lineWidth() - 94)))}`,
    );
  });
  const all = story.task.calls.length;
  return { what: `${held} of ${all} attempts of the hostile session were held, each by its wall`, fine: held === all };
}

export function showChecks(checks: readonly Check[]): void {
  say(`\n${paint("bold", "what came of it")}`);
  for (const { what, fine } of checks) say(`  ${fine ? paint("green", "yes") : paint("red", "NO ")} ${what}`);
}

/** Calls that were not answered as their task expects. */
export function showFailures(results: readonly SessionResults[]): void {
  for (const { title, calls } of results) {
    for (const call of calls.filter(({ passed }) => passed !== true)) {
      const why = call.reasons.join("; ") || "it was not answered";
      say(paint("red", `  ${title}: ${call.tool} ${clip(JSON.stringify(call.input), 60)}: ${clip(why, 200)}`));
    }
  }
}

/** The line of an answer that says most. */
function telling(text: string): string {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const refusal = /denied|not permitted|no such|outside|read-only|terminated|limit/i;
  return lines.find((line) => refusal.test(line)) ?? lines.at(-1) ?? "";
}

function firstLine(text: string): string {
  return text.split("\n").find((line) => line.trim() !== "") ?? "";
}

/** What a line may take: lines that a terminal breaks are hard to read as a table. */
function lineWidth(): number {
  return process.stdout.columns ?? 160;
}

function clip(text: string, most: number): string {
  if (most < 10) return "";
  const plain = text.replace(/[^\x20-\x7e]/g, " ");
  return plain.length > most ? `${plain.slice(0, most - 1)}…` : plain;
}
