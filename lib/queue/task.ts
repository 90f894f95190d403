import { dirname, resolve } from "node:path";
import { isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument, type YAMLMap } from "yaml";
import * as z from "zod";
import { HoldfastError } from "../errors.ts";
import { readBounded } from "../policy/bounded-file.ts";

const maxFileBytes = 4 * 1024 * 1024;

/** What a call's answer must be; several conditions must all hold. */
export interface Expectation {
  is_error?: boolean | undefined;
  /** The whole text. */
  equals?: string | undefined;
  contains?: string | string[] | undefined;
  excludes?: string | string[] | undefined;
  /** ECMAScript regular expressions, flags `s` and `u`. */
  matches?: string | string[] | undefined;
}

/** One tool call of the scripted model. */
export interface TaskCall {
  /** A message of the model before the call. */
  say?: string | undefined;
  tool: string;
  /** Sent as it is; normally an object, `{}` when absent. */
  input?: unknown;
  /** Ask for a custom tool, which an application answers, instead of one of the toolset. */
  custom?: boolean | undefined;
  /** `allow` when absent; any other word but `deny` waits for a verdict. */
  permission?: string | undefined;
  /** The verdict that the queue itself gives; without it an operator has to. */
  confirm?: "allow" | "deny" | undefined;
  confirm_after_ms?: number | undefined;
  /** Send `user.interrupt` this long after the call. */
  interrupt_after_ms?: number | undefined;
  /** The queue answers the call itself, as an application would. */
  answer?: string | undefined;
  /** A `session_thread_id`. */
  thread?: string | undefined;
  expect?: Expectation | undefined;
}

/** One call, or several that the model makes at once. */
export type TaskStep = TaskCall | { together: TaskCall[] };

export interface TaskSkill {
  name: string;
  description?: string | undefined;
  /** A folder, packed as a zip archive. Relative to the task file. */
  folder?: string | undefined;
  /** A zip or tar archive, served as it is. Relative to the task file. */
  archive?: string | undefined;
}

/** A memory store of the session, found by its name or made. */
export interface TaskMemory {
  name: string;
  mount_path?: string | null | undefined;
  access?: "read_write" | "read_only" | undefined;
  description?: string | undefined;
  instructions?: string | undefined;
  /** Contents by path (`/a.md`), added where they are missing. */
  memories?: Record<string, string> | undefined;
}

/** One task file: an agent, the tool calls that the scripted model makes, and what it expects of them. */
export interface Task {
  name?: string | undefined;
  message?: string | undefined;
  agent?:
    | {
        name?: string | undefined;
        model?: string | undefined;
        system?: string | undefined;
        skills?: TaskSkill[] | undefined;
        tools?: unknown[] | undefined;
      }
    | undefined;
  memory?: TaskMemory[] | undefined;
  metadata?: Record<string, string> | undefined;
  calls?: TaskStep[] | undefined;
  /** Whether a failed expectation ends the session, or the next call is made all the same (the default). */
  on_failure?: "continue" | "stop" | undefined;
  /** What becomes of the session after the last call; `terminated` when absent. */
  end?: "terminated" | "idle" | undefined;
  /** Set by the queue, where its model makes the calls: a task file cannot say it. */
  driver?: "model" | undefined;
}

const pattern: z.ZodType<string> = z.string().refine(
  (source) => {
    try {
      new RegExp(source, "su");
      return true;
    } catch {
      return false;
    }
  },
  { error: "is not a regular expression" },
);

const textOrList: z.ZodType<string | string[]> = z.union([z.string(), z.array(z.string())]);

const delay: z.ZodType<number> = z.number().int().nonnegative().max(3_600_000);

const expectationSchema: z.ZodType<Expectation> = z.strictObject({
  is_error: z.boolean().optional(),
  equals: z.string().optional(),
  contains: textOrList.optional(),
  excludes: textOrList.optional(),
  matches: z.union([pattern, z.array(pattern)]).optional(),
});

const callSchema: z.ZodType<TaskCall> = z.strictObject({
  say: z.string().optional(),
  tool: z.string().min(1),
  input: z.unknown().optional(),
  custom: z.boolean().optional(),
  permission: z.string().optional(),
  confirm: z.enum(["allow", "deny"]).optional(),
  confirm_after_ms: delay.optional(),
  interrupt_after_ms: delay.optional(),
  answer: z.string().optional(),
  thread: z.string().optional(),
  expect: expectationSchema.optional(),
});

const stepSchema: z.ZodType<TaskStep> = z.union([
  callSchema,
  z.strictObject({ together: z.array(callSchema).min(1).max(64) }),
]);

const skillSchema: z.ZodType<TaskSkill> = z
  .strictObject({
    name: z.string(),
    description: z.string().optional(),
    folder: z.string().optional(),
    archive: z.string().optional(),
  })
  .refine((skill) => (skill.folder === undefined) !== (skill.archive === undefined), {
    error: "needs either folder or archive",
  });

const memorySchema: z.ZodType<TaskMemory> = z.strictObject({
  name: z.string().min(1),
  mount_path: z.string().nullable().optional(),
  access: z.enum(["read_write", "read_only"]).optional(),
  description: z.string().optional(),
  instructions: z.string().optional(),
  memories: z.record(z.string(), z.string()).optional(),
});

