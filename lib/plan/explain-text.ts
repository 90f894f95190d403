import type { Explanation } from "./explain.ts";

/** Two columns, the first as wide as its widest cell, below a heading. */
function section(title: string, rows: readonly (readonly [string, string])[]): string {
  if (rows.length === 0) return "";
  const width = Math.max(...rows.map(([first]) => first.length));
  return `\n${title}\n${rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}`.trimEnd()).join("\n")}\n`;
}

function wrapped(words: readonly string[]): string {
  const lines = [""];
  for (const word of words) {
    const line = lines.at(-1) ?? "";
    if (line.length + word.length > 96) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines.map((line) => `  ${line}\n`).join("");
}

/** Paths with the same rights together, below them: a view has few kinds. */
function landlockSection({ abi, rules, scopes, readingTools }: Explanation["landlock"]): string {
  const byRights = Map.groupBy(rules, ({ rights }) => rights.join(", "));
  const blocks = [...byRights].map(
    ([rights, own]) => `${wrapped(rights.split(" "))}${own.map(({ path }) => `      ${path}\n`).join("")}`,
  );
  const more = [
    ...(scopes.length === 0 ? [] : [`  stay inside: ${scopes.join(", ")}\n`]),
    `  read, glob and grep: ${readingTools}\n`,
  ];
  return `\nLandlock, ABI ${abi}: the same by inode\n${[...blocks, ...more].join("")}`;
}

const actionWords: Readonly<Record<string, string>> = {
  allow: "let through",
  notify: "refused with EPERM and recorded",
  "notify:connect": "judged and made by the broker",
  "notify:map": "judged by the broker",
  "notify:code": "noted by the broker and let through",
  "notify:wait": "noted by the broker and let through",
  "notify:descriptor": "noted by the broker and let through",
};

function inWords(action: string): string {
  return actionWords[action] ?? action.replace(/^errno:/, "refused with ");
}

/** The explanation as text for people, ending in a newline. */
export function renderExplanation(explained: Explanation): string {
  const { identity, landlock, seccomp, protectedNames, environment } = explained;
  const who =
    identity.uid === identity.hostUid
      ? `uid ${identity.uid}, gid ${identity.gid}`
      : `uid ${identity.uid}, gid ${identity.gid} inside; uid ${identity.hostUid}, gid ${identity.hostGid} on the host`;
  const byOrigin = Map.groupBy(environment, ({ from }) => from);
  const partial = explained.walls.filter(({ status }) => status !== "enforced");
  return [
    `${explained.policy}\n`,
    section("Runs as", [[who, "no capabilities, no_new_privs"]]),
    section("Namespaces of its own", [[explained.namespaces.join(" "), ""]]),
    section(
      "What exists",
      explained.view.map(({ path, access, why }) => [`${access.padEnd(5)}  ${path}`, why]),
    ),
    section(
      "Granted, but not here",
      explained.missing.map(({ path, why }) => [path, why]),
    ),
    protectedNames.names.length === 0
      ? ""
      : `\nProtected names, read-only in any project of a writable workspace\n${wrapped(protectedNames.names)}`,
    landlockSection(landlock),
    section("System calls (--seccomp prints the table)", [
      ...Object.entries(seccomp.calls).map(([action, count]): [string, string] => [String(count), inWords(action)]),
      ["all others", inWords(seccomp.unlisted)],
    ]),
    section("Network", [[explained.network, ""]]),
    section(
      "Limits",
      explained.limits.map(({ name, value, heldBy }) => [`${name} ${value}`, heldBy]),
    ),
    section(
      "Environment, by name",
      [...byOrigin].map(([from, own]) => [from, own.map(({ name }) => name).join(" ")]),
    ),
    section(
      "Credentials, which the sandbox has placeholders of",
      explained.credentials.map(({ name, from, to }) => [name, `from ${from}, to ${to}`]),
    ),
    section(
      "Required by name",
      [[explained.requires.join(" "), ""]].filter(([words]) => words !== "") as [string, string][],
    ),
    section("Proved before anything runs", [
      [
        explained.walls
          .filter(({ status }) => status === "enforced")
          .map(({ wall }) => wall)
          .join(" "),
        "",
      ],
    ]),
    section("What this host lacks", [
      ...landlock.lacks.map((what): [string, string] => ["landlock", what]),
      ...partial.map(({ wall, status, reason }): [string, string] => [wall, `${status}: ${reason ?? ""}`]),
    ]),
  ].join("");
}
