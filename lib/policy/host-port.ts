import { isIP } from "node:net";

/** A host, and a port where one is said. */
export interface HostPort {
  /** Lower case; an IPv6 address without brackets. */
  readonly host: string;
  /** From 1 to 65535. */
  readonly port?: number;
}

/** `HOST` or `HOST:PORT`, an IPv6 address with a port in brackets (RFC 3986 section 3.2.2); undefined for anything else. */
export function readHostPort(text: string): HostPort | undefined {
  if (isAddress6(text)) return { host: text.toLowerCase() };
  const [, bracketed, name, digits] = /^(?:\[([^\]]*)\]|([^:/[\]\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = (bracketed ?? name ?? "").toLowerCase();
  const port = digits === undefined ? undefined : Number(digits);
  if (host === "" || (bracketed !== undefined && !isAddress6(bracketed))) return undefined;
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  return { host, ...(port === undefined ? {} : { port }) };
}

/** Without a zone, which means something on this host alone. */
function isAddress6(text: string): boolean {
  return isIP(text) === 6 && !text.includes("%");
}

/** Whom a URL names, with its scheme's own port where it names none: an IPv6 address without brackets. */
export function hostPortOf({ hostname, protocol, port }: URL): Required<HostPort> {
  const usual = protocol === "https:" ? 443 : 80;
  return { host: hostname.replace(/^\[(.*)\]$/, "$1"), port: port === "" ? usual : Number(port) };
}

/** As `readHostPort` reads it. */
export function writeHostPort(host: string, port: number): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}
