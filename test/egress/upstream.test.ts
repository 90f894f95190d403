// Where granted names lead: this host, name servers and proxies that the test starts, in a network of its own.
import { testsOf } from "./world-tests.ts";

const { found, inThatWorld } = testsOf<Record<string, Record<string, string>>>("outside.ts");

const reset = "reset";

inThatWorld(
  "This host's loopback is reached by its own names, where they are granted exactly, and by nothing else",
  (t) => {
    t.deepEqual(found["this host"], {
      "host.holdfast.internal": "got host",
      "host.docker.internal": "got host",
      "host.openshell.internal": reset,
      "host.containers.internal": reset,
      "loopback.example.test": reset,
      "127.0.0.1": "ConnectionRefusedError",
    });
    t.deepEqual(found["this host's other port"], { "host.holdfast.internal": reset });
    t.regex(found["details"]?.["host.openshell.internal"] ?? "", /127\.0\.0\.1 is not in the endpoint's allowed_ips/);
    t.regex(found["details"]?.["host.containers.internal"] ?? "", /never dialled/);
  },
);

inThatWorld(
  "The policy's name servers are asked: over TCP where an answer is cut off, aliases followed, hosts first",
  (t) => {
    t.like(found["names"], {
      "plain.example.test": "got service",
      "long.example.test": "got service",
      "chain.example.test": "got service",
      "alias.example.test": "got service",
      "hosts.example.test": "got service",
      "api.corp.test": "got service",
    });
    t.deepEqual(found["transports"], {
      "plain.example.test": "udp",
      "long.example.test": "udp, tcp",
      "hosts.example.test": "",
      "api.corp.test": "corp udp",
    });
  },
);

inThatWorld("Every address that a name leads to is checked, however it leads there", (t) => {
  for (const name of [
    "private-chain.example.test",
    "private-alias.example.test",
    "mixed.other.test",
    "zero.example.test",
    "mapped.example.test",
    "nat64.example.test",
  ]) {
    t.is(found["names"]?.[name], reset, name);
    t.regex(found["details"]?.[name] ?? "", /never dialled|is not public/, name);
  }
});

inThatWorld("What was checked is dialled: the next question's answer is checked anew", (t) => {
  t.deepEqual(found["rebinding"], { first: "got service", second: reset });
});

inThatWorld(
  "A name server that lies, babbles or is silent ends in a refusal that says so, and no other name waits",
  (t) => {
    for (const [name, detail] of [
      ["circle.example.test", /without end/],
      ["none.example.test", /has no address/],
      ["absent.example.test", /there is no such name/],
      ["garbage.example.test", /cannot be read/],
      ["loop.example.test", /cannot be read/],
      ["silent.example.test", /no name server answers \(93\.184\.216\.35\)/],
    ] as const) {
      t.is(found["names"]?.[name], reset, name);
      t.regex(found["details"]?.[name] ?? "", detail, name);
    }
  },
);

inThatWorld("Another spelling of an address is no name", (t) => {
  t.is(Object.keys(found["odd spellings"] ?? {}).length, 4);
  for (const said of Object.values(found["odd spellings"] ?? {})) t.regex(said, /another spelling of an address/);
  const inOrder = Object.keys(found["details"] ?? {});
  t.true(inOrder.indexOf("silent.example.test") > inOrder.indexOf("api.corp.test"));
});

inThatWorld("An upstream proxy is asked for the address that was checked, or for the name where it resolves", (t) => {
  t.like(found["proxies"], {
    connect: "got service",
    "connect over TLS": "got service",
    socks: "got service",
    "connect, named there": "got service",
    "socks, named there": "got service",
    "what was asked":
      "93.184.216.34 only-there.example.net | 93.184.216.34 | only-there.example.net 93.184.216.34 only-there.example.net",
  });
});

inThatWorld("What is read on the way passes a proxy as well, request after request", (t) => {
  const answers = "GET 0 POST 300000 GET 0 POST 300000";
  t.deepEqual(found["read, through proxies"], { "http:": answers, "https:": answers, "socks5:": answers });
});

inThatWorld("The command takes the launcher's own proxy when it is told to, and its credentials stay outside", (t) => {
  t.is(found["command"]?.["said"], "got service\nFalse\n");
});

inThatWorld("What an upstream proxy says no with is in the record, and no credentials are", (t) => {
  for (const [title, detail] of [
    ["without credentials", /: it wants credentials \(407\)$/],
    ["wrong credentials", /: it wants other credentials \(407\)$/],
    ["socks, without", /: it wants credentials of a kind that are not there$/],
    ["credentials not there", /from the variable NO_LOGIN, are not there/],
    ["nothing there", /: it does not connect: 502 Bad Gateway$/],
    ["babbling", /: what it answers is no HTTP$/],
    ["babbling socks", /: what it answers is no SOCKS5$/],
    ["endless", /: its answer does not end$/],
    ["no_proxy by another port", /: it closed the connection$/],
    ["shutting", /: it closed the connection$/],
    ["another certificate", /: unable to verify the first certificate/],
  ] as const)
    t.regex(found["proxies"]?.[title] ?? "", detail, title);
  t.notRegex(JSON.stringify(found), /s3cret|other word/);
});

inThatWorld(
  "A proxy changes nothing about addresses, and what no_proxy names and this host are reached without it",
  (t) => {
    t.regex(found["proxies"]?.["a private address"] ?? "", /never dialled/);
    t.like(found["proxies"], {
      "no_proxy by name": "got service",
      "no_proxy by address": "got service",
      "no_proxy by port": "got service",
      "no_proxy by address and port": "got service",
      "this host": "got host",
    });
  },
);
