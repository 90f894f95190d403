import test from "ava";
import { readHostPort, writeHostPort } from "../../lib/policy/host-port.ts";

test("A host, with a port or without, is read as it is written; an IPv6 address with a port in brackets", (t) => {
  t.deepEqual(readHostPort("API.example.com"), { host: "api.example.com" });
  t.deepEqual(readHostPort("a.example.com:65535"), { host: "a.example.com", port: 65_535 });
  t.deepEqual(readHostPort("10.0.0.1:1"), { host: "10.0.0.1", port: 1 });
  for (const [text, host] of [
    ["2001:DB8::1", "2001:db8::1"],
    ["[2001:db8::1]", "2001:db8::1"],
    ["::ffff:10.0.0.1", "::ffff:10.0.0.1"],
  ] as const)
    t.deepEqual(readHostPort(text), { host });
  for (const host of ["a.example.com", "10.0.0.1", "2001:db8::1"])
    t.deepEqual(readHostPort(writeHostPort(host, 443)), { host, port: 443 });
});

test("What is no host, or no port, is none", (t) => {
  for (const text of [
    "",
    ":",
    "a:",
    ":1",
    "a:0",
    "a:65536",
    "a:1:2",
    "a b",
    "a/b",
    "[a]:1",
    "[10.0.0.1]",
    "[::1",
    "::1]:1",
  ])
    t.is(readHostPort(text), undefined, text);
  for (const text of ["fe80::1%eth0", "[fe80::1%eth0]:1", "a:100000", "a:1x"])
    t.is(readHostPort(text), undefined, text);
});
