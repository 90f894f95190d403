import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { folder, holdfast } from "./holdfast.ts";

test("A run leaves a receipt that is checked offline: with exit status 1 where it, the key or a file is another", (t) => {
  const top = folder(t);
  const [cwd, config] = [join(top, "project"), join(top, "config")];
  mkdirSync(cwd);
  const call = (...args: string[]) =>
    spawnSync(holdfast, args, { cwd, encoding: "utf8", env: { ...process.env, XDG_CONFIG_HOME: config } });

  const early = call("run", "--receipt", "r.json", "--", "touch", "ran");
  t.is(early.status, 125);
  t.regex(early.stderr, /receipt\.key does not exist\n.*holdfast receipt keygen makes one.*RECEIPT_KEY\]/);
  t.false(existsSync(join(cwd, "ran")), "nothing ran");

  t.is(call("receipt", "keygen").status, 0);
  t.is(call("receipt", "keygen").status, 125);
  writeFileSync(join(cwd, "policy.yaml"), "version: 1\n");
  const ran = call(
    "run",
    "--policy",
    "policy.yaml",
    "--receipt",
    "r.json",
    "--",
    "sh",
    "-c",
    "echo SECRET >&2; exit 3",
  );
  t.is(ran.status, 3, "the command's own");
  const verified = call("receipt", "verify", "r.json");
  t.is(verified.status, 0, verified.stderr);
  t.regex(verified.stdout, /^valid: signed by [0-9a-f]{16}\nsandbox {3}hf-.*\npolicy {4}policy\.yaml /);
  t.regex(verified.stdout, /\ncall {6}1 × sh, 1 failed\n.*gone {6}its processes, folders and socket\n$/s);

  const envelope = JSON.parse(readFileSync(join(cwd, "r.json"), "utf8")) as { payload: string };
  const statement = Buffer.from(envelope.payload, "base64").toString();
  t.false(statement.includes("SECRET"));
  const payload = Buffer.from(statement.replace('"failed":1', '"failed":0')).toString("base64");
  writeFileSync(join(cwd, "changed.json"), JSON.stringify({ ...envelope, payload }));
  const changed = call("receipt", "verify", "changed.json", "--json");
  t.is(changed.status, 1);
  t.regex(changed.stderr, /"code":"ERR_HOLDFAST_RECEIPT_INVALID".*one of them was changed/);

  t.is(call("receipt", "keygen", "--key", join(top, "other.key")).status, 0);
  const other = call("receipt", "verify", "r.json", "--key", join(top, "other.pub"));
  t.is(other.status, 1);
  t.regex(other.stderr, /signed by another key/);
  t.is(call("receipt", "verify", "none.json").status, 125);
  const endless = call("receipt", "verify", "/dev/zero");
  t.is(endless.status, 125, "a file without an end");
  t.regex(endless.stderr, /the receipt \/dev\/zero is too large to be one: it has more than 256 MiB/);
  t.is(call("receipt", "verify", "r.json", "--key", "/dev/zero").status, 125);
  writeFileSync(join(cwd, "password"), "hunter2-and-more");
  const otherFile = call("receipt", "verify", "password");
  t.is(otherFile.status, 1);
  t.notRegex(otherFile.stderr, /hunter2/, "what is not a receipt is not quoted");

  const shown = call("run", "--receipt", "x.json", "--receipt-key", "own.key", "--", "true");
  t.regex(shown.stderr, /own\.key lies in .*project, where the sandbox could read it/);
  t.is(call("run", "--receipt", "r.json", "--", "sh", "-c", "rm r.json; ln -s /dev/null r.json").status, 125);
});
