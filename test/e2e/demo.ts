import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ExecutionContext } from "ava";
import { folder } from "./holdfast.ts";

const checkout = dirname(dirname(import.meta.dirname));

export interface Demo {
  readonly child: ChildProcess;
  /** Where it makes its own folder. */
  readonly temporary: string;
  readonly ended: Promise<{ status: number | null; signal: NodeJS.Signals | null; said: string; errors: string }>;
}

export function start(t: ExecutionContext, root: string = checkout): Demo {
  const temporary = folder(t);
  // Started by root, sandboxes run as somebody else, who has to reach the workspace in it.
  chmodSync(temporary, 0o755);
  const child = spawn(join(root, "bin", "holdfast"), ["demo"], {
    env: { ...process.env, TMPDIR: temporary, NO_COLOR: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.teardown(() => child.kill("SIGKILL"));
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const ended = (async () => {
    const [status, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    if (!t.passed) t.log(out + errors);
    return { status, signal, said: out, errors };
  })();
  return { child, temporary, ended };
}

/** A package of its own whose demo plays other tasks. */
export function withTasks(t: ExecutionContext, change: (name: string, text: string) => string): string {
  const root = folder(t);
  chmodSync(root, 0o755);
  for (const name of ["bin", "dist", "demo"]) cpSync(join(checkout, name), join(root, name), { recursive: true });
  for (const name of ["package.json", "binding.gyp", "node_modules", "build", "native", "presets", "seccomp"]) {
    symlinkSync(join(checkout, name), join(root, name));
  }
  for (const name of readdirSync(join(root, "demo", "tasks"))) {
    const path = join(root, "demo", "tasks", name);
    writeFileSync(path, change(name, readFileSync(path, "utf8")));
  }
  return root;
}

/** Folders and processes of a demo. */
export function left({ temporary }: Demo): string[] {
  const processes = readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "latin1").includes(temporary);
    } catch {
      return false;
    }
  });
  return [...readdirSync(temporary), ...processes];
}
