// What a grant of addresses without a host lets a program reach: those addresses, by any name that leads there, and nothing else.
import test, { type ExecutionContext } from "ava";
import { inWorld, missingForWorld } from "./world.ts";

interface Found {
  readonly said: Readonly<Record<string, string>>;
  readonly "another program": string;
  readonly details: Readonly<Record<string, string>>;
}

const missing = missingForWorld();
const setUp = ["10.1.2.3", "10.2.0.1"].map((address) => `ip addr add ${address}/32 dev lo`);
const found = (missing === null ? inWorld("hostless.ts", { setUp }) : {}) as Readonly<Record<string, Found>>;

function holds(title: string, look: (t: ExecutionContext, found: Found) => void): void {
  for (const mode of ["namespaces", "landlock"]) {
    test(`${title} (${mode})`, (t) => {
      const { [mode]: own } = found;
      if (missing === null && own !== undefined) return look(t, own);
      t.log(`skipped: ${missing}`);
      t.pass();
    });
  }
}

holds(
  "An endpoint without a host grants its addresses, private ones too, by themselves and by names",
  (t, { said }) => {
    for (const place of ["inner.corp.test:7", "api.example.test:7", "10.1.2.3:7", "93.184.216.34:7"])
      t.is(said[place], "hello", place);
  },
);

holds("It grants no other address, whatever name leads there, and no other port or program", (t, all) => {
  for (const [place, detail] of [
    ["beside.corp.test:7", /^10\.2\.0\.1 is not in the endpoint's allowed_ips$/],
    ["mixed.corp.test:7", /^10\.2\.0\.1 is not in/],
    ["other.example.test:7", /^93\.184\.216\.35 is not in/],
    ["10.2.0.1:7", /^10\.2\.0\.1 is not in/],
    ["93.184.216.35:7", /^93\.184\.216\.35 is not in/],
    ["cloud.corp.test:7", /^169\.254\.169\.254 .* never dialled$/],
    ["host.holdfast.internal:7", /^127\.0\.0\.1 .* never dialled$/],
    ["absent.corp.test:7", /there is no such name/],
    ["inner.corp.test:8", /^no endpoint names inner\.corp\.test$/],
  ] as const) {
    t.is(all.said[place], "reset", place);
    t.regex(all.details[place] ?? "", detail, place);
  }
  t.is(all["another program"], "");
  t.regex(all.details["inner.corp.test:7"] ?? "", /is granted to \/usr\/bin\/python3\*, not to .*bash$/);
});

holds("Its requests are read where it has rules, TLS included, by name and by address", (t, { said }) => {
  t.is(said["http://inner.corp.test/allowed/a"], "served Host: inner.corp.test");
  t.is(said["http://10.1.2.3/allowed/a"], "served Host: 10.1.2.3");
  t.is(said["https://inner.corp.test/allowed/a"], "served Host: inner.corp.test");
  t.is(said["https://10.1.2.3/allowed/a"], "served Host: 10.1.2.3");
  t.is(said["http://inner.corp.test/no"], "403");
  t.is(said["http://beside.corp.test/allowed/a"], "403");
});
