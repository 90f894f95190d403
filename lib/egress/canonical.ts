/**
 * One form for every request target, judged and forwarded alike: what is judged must be what the origin sees
 * (openshell.md 1.11). Percent-encoding is normalised, dot segments are resolved, slashes collapsed, `;params` cut.
 */

/** RFC 3986 section 3.3: what a path may hold as it is, besides `%` and `/`. */
const plainInPath = /^[A-Za-z0-9._~!$&'()*+,;=:@-]$/;
/** RFC 3986 section 2.3. */
const unreserved = /^[A-Za-z0-9._~-]$/;
const longestPath = 4096;

export interface CanonicalTarget {
  /** Canonical, percent-encoded, starting with `/`. */
  readonly path: string;
  /** Without `?`, as it was sent; undefined where there is none. */
  readonly query: string | undefined;
}

/** Why a target is refused, for the client to read. */
export class TargetError extends Error {
  override readonly name = "TargetError";
}

/**
 * The canonical form of an origin-form target (RFC 9112 section 3.2.1).
 *
 * @throws TargetError when it has no single meaning
 */
export function canonicalTarget(
  target: string,
  { encodedSlash = false }: { readonly encodedSlash?: boolean } = {},
): CanonicalTarget {
  if (!target.startsWith("/")) throw new TargetError("the request target does not start with a slash");
  const mark = target.indexOf("?");
  const rawPath = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? undefined : target.slice(mark + 1);
  if (rawPath.length > longestPath) throw new TargetError(`the path is longer than ${longestPath} bytes`);
  if (query !== undefined) checkQuery(query);
  // The usual path is canonical already.
  if (/^(?:\/[A-Za-z0-9_~$&'()*+,=:@!-][A-Za-z0-9._~$&'()*+,=:@!-]*)+\/?$/.test(rawPath))
    return { path: rawPath, query };
  return { path: resolveDots(normalisePath(rawPath, encodedSlash)), query };
}

function checkQuery(query: string): void {
  for (let at = 0; at < query.length; at++) {
    const code = query.charCodeAt(at);
    if (code <= 0x20 || code >= 0x7f || code === 0x23 || code === 0x5c) {
      throw new TargetError(`the query holds ${nameOf(code)}`);
    }
    if (code === 0x25) {
      if (octetAt(query, at) === undefined) throw new TargetError("the query holds a broken percent-encoding");
      at += 2;
    }
  }
}

function nameOf(code: number): string {
  if (code === 0x23) return "a fragment";
  if (code === 0x5c) return "a backslash";
  if (code === 0x20) return "a space";
  return code < 0x20 || code === 0x7f ? "a control character" : "a character that is not ASCII";
}

function octetAt(text: string, at: number): number | undefined {
  const digits = text.slice(at + 1, at + 3);
  return /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : undefined;
}

/** Percent-encoding in its one form, parameters cut. */
function normalisePath(path: string, encodedSlash: boolean): string {
  let out = "";
  let inParameters = false;
  for (let at = 0; at < path.length; at++) {
    const character = path[at] ?? "";
    const code = path.charCodeAt(at);
    if (character === "/") {
      inParameters = false;
      out += "/";
      continue;
    }
    let piece: string;
    if (character === "%") {
      const octet = octetAt(path, at);
      if (octet === undefined) throw new TargetError("the path holds a broken percent-encoding");
      at += 2;
      piece = decoded(octet, encodedSlash);
    } else if (plainInPath.test(character)) {
      if (character === ";") inParameters = true;
      piece = character;
    } else if (code > 0x20 && code < 0x7f && character !== "\\" && character !== "#") {
      piece = encoded(code);
    } else throw new TargetError(`the path holds ${nameOf(code)}`);
    if (!inParameters) out += piece;
  }
  return out;
}

function decoded(octet: number, encodedSlash: boolean): string {
  if (octet < 0x20 || octet === 0x7f) throw new TargetError("the path holds an encoded control character");
  if (octet === 0x5c) throw new TargetError("the path holds an encoded backslash");
  if (octet === 0x2f && !encodedSlash) {
    throw new TargetError("the path holds an encoded slash (allow_encoded_slash lets it pass)");
  }
  const character = String.fromCharCode(octet);
  return unreserved.test(character) ? character : encoded(octet);
}

function encoded(octet: number): string {
  return `%${octet.toString(16).toUpperCase().padStart(2, "0")}`;
}

/** RFC 3986 section 5.2.4, but that a path which climbs above the root is refused. */
function resolveDots(path: string): string {
  const segments: string[] = [];
  const parts = path.split("/").slice(1);
  for (const [index, part] of parts.entries()) {
    const last = index === parts.length - 1;
    if (part === "..") {
      if (segments.length === 0) throw new TargetError("the path climbs above its root");
      segments.pop();
    }
    const stays = part !== "" && part !== "." && part !== "..";
    if (stays) segments.push(part);
    else if (last && segments.length > 0) segments.push("");
  }
  return `/${segments.join("/")}`;
}

/**
 * Each parameter of a query, decoded in both ways in use: a plus as a space, and as itself.
 *
 * @param separator what stands between them
 */
export function queryParameters(query: string, separator: string | RegExp = "&"): Map<string, readonly QueryValue[]> {
  const found = new Map<string, QueryValue[]>();
  for (const pair of query.split(separator)) {
    if (pair === "") continue;
    const mark = pair.indexOf("=");
    const name = mark < 0 ? pair : pair.slice(0, mark);
    const value = mark < 0 ? "" : pair.slice(mark + 1);
    const readings = both(value);
    for (const reading of both(name)) {
      const known = found.get(reading);
      if (known === undefined) found.set(reading, [readings]);
      else known.push(readings);
    }
  }
  return found;
}

/** What a value may mean to the origin. */
export type QueryValue = readonly string[];

function both(text: string): readonly string[] {
  const plain = percentDecoded(text);
  return text.includes("+") ? [plain, percentDecoded(text.replaceAll("+", " "))] : [plain];
}

function percentDecoded(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    // No UTF-8: byte by byte, so that it is compared and never passed over.
    return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
  }
}
