/** An entry of `network_policies`, to be written. */
export interface WrittenEntry {
  readonly key: string;
  readonly endpoints: readonly { readonly fields: Readonly<Record<string, unknown>>; readonly comment?: string }[];
  readonly binaries: readonly string[];
}

/**
 * A policy's text with entries added to its network policies, all else as it is; undefined where they are not written in
 * block style, so that there is no place for more.
 */
export function insertEntries(
  text: string,
  comments: readonly string[],
  entries: readonly WrittenEntry[],
): string | undefined {
  const lines = text.replace(/\n*$/, "").split("\n");
  const at = lines.findIndex((line) => /^network_policies\s*:/.test(line));
  const written = (indent: string): string[] => [
    ...comments.map((comment) => `${indent}# ${printable(comment)}`),
    ...entries.flatMap((entry) => entryLines(entry, indent)),
  ];
  if (at < 0) {
    if (lines.some((line) => /^(?:\.\.\.|\s*[{[])/.test(line))) return undefined;
    const own = entries.length === 0 ? written("") : ["network_policies:", ...written("  ")];
    return [...lines, ...own, ""].join("\n");
  }
  const next = lines.findIndex((line, index) => index > at && !/^\s*(?:#|$)/.test(line));
  const indent = /^ +/.exec(lines[next] ?? "")?.[0];
  if (
    /^network_policies\s*:\s*(?:\{\s*\}\s*)?(?:#.*)?$/.test(lines[at] ?? "") &&
    (indent === undefined || /\}/.test(lines[at] ?? ""))
  ) {
    const head = entries.length === 0 ? (lines[at] ?? "") : "network_policies:";
    return [...lines.slice(0, at), head, ...written("  "), ...lines.slice(at + 1), ""].join("\n");
  }
  if (indent === undefined || !/^network_policies\s*:\s*(?:#.*)?$/.test(lines[at] ?? "")) return undefined;
  return [...lines.slice(0, next), ...written(indent), ...lines.slice(next), ""].join("\n");
}

function entryLines({ key, endpoints, binaries }: WrittenEntry, indent: string): string[] {
  return [
    `${indent}${scalar(key)}:`,
    `${indent}  endpoints:`,
    ...endpoints.map(({ fields, comment }) => {
      const tail = comment === undefined ? "" : ` # ${printable(comment)}`;
      return `${indent}    - ${flow(fields)}${tail}`;
    }),
    `${indent}  binaries:`,
    ...binaries.map((path) => `${indent}    - ${flow({ path })}`),
  ];
}

/** In YAML's flow style, on one line. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (typeof value === "object" && value !== null)
    return `{ ${Object.entries(value)
      .map(([key, one]) => `${key}: ${flow(one)}`)
      .join(", ")} }`;
  return typeof value === "string" ? scalar(value) : String(value);
}

/** Plain where it can be taken for nothing but a string. */
function scalar(text: string): string {
  const isPlain = /^[A-Za-z/][A-Za-z0-9._/-]*$/.test(text) && !/^(?:true|false|null|yes|no|on|off|y|n)$/i.test(text);
  return isPlain ? text : JSON.stringify(text);
}

/** Of what programs and servers say: nothing that would end a line or act on a terminal. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?");
}
