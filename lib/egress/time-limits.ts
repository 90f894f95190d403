/**
 * How long a peer may take, in milliseconds; bytes may come at any pace, so that slow lines and endless streams go on.
 * Connections that are carried as they are (tcp, `tls: skip`) have none but that of their opening.
 */
export interface TimeLimits {
  /** Until a server, at all of its addresses, or an upstream proxy has taken a connection. */
  readonly connectMs: number;
  /** What has begun and is short: a TLS hello, a request's or an answer's head. */
  readonly headMs: number;
  /** Nothing from a program whose turn it is: before its first request, between two, in the middle of a body. */
  readonly clientMs: number;
  /** Nothing from a server that was asked. Servers that think take minutes. */
  readonly serverMs: number;
  /** A client has this long to close a connection that was ended, once all is delivered. */
  readonly lingerMs: number;
}

export const timeLimits: TimeLimits = {
  connectMs: 30_000,
  headMs: 30_000,
  clientMs: 300_000,
  serverMs: 900_000,
  lingerMs: 2000,
};
