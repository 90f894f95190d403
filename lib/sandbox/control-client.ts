import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { basename, join } from "node:path";
import { type ErrorStep, HoldfastError } from "../errors.ts";
import { nearest } from "../policy/spelling.ts";
import { runtimeRoots } from "./private-root.ts";

/** A sandbox of this user's that may be alive, by its control socket. */
export interface ReachableSandbox {
  readonly name: string;
  readonly path: string;
}

/** The sandboxes of this user's, of whatever launchers. */
export function reachableSandboxes(): ReachableSandbox[] {
  return runtimeRoots().flatMap((root) =>
    readdirSync(root)
      .filter((name) => name.endsWith(".sock"))
      .map((name) => ({ name: basename(name, ".sock"), path: join(root, name) })),
  );
}

/**
 * A running sandbox of this user's by its name, or by the id of the session that a worker serves in it.
 *
 * @throws HoldfastError ERR_HOLDFAST_SANDBOX_UNKNOWN
 */
export async function findSandbox(name: string): Promise<ReachableSandbox> {
  const found = reachableSandboxes();
  const byName = found.find((one) => one.name === name);
  if (byName !== undefined) return byName;
  // One that does not answer, or has ended, is not the one.
  const told = await Promise.allSettled(found.map((one) => askSandbox(one, { op: "info" })));
  const at = told.findIndex((one) => one.status === "fulfilled" && one.value?.["session"] === name);
  const bySession = found[at];
  if (bySession !== undefined) return bySession;
  throw unknownSandbox(name, found);
}

/** No sandbox has the name: what was meant. */
export function unknownSandbox(name: string, known: readonly ReachableSandbox[]): HoldfastError {
  const names = known.map((one) => one.name);
  const near = nearest(name, names);
  return new HoldfastError(`no sandbox of this user is called ${name}`, {
    code: "ERR_HOLDFAST_SANDBOX_UNKNOWN",
    step: "usage",
    hint: near !== undefined ? `Did you mean ${near}?` : `Running: ${names.length === 0 ? "none" : names.join(", ")}.`,
  });
}

/** A launcher answers between two turns of its event loop. */
const answerMs = 5_000;
const longestAnswer = 64 * 1024;
/** A manifest has a line of this file for each file. */
const longestWork = 256 * 1024 * 1024;

/**
 * Asks a sandbox one thing over its control socket; null where it has ended.
 *
 * @param kind `work`: what takes its time and may answer much
 * @throws HoldfastError ERR_HOLDFAST_SANDBOX_SILENT when it lives and does not do what it was asked; what it says itself
 */
export function askSandbox(
  { name, path }: ReachableSandbox,
  request: Readonly<Record<string, unknown>>,
  kind: "question" | "work" = "question",
): Promise<Readonly<Record<string, unknown>> | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const chunks: string[] = [];
    let length = 0;
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      act();
    };
    const fail = (why: string): void => settle(() => reject(silent(name, why)));
    const timer = kind === "work" ? undefined : setTimeout(() => fail("it does not answer"), answerMs);
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("data", (chunk: string) => {
      chunks.push(chunk);
      length += chunk.length;
      const end = chunk.indexOf("\n");
      if (end < 0 && length <= (kind === "work" ? longestWork : longestAnswer)) return;
      try {
        const answer = JSON.parse(chunks.join("")) as Readonly<Record<string, unknown>>;
        if (answer["ok"] === true) settle(() => resolve(answer));
        else if (typeof answer["code"] === "string") settle(() => reject(toldError(answer)));
        else fail(String(answer["error"]));
      } catch {
        fail("its answer is none");
      }
    });
    // A socket that nobody serves, and one that closed while we asked: it is gone.
    socket.once("end", () => settle(() => resolve(null)));
    socket.once("error", ({ code }: NodeJS.ErrnoException) => {
      if (code === "EACCES" || code === "EPERM") fail(code);
      else settle(() => resolve(null));
    });
  });
}

/**
 * Has a sandbox do something that takes its time.
 *
 * @param name as `findSandbox` takes it
 * @param ended what it means that the sandbox ended meanwhile, and what to do
 * @returns what its launcher, of this very package, made of it
 * @throws HoldfastError as findSandbox and askSandbox; ERR_HOLDFAST_SANDBOX_GONE
 */
export async function workOf<Result>(
  name: string,
  request: Readonly<Record<string, unknown>>,
  ended: { readonly what: string; readonly hint: string },
): Promise<Result> {
  const answer = await askSandbox(await findSandbox(name), request, "work");
  if (answer === null) {
    throw new HoldfastError(`the sandbox ${name} ended before ${ended.what}`, {
      code: "ERR_HOLDFAST_SANDBOX_GONE",
      step: "workspace",
      hint: ended.hint,
    });
  }
  const { ok: _, ...made } = answer;
  return made as Result;
}

/** The launcher's own error, as it would be here. */
function toldError({ error, code, step, hint }: Readonly<Record<string, unknown>>): HoldfastError {
  return new HoldfastError(String(error), { code: String(code), step: step as ErrorStep, hint: String(hint) });
}

function silent(name: string, why: string): HoldfastError {
  return new HoldfastError(`the sandbox ${name} could not be told: ${why}`, {
    code: "ERR_HOLDFAST_SANDBOX_SILENT",
    step: "usage",
    hint: "End its launcher: kill -KILL takes the sandbox with it.",
  });
}
