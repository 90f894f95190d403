import test from "ava";
import fc from "fast-check";
import {
  addressFault,
  compileRanges,
  embeddedIpv4,
  loopback,
  type Reach,
  reachOf,
  sameAddress,
} from "../../lib/egress/addresses.ts";

const reaches: readonly (readonly [Reach, readonly string[]])[] = [
  [
    "never",
    [
      "127.0.0.1",
      "127.255.255.254",
      "0.0.0.0",
      "0.1.2.3",
      "169.254.169.254",
      "169.254.0.1",
      "224.0.0.1",
      "255.255.255.255",
      "240.0.0.1",
      "100.100.100.200",
      "168.63.129.16",
      "::",
      "::1",
      "fe80::1",
      "febf::1",
      "fec0::1",
      "ff02::1",
      "fd00:ec2::254",
      "::ffff:127.0.0.1",
      "::ffff:7f00:1",
      "::127.0.0.1",
      "::ffff:169.254.169.254",
      "::ffff:0:127.0.0.1",
      "64:ff9b::7f00:1",
      "64:ff9b::169.254.169.254",
      "2002:7f00:1::",
      "2002:a9fe:a9fe::1",
      "fe80::1%eth0",
      "",
      "example.com",
      "2130706433",
      "0177.0.0.1",
      "0x7f000001",
      "127.1",
    ],
  ],
  [
    "private",
    [
      "10.0.0.1",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.1.1",
      "100.64.0.1",
      "192.0.0.1",
      "192.0.2.1",
      "198.18.0.1",
      "198.51.100.1",
      "203.0.113.1",
      "fc00::1",
      "fdff::1",
      "2001:db8::1",
      "::ffff:10.0.0.1",
      "64:ff9b::a00:1",
      "64:ff9b:1::1",
      "2002:0a00:1::",
      "2002:0808:0808::",
      "2001::1",
      "100::1",
      "::ffff:0:10.0.0.1",
      "1::1",
      "4000::1",
      "e000::1",
    ],
  ],
  [
    "public",
    [
      "1.1.1.1",
      "172.32.0.1",
      "100.128.0.1",
      "192.1.0.1",
      "8.8.8.8",
      "2606:4700::1111",
      "::ffff:8.8.8.8",
      "64:ff9b::808:808",
    ],
  ],
];

for (const [reach, addresses] of reaches) {
  for (const address of addresses) test(`${JSON.stringify(address)} is ${reach}`, (t) => t.is(reachOf(address), reach));
}

const free = { allowed: undefined, literal: undefined, exact: false, isThisHost: false };

test("A wildcard reaches public addresses only, an exact name private ones too, nobody this host", (t) => {
  t.is(addressFault("1.1.1.1", 443, free), undefined);
  t.regex(addressFault("10.0.0.1", 443, free) ?? "", /not public/);
  t.is(addressFault("10.0.0.1", 443, { ...free, exact: true }), undefined);
  for (const rule of [free, { ...free, exact: true }, { ...free, allowed: compileRanges(["0.0.0.0/0"]) }]) {
    t.regex(addressFault("127.0.0.1", 443, rule) ?? "", /never dialled/);
    t.regex(addressFault("::ffff:169.254.169.254", 80, rule) ?? "", /never dialled/);
  }
});

test("allowed_ips is all that is reached, and a literal only itself, in any spelling", (t) => {
  const listed = { ...free, allowed: compileRanges(["10.1.0.0/16", "2001:db8::5"]) };
  t.is(addressFault("10.1.2.3", 443, listed), undefined);
  t.is(addressFault("2001:db8:0::5", 443, listed), undefined);
  t.regex(addressFault("10.2.0.1", 443, listed) ?? "", /allowed_ips/);
  t.regex(addressFault("1.1.1.1", 443, listed) ?? "", /allowed_ips/);
  const literal = { ...free, literal: "2001:db8::a" };
  t.is(addressFault("2001:DB8:0:0:0:0:0:A", 443, literal), undefined);
  t.regex(addressFault("2001:db8::b", 443, literal) ?? "", /names/);
});

test("This host's loopback is reached by its own name, and nothing else by that name", (t) => {
  const own = { ...free, exact: true, isThisHost: true };
  for (const address of loopback) t.is(addressFault(address, 3000, own), undefined);
  for (const address of ["127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1", "169.254.169.254", "::"])
    t.regex(addressFault(address, 3000, own) ?? "", /never dialled/);
  t.regex(addressFault("127.0.0.1", 6443, own) ?? "", /cluster/);
  t.regex(addressFault("127.0.0.1", 80, { ...own, allowed: compileRanges(["172.17.0.0/16"]) }) ?? "", /allowed_ips/);
});

test("A cluster's ports are closed where private addresses are open", (t) => {
  t.regex(addressFault("10.0.0.1", 6443, { ...free, exact: true }) ?? "", /cluster/);
  t.is(addressFault("1.1.1.1", 6443, free), undefined);
});

test("Every spelling of an IPv6 address is the same address, and reaches as far", (t) => {
  const words = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
  fc.assert(
    fc.property(words, fc.boolean(), (list, upper) => {
      const long = list.map((word) => word.toString(16).padStart(4, "0")).join(":");
      const short = new URL(`http://[${long}]`).hostname.slice(1, -1);
      const other = upper ? long.toUpperCase() : long;
      t.true(sameAddress(short, other));
      t.is(reachOf(short), reachOf(other));
      t.is(embeddedIpv4(short), embeddedIpv4(other));
    }),
  );
});
