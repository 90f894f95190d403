import { spawnSync } from "node:child_process";
import test from "ava";
import { holdfast } from "./holdfast.ts";

for (const [args, says] of [
  [["--allow", "https://a.example.com"], /--allow https:\/\/a\.example\.com: not HOST or HOST:PORT/],
  [["--allow", "a.example.com:70000"], /not HOST or HOST:PORT/],
  [["--allow", "a.example.com/repos"], /requests are not inspected.*a path cannot be granted/],
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
