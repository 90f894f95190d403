import { constants, openSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { ReadStream } from "node:tty";
import type { Change, ChangeSet } from "../sandbox/changes.ts";
import { displayPath } from "../sandbox/display-path.ts";
import { renderDiff } from "../sandbox/render-diff.ts";
import { type Answer, type Choice, chooseChanges } from "./choose-changes.ts";
import { paint } from "./report.ts";

const help = `y - make this change
n - do not make it
a - make this one and all that is left in its folder and below
d - make none of these
q - quit: neither this one nor any that is left; what was answered with y or a is made
? - this list
`;

const mostLines = 400;

/** Whether somebody is there to ask: who started it types and reads on a terminal. */
export function canAsk(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/**
 * Shows each change and asks at the terminal whether it is to be made, as `git add -p` does. Whoever goes away, or sends the
 * end of the input, has quit.
 *
 * @param dismissed resolves when a signal asks for the end
 */
export async function askChanges(set: ChangeSet, dismissed: Promise<void>): Promise<readonly Change[]> {
  // The command is gone; what is typed from here on is for us alone.
  process.stdin.destroy();
  const input = new ReadStream(openSync("/dev/tty", constants.O_RDONLY | constants.O_NOCTTY));
  const lines = createInterface({ input, output: process.stderr, terminal: true, historySize: 0 });
  const left = new AbortController();
  const leave = (): void => left.abort();
  lines.once("SIGINT", leave);
  lines.once("close", leave);
  void dismissed.then(leave);
  try {
    return await chooseChanges(set.changes, async (choice, place, count) => {
      process.stderr.write(await shown(set, choice));
      for (;;) {
        const asked = await lines
          .question(paint("bold", `(${place}/${count}) Make this change [y,n,a,d,q,?]? `), { signal: left.signal })
          .catch(() => "q");
        const answer = answerOf(asked);
        if (answer !== undefined) return answer;
        process.stderr.write(help);
      }
    });
  } finally {
    lines.close();
    input.destroy();
  }
}

/** One letter and nothing else: what a terminal sends by itself, when the command asked it something, is no answer. */
function answerOf(text: string): Answer | undefined {
  return (["y", "n", "a", "d", "q"] as const).find((letter) => letter === text.trim().toLowerCase());
}

async function shown(set: ChangeSet, { change, changes }: Choice): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of renderDiff({ ...set, changes })) pieces.push(piece);
  // What the session wrote reaches the terminal as text, never as a sequence that steers it.
  const lines = Buffer.concat(pieces).toString().split("\n").map(asText);
  if (lines.at(-1) === "") lines.pop();
  const cut = lines.length > mostLines ? [`… and ${lines.length - mostLines} lines more`] : [];
  const body = [...lines.slice(0, mostLines).map(coloured), ...cut];
  const head = body.length > 0 ? [] : [`${change.kind} ${displayPath(change.path)}`];
  const conflict = change.conflict ? [paint("yellow", "it was changed outside meanwhile, and stays as it is")] : [];
  return `${[...head, ...body, ...conflict].join("\n")}\n`;
}

function asText(line: string): string {
  return line.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => (character === "\r" ? "^M" : `<${character.charCodeAt(0).toString(16).padStart(2, "0")}>`),
  );
}

function coloured(line: string): string {
  if (/^(diff --git|index |--- |\+\+\+ |new file|deleted file|old mode|new mode)/.test(line))
    return paint("bold", line);
  if (line.startsWith("+")) return paint("green", line);
  return line.startsWith("-") ? paint("red", line) : line;
}
