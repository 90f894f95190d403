import { spawnSync } from "node:child_process";
import test from "ava";
import { holdfast } from "./holdfast.ts";

for (const [args, says] of [
  [["--allow", "http://a.example.com/x"], /a URL, where .*\n {2}Write --allow a\.example\.com:80\/x\./],
  [["--allow", "a.example.com:70000"], /"70000" is no port/],
  [["--allow", "a.example.com/x?y=1"], /a path has no query/],
  [["--allow", "a.example.com/a/../*"], /another form of this path/],
  [["--allow", "a.example.com/[x"], /has a "\[" without its "\]"/],
  [["--allow", "10.0.0.0/8"], /a range of addresses/],
  [["--allow", "10.0.0.0/8:443"], /a range of addresses/],
  [["--allow", "localhost:3000"], /own loopback.*\n.*--allow host\.holdfast\.internal:3000/],
  [["--allow", "169.254.169.254"], /never dialled/],
  [["--allow", "0177.0.0.1"], /another spelling of an address/],
  [["--net", "of"], /--net of: there is no such mode/],
  [["--net", "off", "--allow", "a.example.com"], /--net off and --allow a\.example\.com exclude each other/],
  [["--net-draft", "draft.yaml"], /there is a draft with --net log alone/],
  [["--net", "log", "--quiet"], /the draft would be said to nobody/],
  [["--allow", "*"], /would match every host/],
  [["--allow-binary", "/usr/bin/curl"], /--allow-binary grants nothing by itself/],
  [["--allow", "a.example.com", "--allow-binary", "curl"], /not an absolute path/],
  [
    ["--upstream-proxy", "http://me:secret@proxy.example.com:1"],
    /--upstream-proxy: upstream_proxy.url holds credentials/,
  ],
] as const) {
  test(`A grant that cannot be meant is refused before anything runs: ${args.join(" ")}`, (t) => {
    const ran = spawnSync(holdfast, ["run", ...args, "--", "true"], { encoding: "utf8", timeout: 60_000 });
    t.is(ran.status, 125, ran.stderr);
    t.regex(ran.stderr, says);
    t.regex(ran.stderr, /ERR_HOLDFAST_USAGE/);
  });
}

test("A draft that has no place is refused before anything runs", (t) => {
  const args = ["run", "--net", "log", "--net-draft", "/no/such/folder/draft.yaml", "--", "true"];
  const ran = spawnSync(holdfast, args, { encoding: "utf8", timeout: 60_000 });
  t.is(ran.status, 125);
  t.regex(
    ran.stderr,
    /^holdfast: the policy draft cannot be written to \/no\/such\/folder\/draft\.yaml \(ENOENT\)\n.*--net-draft/,
  );
  t.regex(ran.stderr, /ERR_HOLDFAST_DRAFT_FILE/);
});
