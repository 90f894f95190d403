import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { isPassed } from "../../lib/policy/environment.ts";
import { loadPolicy, readPolicy } from "../../lib/policy/load.ts";
import {
  namedPreset,
  type PresetName,
  presetFile,
  presetPolicy,
  presets,
  readPreset,
} from "../../lib/policy/presets.ts";
import { protectedNameList, protectedNames } from "../../lib/policy/protected-names.ts";

const names = Object.keys(presets) as PresetName[];

test("The default policy built in code is the one that the package ships as a file", (t) => {
  t.deepEqual(readPreset("default"), defaultPolicy);
});

for (const name of names) {
  test(`The preset ${name} has no network, protects every name and can be copied as a policy`, (t) => {
    const policy = presetPolicy(name);
    t.deepEqual(policy.networkPolicies, {});
    t.deepEqual(policy.protectedNames.names, protectedNameList);
    t.deepEqual(policy.requires, []);
    t.true((policy.limits.processes ?? Number.POSITIVE_INFINITY) < 100_000);
    t.deepEqual(readPolicy(presetFile(name)).problems, []);
    t.deepEqual(loadPolicy(presetFile(name)).limits, policy.limits);
  });

  test(`The preset ${name} passes no secret of the caller's`, (t) => {
    const { pass } = presetPolicy(name).environment;
    const secrets = [
      "ANTHROPIC_API_KEY",
      "ANTHROPIC_ENVIRONMENT_KEY",
      "AWS_SECRET_ACCESS_KEY",
      "GITHUB_TOKEN",
      "NPM_TOKEN",
      "SSH_AUTH_SOCK",
      "NODE_OPTIONS",
      "LD_PRELOAD",
      "HOME",
    ];
    t.deepEqual(
      secrets.filter((secret) => isPassed(pass, secret)),
      [],
    );
    t.true(isPassed(pass, "LC_ALL"));
  });
}

test("The presets differ in what they are for", (t) => {
  t.is(presetPolicy("read-only").workspace.access, "read-only");
  t.is(presetPolicy("agent").workspace.mode, "overlay");
  t.true((presetPolicy("build").limits.processes ?? 0) > (defaultPolicy.limits.processes ?? 0));
  t.true((presetPolicy("agent").limits.outputBytes ?? 0) > 0);
  t.true(isPassed(presetPolicy("build").environment.pass, "CFLAGS"));
});

test("A misspelt preset is refused with the nearest name", (t) => {
  const error = t.throws(() => namedPreset("readonly"), { instanceOf: HoldfastError });
  t.is(error.code, "ERR_HOLDFAST_PRESET_UNKNOWN");
  t.is(error.hint, 'Did you mean "read-only"?');
});

test("What git, shells, editors and agents act on by themselves is protected; what builds write is not", (t) => {
  for (const name of [
    ".git/hooks",
    ".git/config",
    ".git/commondir",
    ".bashrc",
    ".zshenv",
    ".vscode",
    ".claude",
    ".mcp.json",
    ".envrc",
    ".npmrc",
  ]) {
    t.true(protectedNameList.includes(name), name);
  }
  for (const name of [
    "package.json",
    "Makefile",
    ".git/index",
    ".git/objects",
    ".gitignore",
    "node_modules",
    ".cache",
    "AGENTS.md",
  ]) {
    t.false(protectedNameList.includes(name), name);
  }
  t.is(new Set(protectedNameList).size, protectedNameList.length);
  t.true(protectedNames.every((entry) => entry.reason.length > 0));
});

test("The worker's own secrets are passed by no name and no prefix", (t) => {
  t.false(isPassed(["ANTHROPIC_*", "ANTHROPIC_ENVIRONMENT_KEY"], "ANTHROPIC_ENVIRONMENT_KEY"));
  t.true(isPassed(["ANTHROPIC_*"], "ANTHROPIC_BASE_URL"));
});
