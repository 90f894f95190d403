import { TargetError } from "./canonical.ts";
import type { SwapField } from "./swap.ts";

/**
 * Fields by which some servers take a request for one of another method (Google's APIs, Rails, Symfony). To those that name
 * fields as CGI does (RFC 3875 section 4.1.18), an underscore is a hyphen.
 */
const methodFields: ReadonlySet<string> = new Set(["x-http-method-override", "x-http-method", "x-method-override"]);
/** And for another path (IIS, Symfony, Laminas): front ends alone send these. */
const targetFields: ReadonlySet<string> = new Set(["x-original-url", "x-rewrite-url"]);

/** Fields that no trailer may bring: they say how a message is framed and for whom it is (RFC 9110 section 6.5.1). */
const notInTrailers: ReadonlySet<string> = new Set([
  ...["transfer-encoding", "content-length", "host", "trailer", "connection", "upgrade"],
  ...["authorization", "proxy-authorization", "cookie", "set-cookie"],
]);

/** What tells of the methods that a request may have by its fields. Throws a TargetError where it may have another path. */
export function alsoMethodsOf(fields: readonly SwapField[]): readonly string[] | undefined {
  let found: string[] | undefined;
  for (const { name: given, value } of fields) {
    if (!given.startsWith("x")) continue;
    const name = given.replaceAll("_", "-");
    if (targetFields.has(name)) throw new TargetError(`${name} names another target than the request line`);
    if (!methodFields.has(name)) continue;
    found ??= [];
    found.push(...value.split(",").flatMap((each) => each.trim() || []));
  }
  return found;
}

/**
 * Whether a trailer of this name, in lower case, has no place in a message.
 *
 * @param isRequest it was judged before its trailers came: none may say that it is another, as servers read them that join
 *   trailers with the fields (RFC 9110 section 6.5.1)
 */
export function isWrongTrailer(name: string, isRequest: boolean): boolean {
  const plain = name.replaceAll("_", "-");
  return (
    notInTrailers.has(name) || (isRequest && [notInTrailers, methodFields, targetFields].some((set) => set.has(plain)))
  );
}
