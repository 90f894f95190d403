import {
  type Architecture,
  type Clause,
  type SeccompAction,
  type SeccompOptions,
  settleProfile,
} from "./seccomp-profile.ts";

/** One line of the filter for people. */
export interface SeccompRow {
  readonly group: string;
  /** The call's name; `*` for every call that is not listed, `other architecture` and `x32` for whole numberings. */
  readonly call: string;
  readonly number: number | undefined;
  /** As the profile spells it: `allow`, `errno:EPERM`, `notify`, `notify:connect`, `return:0`. */
  readonly action: string;
  /** Empty when the row holds for every argument that no earlier row of the call took. */
  readonly condition: string;
  readonly reason: string;
}

/** The filter as rows, in the profile's order of groups; of a call's rows the first that fits decides. */
export function describeProfile(architecture: Architecture, options: SeccompOptions = {}): SeccompRow[] {
  const profile = settleProfile(architecture, options);
  const rows = [...row("whole numberings", "other architecture", undefined, [profile.foreignArchitecture])];
  if (profile.x32 !== undefined) rows.push(...row("whole numberings", "x32", undefined, [profile.x32]));
  const groups = Map.groupBy(profile.calls, (call) => call.group);
  for (const [group, calls] of groups) {
    for (const call of calls) rows.push(...row(group, call.name, call.number, call.clauses));
  }
  rows.push(...row("everything else", "*", undefined, [profile.unlisted]));
  return rows;
}

/** The rows as aligned text, a heading for each group. */
export function renderSeccompTable(rows: readonly SeccompRow[]): string {
  const columns = (line: SeccompRow): string[] => [line.call, line.number?.toString() ?? "", line.action];
  const widths = [0, 1, 2].map((index) => Math.max(0, ...rows.map((line) => columns(line)[index]?.length ?? 0)));
  const lines: string[] = [];
  let group: string | undefined;
  for (const line of rows) {
    if (line.group !== group) {
      if (group !== undefined) lines.push("");
      group = line.group;
      lines.push(group);
    }
    const cells = columns(line).map((cell, index) =>
      index === 1 ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0),
    );
    const condition = line.condition === "" ? "" : `if ${line.condition}: `;
    lines.push(`  ${cells.join("  ")}  ${condition}${line.reason}`);
  }
  return `${lines.join("\n")}\n`;
}

function row(group: string, call: string, number: number | undefined, clauses: readonly Clause[]): SeccompRow[] {
  return clauses.map((clause) => ({
    group,
    call,
    number,
    action: actionWords(clause.action),
    condition: clause.tests.map((test) => test.words).join(" and "),
    reason: clause.reason,
  }));
}

function actionWords(action: SeccompAction): string {
  switch (action.kind) {
    case "allow":
      return "allow";
    case "return":
      return `return:${action.value}`;
    case "errno":
      return `errno:${action.name}`;
    case "notify":
      return action.purpose === "refuse" ? "notify" : `notify:${action.purpose}`;
  }
}
