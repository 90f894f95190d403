import type { Change } from "../sandbox/changes.ts";

/** What is asked about at once: a file, or something that became something else with all that this takes along. */
export interface Choice {
  readonly change: Change;
  /** With the change itself. */
  readonly changes: readonly Change[];
}

/**
 * - `y`, `n`: this one, or not
 * - `a`, `d`: this and all that is left in its folder and below, or none of these
 * - `q`: this and all that is left not
 */
export type Answer = "y" | "n" | "a" | "d" | "q";

const pathOf = ({ path }: Change): string => path.toString("latin1");
const isBelow = (path: string, folder: string): boolean => folder === "" || path.startsWith(`${folder}/`);
const isFolder = (change: Change): boolean => (change.after ?? change.before)?.type === "directory";

/**
 * Asks about each change that stands by itself. Folders that only came or went around what lies in them are not asked about: one
 * that came comes with the first thing in it, one that went goes with the last.
 *
 * @param changes folders before what lies in them
 * @returns those that are to be made, in their order
 */
export async function chooseChanges(
  changes: readonly Change[],
  ask: (choice: Choice, place: number, count: number) => Promise<Answer>,
): Promise<readonly Change[]> {
  const { choices, around } = choicesOf(changes);
  const chosen = new Set<Change>();
  let folderAnswer: { readonly folder: string; readonly isYes: boolean } | undefined;
  for (const [at, choice] of choices.entries()) {
    const path = pathOf(choice.change);
    const folder = path.slice(0, Math.max(path.lastIndexOf("/"), 0));
    let isYes: boolean;
    if (folderAnswer !== undefined && isBelow(path, folderAnswer.folder)) {
      isYes = folderAnswer.isYes;
    } else {
      const answer = await ask(choice, at + 1, choices.length);
      if (answer === "q") break;
      isYes = answer === "y" || answer === "a";
      if (answer === "a" || answer === "d") folderAnswer = { folder, isYes };
    }
    if (isYes) for (const change of choice.changes) chosen.add(change);
  }
  for (const change of around) {
    const inside = changes.filter((one) => isBelow(pathOf(one), pathOf(change)) && !around.includes(one));
    const isChosen = (one: Change): boolean => chosen.has(one);
    if (change.kind === "deleted" ? inside.every(isChosen) : inside.some(isChosen)) chosen.add(change);
  }
  return changes.filter((change) => chosen.has(change));
}

function choicesOf(changes: readonly Change[]): { choices: readonly Choice[]; around: readonly Change[] } {
  const choices: { change: Change; changes: Change[] }[] = [];
  const around: Change[] = [];
  let turned: { readonly path: string; readonly changes: Change[] } | undefined;
  for (const [at, change] of changes.entries()) {
    const path = pathOf(change);
    if (turned !== undefined && isBelow(path, turned.path)) {
      turned.changes.push(change);
      continue;
    }
    const next = changes[at + 1];
    const holds = next !== undefined && isBelow(pathOf(next), path);
    if (holds && isFolder(change) && (change.kind === "added" || change.kind === "deleted")) {
      around.push(change);
      continue;
    }
    const choice = { change, changes: [change] };
    choices.push(choice);
    if (change.kind === "type-changed") turned = { path, changes: choice.changes };
  }
  return { choices, around };
}
