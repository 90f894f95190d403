import { readFileSync } from "node:fs";
import test from "ava";
import { parse } from "yaml";
import { parsePolicy, policySchema } from "../../lib/policy/load.ts";
import { presetFile, presets } from "../../lib/policy/presets.ts";
import { schemaFaults } from "./json-schema.ts";

const shipped: unknown = JSON.parse(readFileSync(new URL("../../policy.schema.json", import.meta.url), "utf8"));

test("The JSON schema that the package ships is the one that the readers describe", (t) => {
  // Written by: node -e 'import("./lib/policy/load.ts").then(m => console.log(JSON.stringify(m.policySchema, null, 2)))'
  t.deepEqual(shipped, JSON.parse(JSON.stringify(policySchema)));
});

const protocols = readFileSync(new URL("files/load-protocols.yaml", import.meta.url), "utf8");

const sound: readonly (readonly [string, string])[] = [
  ...(Object.keys(presets) as (keyof typeof presets)[]).map(
    (name) => [`the preset ${name}`, readFileSync(presetFile(name), "utf8")] as const,
  ),
  ["every protocol", `holdfast: 1\n${protocols}`],
  ["ids as text", 'holdfast: 1\nprocess: {run_as_user: "1234", run_as_group: sandbox}\n'],
  ["limits in all their units", 'holdfast: 1\nlimits: {processes: "9", memory: 2097152, cpu-time: 1h, output: none}\n'],
  ["words left empty", 'holdfast: 1\nlandlock: {compatibility: ""}\n'],
  ["names and globs", "holdfast: 1\nprotected_names: {add: [x]}\nextract: [out/**, {glob: x, max_bytes: 1K}]\n"],
];

for (const [title, text] of sound) {
  test(`The schema takes what the parser takes: ${title}`, (t) => {
    t.true(parsePolicy(Buffer.from(text), "p").policy !== null);
    t.deepEqual(schemaFaults(shipped, parse(text)), []);
  });
}

for (const [text, faults] of [
  ["holdfast: 1\nlimts: {}\n", ["$: unknown key limts"]],
  ["holdfast: 2\nversion: 2\n", ["$.holdfast: is not 1", "$.version: is not 1"]],
  ["holdfast: 1\nfilesystem_policy: {read_only: [usr, /a/../b]}\n", ["[0]", "[1]"]],
  ["holdfast: 1\nlimits: {cpu-time: 5, memory: 1GB, processes: 0}\n", ["cpu-time", "memory", "processes"]],
  ["holdfast: 1\nnetwork_policies: {a: {endpoints: [{host: x, port: 70000, protocol: RSET}]}}\n", ["port", "protocol"]],
] as const) {
  test(`The schema refuses what the parser refuses: ${text.split("\n")[1]}`, (t) => {
    t.is(parsePolicy(Buffer.from(text), "p").policy, null);
    const found = schemaFaults(shipped, parse(text)).toSorted();
    t.is(found.length, faults.length, found.join("\n"));
    for (const [index, part] of [...faults].toSorted().entries()) t.true(found[index]?.includes(part), found[index]);
  });
}
