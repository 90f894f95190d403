// Real programs in a real sandbox, against servers whose addresses look public, in a network of the test's own.
import { testsOf } from "./world-tests.ts";

const { found, holds, inThatWorld } = testsOf("carried.ts");

const reset = "reset";

holds("What is granted is carried: by name, by address, whoever speaks first, and all of it", {
  "by name": "got hello",
  "by address": "got other",
  "server first": "got 220 hello",
  large: 100_004,
});

holds("What is not granted is reset at once, and a name that nobody grants does not exist", {
  "other name": "gaierror",
  "address of a name": reset,
  "other port": reset,
});

holds("A granted name that leads to an address that is never reached is not dialled, whatever else it leads to", {
  "mixed addresses": reset,
  metadata: reset,
});

holds("Without namespaces the same is carried, and the same refused", {
  "without namespaces": {
    "by name": "got hello",
    "by address": "got other",
    "other name": "gaierror",
    "address of a name": reset,
    "other port": reset,
    metadata: reset,
    tls: "secure",
    "tls, another name": "refused",
    "tls, no name": "refused",
    "host's loopback": "ConnectionRefusedError",
    "another program": "",
    "a copy": reset,
  },
});

holds("The host's loopback, and the broker's own listener, are out of reach", {
  "host's loopback": "ConnectionRefusedError",
  "the listener itself": "ConnectionRefusedError",
});

holds("A connection that speaks TLS must ask for the name that it was granted", {
  tls: "secure",
  "tls, another name": "refused",
  "tls, no name": "refused",
});

holds("Another program has nothing of the grant, and a copy of the granted one is another program", {
  "another program": "",
  "a copy": reset,
});

inThatWorld("Connections side by side are each their own", (t) => {
  const lines = String(found["at once"]).split("\n").sort();
  t.deepEqual(lines, Array.from({ length: 40 }, (_, i) => `got n${i + 1}`).sort());
});

holds("A socket that does not wait, and a caller that signals interrupt, connect as anywhere", {
  "without waiting": "EINPROGRESS 0 True\nlater",
  interrupted: "fine",
});

holds("Whoever connects and goes without a word leaves nothing that holds a place", { "probed often": "secure" });

holds("Whoever resets its connection, before a word or within one, is a record all the same", {
  "records of resets": 30,
});

holds("A sandbox has so many connections at once; one more is refused and recorded, and each that ends makes room", {
  "too many at once": "True\nTrue",
  "records of too many": true,
});

holds("Datagrams lead nowhere", { udp: "OSError" });

holds("What was refused is named, with the flag that would grant it where one would", {
  denials: [
    ["other.example.test", "--allow other.example.test"],
    ["93.184.216.34:7 (by python3)", "--allow 93.184.216.34:7"],
    ["api.example.test:8 (by python3)", "--allow api.example.test:8"],
    ["mixed.example.test:7 (by python3)", null],
    ["metadata.example.test:80 (by python3)", null],
  ],
});

inThatWorld("Every verdict is one record, with the program's hash where it is one to be trusted", (t) => {
  const records = found["records"] as unknown[];
  const named = (wanted: unknown[]): boolean =>
    records.some((record) => JSON.stringify(record) === JSON.stringify(wanted));
  t.true(named(["api.example.test", 7, true, null, true]));
  t.true(named(["93.184.216.34", 7, false, "host", true]));
  t.true(named(["metadata.example.test", 80, false, "address", true]));
  t.true(named(["api.example.test", 443, false, "malformed", true]));
  t.true(named(["api.example.test", 7, false, "program", true]));
  t.true(named(["api.example.test", 7, false, "identity", false]));
});

holds("A new policy holds at once: what it refuses is reset, what it grants goes on", {
  reload: ["open", reset],
  "record of the reload": ["api.example.test:7"],
  "after the reload": reset,
  still: "web /x",
});

inThatWorld("The command grants with --allow and --allow-binary, and names what would be granted", (t) => {
  t.is(found["--allow"], "got hello");
  t.regex(
    String(found["--allow of another port"]),
    /^reset\nholdfast: .*api\.example\.test:7 .*--allow api\.example\.test:7/,
  );
  t.regex(String(found["--allow-binary of another"]), /^reset\nholdfast: .* --allow-binary \/usr\/bin\/python3/);
});
