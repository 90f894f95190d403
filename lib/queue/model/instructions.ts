import { basename } from "node:path";
import type { Task } from "../task.ts";

const usual = `You work on a computer through tools, and nobody can be asked in between. Relative paths are taken from the \
working directory, which holds what the task is about. Do the task, check that it is done, and end with a short account of \
what you did, without a call.`;

/** What a model is told before the task: the agent's own words, or the usual ones, and what the worker puts beside it. */
export function instructionsFor({ agent, memory = [] }: Task): string {
  const lines = [agent?.system ?? usual];
  for (const { name, description = "" } of agent?.skills ?? []) {
    const about = description === "" ? "" : `: ${description}`;
    lines.push(`The folder skills/${basename(name)} holds a skill${about}. Read its SKILL.md before you use it.`);
  }
  for (const { name, mount_path, access, description, instructions } of memory) {
    const what = access === "read_only" ? "what you can read" : "what lasts from session to session";
    const more = [description, instructions].filter((each) => each !== undefined);
    lines.push([`The folder ${mount_path ?? `memory/${name}`} holds ${what}.`, ...more].join(" "));
  }
  return lines.join("\n\n");
}
