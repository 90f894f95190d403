import { readdirSync } from "node:fs";
import { connect } from "node:net";
import { basename, join } from "node:path";
import { HoldfastError } from "../errors.ts";
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

/** A launcher answers between two turns of its event loop. */
const answerMs = 5_000;
const longestAnswer = 64 * 1024;

/**
 * Asks a sandbox one thing over its control socket; null where it has ended.
 *
 * @throws HoldfastError ERR_HOLDFAST_SANDBOX_SILENT when it lives and does not do what it was asked
 */
export function askSandbox(
  { name, path }: ReachableSandbox,
  request: Readonly<Record<string, unknown>>,
): Promise<Readonly<Record<string, unknown>> | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let text = "";
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      socket.destroy();
      act();
    };
    const fail = (why: string): void => settle(() => reject(silent(name, why)));
    const timer = setTimeout(() => fail("it does not answer"), answerMs);
    socket.setEncoding("utf8");
    socket.once("connect", () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on("data", (chunk: string) => {
      text += chunk;
      const end = text.indexOf("\n");
      if (end < 0 && text.length <= longestAnswer) return;
      try {
        const answer = JSON.parse(text.slice(0, end)) as Readonly<Record<string, unknown>>;
        if (answer["ok"] === true) settle(() => resolve(answer));
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

function silent(name: string, why: string): HoldfastError {
  return new HoldfastError(`the sandbox ${name} could not be told: ${why}`, {
    code: "ERR_HOLDFAST_SANDBOX_SILENT",
    step: "usage",
    hint: "End its launcher: kill -KILL takes the sandbox with it.",
  });
}