const taskSchema: z.ZodType<Task> = z.strictObject({
  name: z.string().min(1).optional(),
  message: z.string().optional(),
  agent: z
    .strictObject({
      name: z.string().optional(),
      model: z.string().optional(),
      system: z.string().optional(),
      skills: z.array(skillSchema).optional(),
      tools: z.array(z.unknown()).optional(),
    })
    .optional(),
  memory: z.array(memorySchema).max(8).optional(),
  metadata: z.record(z.string(), z.string()).optional(),
  calls: z.array(stepSchema).max(10_000).optional(),
  on_failure: z.enum(["continue", "stop"]).optional(),
  end: z.enum(["terminated", "idle"]).optional(),
});

/** The calls that a step makes at once. */
export function callsOf(step: TaskStep): readonly TaskCall[] {
  return "together" in step ? step.together : [step];
}

function refusal(source: string, problems: readonly string[]): HoldfastError {
  return new HoldfastError(`the task ${source} is not valid:\n${problems.map((line) => `  ${line}`).join("\n")}`, {
    code: "ERR_HOLDFAST_TASK_INVALID",
    step: "queue",
    hint: "Correct the lines named; docs/queue.md describes the format.",
    path: source,
  });
}

/**
 * Reads a task from YAML (JSON is YAML too).
 *
 * @param text the file's text
 * @param source its name, for messages
 * @throws HoldfastError `ERR_HOLDFAST_TASK_INVALID` with every problem, each with line and column
 */
export function parseTask(text: string, source: string): Task {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, version: "1.2" });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${source}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw refusal(
      source,
      document.errors.map((error) => `${at(error.pos[0])}: ${error.message.split("\n")[0] ?? "cannot be parsed"}`),
    );
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw refusal(source, [`${source}:1:1: ${error instanceof Error ? error.message : "cannot be read"}`]);
  }
  const result = taskSchema.safeParse(value);
  if (result.success) return result.data;
  const problems: { readonly offset: number; readonly text: string }[] = [];
  const report = (issues: readonly z.core.$ZodIssue[], base: readonly PropertyKey[]): void => {
    for (const issue of issues) {
      const path = [...base, ...issue.path];
      if (issue.code === "invalid_union") {
        // Of the two kinds of step the one that was meant; elsewhere the variant with least to complain about.
        const node = document.getIn(path);
        const best =
          path.length === 2 && path[0] === "calls"
            ? issue.errors[isMap(node) && node.has("together") ? 1 : 0]
            : [...issue.errors].sort((left, right) => left.length - right.length)[0];
        if (best !== undefined) report(best, path);
        continue;
      }
      const what = path.join(".") || "the task";
      if (issue.code === "unrecognized_keys") {
        for (const key of issue.keys) {
          problems.push({
            offset: offsetOf(document.contents, path, key),
            text: `${what}: unknown word ${quoted(key)}`,
          });
        }
      } else problems.push({ offset: offsetOf(document.contents, path), text: `${what}: ${issue.message}` });
    }
  };
  report(result.error.issues, []);
  problems.sort((left, right) => left.offset - right.offset);
  throw refusal(
    source,
    problems.map(({ offset, text: problem }) => `${at(offset)}: ${problem}`),
  );
}

function quoted(word: string): string {
  return JSON.stringify(word.length > 100 ? `${word.slice(0, 100)}…` : word);
}

/** Where the node at a path begins, or the nearest node above it that exists; with `key`, where that word of it stands. */
function offsetOf(node: unknown, path: readonly PropertyKey[], key?: string): number {
  let offset = 0;
  let here = node;
  for (const part of [...path, undefined]) {
    if (isMap(here) || isSeq(here) || isScalar(here)) offset = here.range?.[0] ?? offset;
    if (part === undefined) break;
    if (isMap(here)) {
      const pair = pairOf(here, part);
      if (pair === undefined) break;
      here = pair.value;
    } else if (isSeq(here) && typeof part === "number") here = here.items[part];
    else break;
  }
  if (key === undefined || !isMap(here)) return offset;
  const word = pairOf(here, key)?.key;
  return isScalar(word) ? (word.range?.[0] ?? offset) : offset;
}

function pairOf(map: YAMLMap, key: PropertyKey): Pair | undefined {
  return map.items.find((item) => isScalar(item.key) && item.key.value === key);
}

/**
 * Reads a task file. Its skill folders and archives are taken relative to it and made absolute.
 *
 * @throws HoldfastError `ERR_HOLDFAST_TASK_INVALID`, or `ERR_HOLDFAST_TASK_UNREADABLE`
 */
export function readTask(path: string): Task {
  let text: string;
  try {
    const bytes = readBounded(path, maxFileBytes);
    if (bytes.length > maxFileBytes) throw new Error(`larger than ${maxFileBytes} bytes`);
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (error) {
    throw new HoldfastError(`the task file ${path} cannot be read: ${error instanceof Error ? error.message : error}`, {
      code: "ERR_HOLDFAST_TASK_UNREADABLE",
      step: "queue",
      hint: "Give the path of a task file in UTF-8 that you may read.",
      path,
      cause: error,
    });
  }
  const task = parseTask(text, path);
  const folder = dirname(resolve(path));
  for (const skill of task.agent?.skills ?? []) {
    if (skill.folder !== undefined) skill.folder = resolve(folder, skill.folder);
    if (skill.archive !== undefined) skill.archive = resolve(folder, skill.archive);
  }
  return task;
}
