import test from "ava";
import { type Explanation, explainPlan } from "../../lib/plan/explain.ts";
import { renderExplanation } from "../../lib/plan/explain-text.ts";
import { plan } from "../../lib/plan/plan.ts";
import type { Policy } from "../../lib/policy/policy.ts";
import { type PresetName, presetPolicy, presets } from "../../lib/policy/presets.ts";
import { sound } from "../policy/policy-text.ts";
import { fixedHost, fixedWorkspace } from "./fixed-plan.ts";

function explained(policy: Policy, landlockAbi = 7): Explanation {
  const workspace = fixedWorkspace(policy);
  const host = { ...fixedHost, landlockAbi };
  const made = plan(policy, host, workspace);
  const walls = made.verify.map(({ wall }) => ({ wall, status: "enforced" }));
  return explainPlan(policy, host, workspace, made, walls);
}

for (const name of Object.keys(presets) as PresetName[]) {
  test(`The explanation of the preset ${name} is what it was`, (t) => {
    t.snapshot(renderExplanation(explained(presetPolicy(name))));
  });
}

test("Every bind of the host's tree and every Landlock rule is told of", (t) => {
  const policy = presetPolicy("default");
  const { mounts, landlock } = plan(policy, fixedHost, fixedWorkspace(policy));
  const told = explained(policy);
  const paths = told.view.map(({ path }) => path);
  for (const step of mounts) {
    if (step.op !== "bind" || step.from !== "host" || /^\/(etc|dev)\//.test(step.path)) continue;
    t.true(paths.includes(step.path), step.path);
  }
  t.deepEqual(
    told.landlock.rules.map(({ path }) => path),
    landlock.base.rules.map(({ path }) => path),
  );
  t.true(told.landlock.rules.every(({ rights }) => rights.length > 0));
});

test("A path says which line of the policy grants it, and one that is not here is named", (t) => {
  const base = presetPolicy("default");
  const policy: Policy = {
    ...base,
    source: "box.yaml",
    filesystem: {
      includeWorkdir: true,
      readOnly: [
        { path: "/usr", line: 7 },
        { path: "/nowhere", line: 9 },
      ],
      readWrite: [],
    },
  };
  const { view, missing } = explained(policy);
  t.is(view.find(({ path }) => path === "/usr")?.why, "box.yaml:7");
  t.deepEqual(missing, [{ path: "/nowhere", why: "box.yaml:9" }]);
});

test("Variables are told by name and origin, never by value", (t) => {
  const base = presetPolicy("default");
  const policy: Policy = { ...base, environment: { ...base.environment, set: { TOKEN: "a-secret-value" } } };
  const told = explained(policy);
  t.deepEqual(
    told.environment.filter(({ from }) => from !== "every sandbox"),
    [
      { name: "LANG", from: "passed on" },
      { name: "TERM", from: "passed on" },
      { name: "TOKEN", from: "set" },
    ],
  );
  const texts = [JSON.stringify(told), renderExplanation(told)];
  for (const text of texts) {
    for (const value of ["a-secret-value", "de_DE.UTF-8", "xterm"]) t.false(text.includes(value), value);
  }
});

test("Each limit says what holds it, from the plan", (t) => {
  const base = presetPolicy("default");
  const limits = {
    memoryBytes: 3 * 1024 ** 3,
    cpuTimeMs: 1500,
    wallTimeMs: 7_200_000,
    fileSizeBytes: 1000,
    outputBytes: 65_536,
  };
  const told = explained({ ...base, limits }).limits.map(({ name, value, heldBy }) => `${name} ${value}: ${heldBy}`);
  t.deepEqual(told, [
    "memory 3G: the init watches the sum of PSS",
    "cpu-time 1500ms: the init watches the sum over a call, RLIMIT_CPU 3",
    "wall-time 2h: a timer of the launcher's",
    "file-size 1000: RLIMIT_FSIZE 1000",
    "output 64K: the launcher, which counts what it passes on",
  ]);
});

test("An older Landlock says what it lacks and from which kernel on it would not", (t) => {
  const { landlock } = explained(presetPolicy("default"), 3);
  t.is(landlock.lacks.length, 3);
  t.regex(landlock.lacks[0] ?? "", /^TCP bind and connect by port: .* \(Linux 6\.7\)$/);
  t.deepEqual(landlock.scopes, []);
  t.deepEqual(explained(presetPolicy("default"), 7).landlock.lacks, []);
});

test("Every call of the table is counted once", (t) => {
  const { calls, unlisted } = explained(presetPolicy("default")).seccomp;
  t.true(Object.values(calls).reduce((sum, count) => sum + count, 0) > 370);
  t.is(unlisted, "errno:ENOSYS");
});

test("A credential is told of by where it is kept and where it goes, and its variable as a placeholder", (t) => {
  const policy = sound(`holdfast: 1
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
  one: { source: { env: KEY }, env: KEY_INSIDE, network_policy: api }
  two:
    source: { file: /run/secrets/two }
    inject: { as: bearer }
    endpoints: [{ host: api.example.com, path: /x/** }]
    binaries: [{ path: /usr/bin/wget }]
`);
  const { credentials, environment } = explained(policy);
  t.deepEqual(credentials, [
    { name: "one", from: "the launcher's variable KEY", to: "api.example.com:443 by /usr/bin/curl" },
    {
      name: "two",
      from: "/run/secrets/two",
      to: "https://api.example.com:443/x/** by /usr/bin/wget, as bearer",
    },
  ]);
  t.deepEqual(
    environment.filter(({ from }) => from === "placeholders"),
    [{ name: "KEY_INSIDE", from: "placeholders" }],
  );
  t.regex(renderExplanation(explained(policy)), /^ {2}two {2}from \/run\/secrets\/two, to https:/m);
});
