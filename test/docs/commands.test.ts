// Every command that the README and the documents show is run as it is written, or is the job of another test by name.

import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { folder } from "../e2e/holdfast.ts";

const root = dirname(dirname(import.meta.dirname));
const documents = ["README.md", "CONTRIBUTING.md", "SECURITY.md", ...globSync("docs/*.md", { cwd: root })];

interface Command {
  readonly document: string;
  /** Without its comment. */
  readonly text: string;
}

/** Lines of code blocks, fenced or indented, that a shell would take. */
const commands: readonly Command[] = documents.flatMap((document) =>
  readFileSync(join(root, document), "utf8")
    .split("\n")
    .filter((line) => /^( {4}holdfast|( {4})?(\.\/bin\/holdfast|exec holdfast|npm|apt-get|docker|podman)) /.test(line))
    .map((line) => ({ document, text: line.trim().replace(/ {2,}#.*$/, "") })),
);

interface Expected {
  readonly status: number;
  readonly says: RegExp;
}

/** What is run here, in a project of its own, and what comes of it. */
const run: Readonly<Record<string, Expected>> = {
  "./bin/holdfast run -- ls -la /": { status: 0, says: /usr/ },
  "./bin/holdfast run -- cat ~/.ssh/id_rsa": { status: 1, says: /No such file or directory/ },
  "./bin/holdfast run --timeout 5s --limit memory=256M -- make test": { status: 0, says: /tested/ },
  "./bin/holdfast run --overlay -- sh -c 'echo changed > notes.txt'": { status: 0, says: /notes\.txt/ },
  "./bin/holdfast doctor": { status: 0, says: /landlock/i },
  "./bin/holdfast policy explain --preset agent": { status: 0, says: /seccomp/i },
  "holdfast policy check FILE…": { status: 0, says: /policy\.yaml/ },
  "holdfast policy explain [FILE]": { status: 0, says: /seccomp/i },
  "holdfast policy test [FILE] --to HOST:PORT --binary PATH": { status: 1, says: /no endpoint names/ },
  'holdfast policy test policy.yaml --to api.github.com:443 --binary /usr/bin/curl --request "GET /repos/a/b"': {
    status: 1,
    says: /refused/,
  },
  "holdfast policy test policy.yaml --to db.example.com:5432 --binary /usr/bin/psql": { status: 1, says: /refused/ },
  "holdfast policy profile profile.yaml --set role_arn=arn:aws:iam::123456789012:role/reader": {
    status: 0,
    says: /aws_sts_assume_role/,
  },
  "holdfast policy presets": { status: 0, says: /agent/ },
  "holdfast kill-network [SANDBOX|--all] [--json]": { status: 125, says: /no sandbox of this user is called nobody/ },
  "holdfast extract SANDBOX PATH… --to DIR": { status: 125, says: /no sandbox of this user is called nobody/ },
  "holdfast extract SANDBOX PATH… --dry-run": { status: 125, says: /no sandbox of this user is called nobody/ },
  "holdfast import SANDBOX FILE… --to PATH": { status: 125, says: /no sandbox of this user is called nobody/ },
  "./bin/holdfast receipt keygen": { status: 0, says: /keyid {2}[0-9a-f]{64}/ },
  "holdfast receipt keygen": { status: 0, says: /receipt\.pub/ },
  "./bin/holdfast extract SANDBOX report --to results": {
    status: 125,
    says: /no sandbox of this user is called nobody/,
  },
  "holdfast run [options] -- CMD ARG…": { status: 0, says: /^$/ },
};

/** What takes another process, or minutes: who tries it. */
const elsewhere: Readonly<Record<string, string>> = {
  "holdfast run --receipt receipt.json -- make report": "test/e2e/run-receipt.test.ts",
  "holdfast receipt verify receipt.json": "test/e2e/run-receipt.test.ts",
  "holdfast worker poll --receipts ~/receipts --extract 'report/*.md' --to ~/reports": "test/worker/process.test.ts",
  "npm run demo": "test/e2e/demo.test.ts",
  "npm test": "this very run",
  "apt-get install -y cmake clang-format clang-tidy doctest-dev ripgrep bubblewrap": ".ci/run",
  "holdfast queue serve --tasks tasks/ --state queue.db --key-file environment.key --port 4321 &":
    "test/queue/command.test.ts",
  "holdfast queue list --url http://127.0.0.1:4321 --operator-key-file environment.key.operator":
    "test/queue/command.test.ts",
  'holdfast queue --model http://127.0.0.1:8000/v1 --task "fix the tests" --worker -- --workdir .':
    "test/queue/model.test.ts",
  "holdfast worker poll --workdir ~/project --concurrency 4 --extract 'report/*.md' --to ~/reports":
    "test/worker/process.test.ts",
  'exec holdfast worker handle --workdir "$HOME/project"': "test/worker/process.test.ts",
  "holdfast run --upstream-proxy http://proxy.corp.example:3128 --allow api.github.com -- curl -sS https://api.github.com/zen":
    "test/egress/upstream.test.ts",
  "holdfast run --proxy-env --allow api.github.com -- curl -sS https://api.github.com/zen":
    "test/egress/inspect.test.ts",
  "holdfast run --upstream-proxy env --allow api.github.com -- curl -sS https://api.github.com/zen":
    "test/egress/upstream.test.ts",
  "holdfast run --allow host.holdfast.internal:3000 -- curl -sS http://host.holdfast.internal:3000/":
    "test/egress/upstream.test.ts",
  "holdfast run --allow api.github.com -- curl -sS https://api.github.com/zen": "test/egress/gateway.test.ts",
  "holdfast run --allow 'api.github.com/repos/**' --allow-binary /usr/bin/curl -- curl -sS https://api.github.com/repos/nodejs/node":
    "test/egress/run-network.test.ts",
  "./bin/holdfast run --net log --net-draft draft.yaml -- npm install": "test/egress/run-network.test.ts",
  "holdfast run --net log --net-draft draft.yaml -- npm install": "test/egress/run-network.test.ts",
  "holdfast policy check draft.yaml": "test/egress/run-network.test.ts",
  "holdfast run --policy draft.yaml -- npm install": "test/egress/run-network.test.ts",
  "holdfast run --publish 3000 -- npm start": "test/sandbox/forward.test.ts",
  "npm run bench": "test/docs/commands.test.ts, by a small run",
  "npm run bench -- egress": "its peers are no part of a checkout, and it takes minutes: by hand",
  "docker run --security-opt systempaths=unconfined …": "a container engine",
  "podman run --security-opt unmask=ALL …": "a container engine",
};

test("Every command of the documents is known here", (t) => {
  t.true(commands.length > 15);
  const unknown = commands.filter(({ text }) => run[text] === undefined && elsewhere[text] === undefined);
  t.deepEqual(unknown, []);
  const shown = new Set(commands.map(({ text }) => text));
  t.deepEqual(
    Object.keys({ ...run, ...elsewhere }).filter((text) => !shown.has(text)),
    [],
    "no document shows it any more",
  );
});

const profile = `id: aws
credentials: [{ name: access_key_id, env_vars: [AWS_ACCESS_KEY_ID], refresh: { strategy: aws_sts_assume_role } }]
endpoints: [{ host: s3.amazonaws.com, port: 443, protocol: rest, access: full, credential_signing: sigv4, signing_service: s3 }]
binaries: [/usr/bin/aws]
`;

/** A project, and a home without anything in it. */
function project(t: ExecutionContext): { readonly cwd: string; readonly env: NodeJS.ProcessEnv } {
  const top = folder(t, "holdfast-docs-");
  const [cwd, home] = [join(top, "project"), join(top, "home")];
  for (const path of [cwd, home]) mkdirSync(path);
  writeFileSync(join(cwd, "Makefile"), "test:\n\t@echo tested\n");
  writeFileSync(join(cwd, "policy.yaml"), "version: 1\n");
  writeFileSync(join(cwd, "profile.yaml"), profile);
  return { cwd, env: { PATH: `${join(root, "bin")}:${process.env["PATH"] ?? ""}`, HOME: home, LANG: "C.UTF-8" } };
}

const placeholders: readonly (readonly [RegExp, string])[] = [
  [/^\.\/bin\/holdfast/, "holdfast"],
  [/\[?FILE…?\]?/, "policy.yaml"],
  [/ \[options\] -- CMD ARG…/, " -- true"],
  [/\[SANDBOX\|--all\] \[--json\]/, "nobody"],
  [/SANDBOX/, "nobody"],
  [/PATH… --/, "report --"],
  [/HOST:PORT --binary PATH/, "example.com:443 --binary /usr/bin/curl"],
];

const shells = new Map(Object.entries(run));
for (const [text, { status, says }] of shells) {
  test(`It does what the documents say: ${text}`, (t) => {
    const { cwd, env } = project(t);
    const line = placeholders.reduce((so, [pattern, by]) => so.replace(pattern, by), text);
    const ran = spawnSync("/bin/sh", ["-c", line], { cwd, env, encoding: "utf8", timeout: 60_000 });
    t.is(ran.status, status, ran.stderr);
    t.regex(ran.stdout + ran.stderr, says);
  });
}

test("The benchmarks run, and print their table", (t) => {
  const args = [join(root, "test", "bench", "run.ts"), "warm", "command", "--scale", "0.02"];
  const ran = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8", timeout: 120_000 });
  t.is(ran.status, 0, ran.stderr);
  t.regex(ran.stdout, /^warm .* (pass|MISS)$/m);
  t.regex(ran.stdout, /^command .* (pass|MISS)$/m);
});
