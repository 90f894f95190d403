import test from "ava";
import { type Ending, endingLines } from "../../lib/cli/ending.ts";
import type { Denial, Unreached } from "../../lib/sandbox/types.ts";

function linesOf(
  denials: readonly Denial[],
  unreached: readonly Unreached[] = [],
  exitCode: number | null = 1,
): string[] {
  const ending: Ending = { exitCode, signal: null, limit: null, timedOut: false, denials, unreached };
  return endingLines(ending);
}

const udp: Denial = { kind: "connect", subject: "udp", count: 2, detail: "there is TCP alone" };
const lookup: Denial = { kind: "connect", subject: "a name server", count: 1, detail: "there is no network" };
const host: Denial = { kind: "connect", subject: "api.example.com:443", count: 1, grant: "--allow api.example.com" };

test("A rule that would allow a request is written as it is to be copied", (t) => {
  const subject = "GET /a at api.example.com:443 (by /usr/bin/curl)";
  const grant = '- allow: { method: GET, path: "/a b" }';
  t.deepEqual(linesOf([{ kind: "connect", subject, count: 1, grant }]), [`refused the request ${subject}; ${grant}`]);
  t.regex(linesOf([{ ...host, grant: "--allow \u001b[2J" }])[0] ?? "", /; "--allow \\033\[2J"$/);
});

test("What C libraries try by the way is told where a command failed and nothing else says why", (t) => {
  const unreached = [{ subject: "api.example.com:443", count: 1, detail: "nobody listens" }];
  t.deepEqual(linesOf([udp]), ["refused UDP (2 times); there is TCP alone"]);
  t.deepEqual(linesOf([udp, lookup]), ["refused a connection to a name server; there is no network"]);
  t.deepEqual(linesOf([udp, lookup, host]), ["refused a connection to api.example.com:443; --allow api.example.com"]);
  t.is(linesOf([udp, lookup], unreached).length, 1);
  t.deepEqual(linesOf([udp, lookup], [], 0), []);
  t.deepEqual(linesOf([udp, lookup], [], null), [], "whoever ended it knows why");
  t.is(linesOf([udp, { kind: "syscall", subject: "mount", count: 1 }]).length, 2);
});
