/** The one search for a secret in whatever a sandbox can reach: in all the forms that it could be carried away in. */

/** The parts of base64 that do not depend on what stands beside it, for each of its three alignments. */
function base64Forms(secret: Buffer): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.concat([Buffer.alloc(shift), secret])
      .toString("base64")
      .replaceAll("=", "");
    // The characters that hold bits of what stands before and after are left out.
    const from = Math.ceil((shift * 8) / 6);
    const until = Math.floor(((shift + secret.length) * 8) / 6);
    return encoded.slice(from, until);
  });
}

/** A secret's forms by name. Short pieces would be met by chance. */
function formsOf(secret: string): readonly (readonly [string, string])[] {
  const bytes = Buffer.from(secret, "latin1");
  const hex = bytes.toString("hex");
  const half = Math.ceil(secret.length / 2);
  const percent = [...secret].map((each) => `%${each.charCodeAt(0).toString(16).padStart(2, "0")}`).join("");
  return [
    ["plain", secret],
    ["as in a URL", encodeURIComponent(secret)],
    ["percent-encoded", percent],
    ["in JSON", JSON.stringify(secret).slice(1, -1)],
    ["hex", hex],
    ["reversed", [...secret].reverse().join("")],
    ["UTF-16", [...secret].join("\0")],
    ["with spaces", [...secret].join(" ")],
    ["on lines", [...secret].join("\n")],
    ["its first half", secret.slice(0, half)],
    ["its second half", secret.slice(half)],
    ...base64Forms(bytes).flatMap((form, shift): [string, string][] => [
      [`base64, shifted by ${shift}`, form],
      [`base64url, shifted by ${shift}`, form.replaceAll("+", "-").replaceAll("/", "_")],
    ]),
  ];
}

const caseless: ReadonlySet<string> = new Set(["hex", "percent-encoded", "as in a URL"]);
const known = new Map<string, readonly (readonly [string, Buffer])[]>();

function needles(secret: string): readonly (readonly [string, Buffer])[] {
  const made =
    known.get(secret) ??
    formsOf(secret).flatMap(([name, form]) => {
      const digits = (change: (octet: string) => string): string =>
        name === "hex" ? change(form) : form.replace(/%[0-9a-f]{2}/gi, change);
      const spellings = caseless.has(name)
        ? [digits((each) => each.toLowerCase()), digits((each) => each.toUpperCase())]
        : [form];
      return spellings.map((each) => [name, Buffer.from(each, "latin1")] as const);
    });
  known.set(secret, made);
  return made;
}

/** In which forms a secret stands in a text or bytes. */
export function finds(where: string | Buffer, secret: string): readonly string[] {
  const bytes = typeof where === "string" ? Buffer.from(where) : where;
  return [...new Set(needles(secret).flatMap(([name, needle]) => (bytes.includes(needle) ? [name] : [])))];
}
