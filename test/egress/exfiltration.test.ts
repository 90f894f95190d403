// What a program that may reach one host and port gets out past it, in both modes: nothing; outside the sandbox all of it arrives.
import test from "ava";
import { inWorld, missingForWorld } from "./world.ts";

interface Arrived {
  readonly heard: readonly string[];
  readonly asked: readonly string[];
  readonly said: string;
}

interface ByName {
  readonly asked: readonly string[];
  readonly said: string;
  readonly leaks: readonly Readonly<Record<string, unknown>>[];
  readonly told: string;
}

const missing = missingForWorld();
const gid = process.getgid?.() ?? 0;
const setUp = [
  "ip addr add 2001:4860:4860::8888/128 dev lo nodad",
  `echo ${gid} ${gid} > /proc/sys/net/ipv4/ping_group_range`,
];
const found = (missing === null ? inWorld("exfiltration.ts", { setUp }) : {}) as Readonly<Record<string, Arrived>>;

function holds(title: string, where: string, expected: Arrived): void {
  test(title, (t) => {
    if (missing !== null) {
      t.log(`skipped: ${missing}`);
      t.pass();
      return;
    }
    const { heard, asked, said } = found[where] ?? { heard: [], asked: [], said: "" };
    t.deepEqual({ heard, asked }, { heard: expected.heard, asked: expected.asked });
    // Root may send raw packets as well.
    t.is(said.replace("a raw packet was sent\n", where === "outside" ? "" : "$&"), expected.said);
  });
}

const title = "TCP, UDP, IPv6, ICMP, fast open, abstract sockets and labels of names carry nothing out";
for (const mode of ["namespaces", "landlock"] as const)
  holds(`${title} (${mode})`, mode, { heard: ["secret last", "secret permitted"], asked: [], said: "" });

holds("Each of these ways leads out where there is no sandbox", "outside", {
  heard: [
    "secret IPv6",
    "secret abstract",
    "secret fast open",
    "secret last",
    "secret tcp",
    "secret tcp in IPv6",
    "secret udp",
    "secret udp by IPv6",
    "secret udp connected",
    "secret udp in IPv6",
  ],
  asked: ["udp secret-question.example.test"],
  said: "icmp was sent\n",
});

for (const mode of ["namespaces", "landlock"] as const)
  test(`A name that holds a secret or a placeholder is asked of nobody outside, however it is spelled (${mode})`, (t) => {
    if (missing !== null) {
      t.log(`skipped: ${missing}`);
      t.pass();
      return;
    }
    const { asked, said, leaks, told } = found[`${mode} by name`] as unknown as ByName;
    t.deepEqual(asked, ["udp fine.wild.example.test"]);
    t.is(said, `${"refused\n".repeat(3)}HTTP/1.1 403\n`);
    const ways = new Set(leaks.map(({ what, form, where, action }) => [what, form, where, action].join()));
    t.deepEqual([...ways], ["held,plain,name,block", "held,hex,name,block"]);
    t.regex(told, /the name holds held \(plain\), which the leak guard keeps back/);
    t.notRegex(told, /held-key-0042x|48656c642d4b65792d3030343278/i);
  });
