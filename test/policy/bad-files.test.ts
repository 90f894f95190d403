import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { HoldfastError } from "../../lib/errors.ts";
import { largestPolicy } from "../../lib/policy/document.ts";
import { loadPolicy, parsePolicy } from "../../lib/policy/load.ts";
import { PolicyInvalidError } from "../../lib/policy/problem.ts";
import { errors, sound } from "./policy-text.ts";

const bytes = (...parts: readonly (string | readonly number[])[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === "string" ? Buffer.from(part) : Uint8Array.from(part))));

const files: readonly (readonly [string, string | Uint8Array, readonly string[]])[] = [
  ["an empty file", "", ['1:1: the policy is empty (the shortest policy is "holdfast: 1")']],
  ["nothing but comments", "# later\n\n", ['1:1: the policy is empty (the shortest policy is "holdfast: 1")']],
  ["a list", "- a\n", ["1:1: a policy is a map of keys, not a list"]],
  ["a word", "hello\n", ["1:1: a policy is a map of keys, not a value"]],
  [
    "a duplicate key",
    "holdfast: 1\nlimits: {}\nlimits: {}\n",
    ['3:1: the key "limits" is there twice (first on line 2)'],
  ],
  [
    "duplicate keys inside, beside another problem",
    "holdfast: 1\nlimits: {memory: 1G, memory: 2G, memroy: 1G}\n",
    [
      '2:22: the key "memory" is there twice (first on line 2)',
      '2:34: unknown key "memroy" in limits (did you mean "memory"?)',
    ],
  ],
  ["a number as a key", "holdfast: 1\n7: x\n", ["2:1: a key must be a string (put it in quotes)"]],
  ["a map as a key", "holdfast: 1\n? {a: 1}\n: x\n", ["2:3: a key must be a string (put it in quotes)"]],
  ["an alias without an anchor", "holdfast: 1\nlimits: *gone\n", ["2:9: the alias *gone has no anchor before it"]],
  ["an alias of itself", "holdfast: 1\nlimits: &a {memory: *a}\n", ["2:21: the alias *a contains itself"]],
  [
    "a merge key",
    "holdfast: 1\nlimits: {<<: {memory: 1G}}\n",
    [
      '2:10: unknown key "<<" in limits (known: processes, memory, cpu-time, wall-time, open-files, file-size, tmp-size, output)',
    ],
  ],
  ["a known tag", 'holdfast: !!int "1"\n', ["1:17: a policy has no tags: !!int (leave it out)"]],
  ["a tag", "holdfast: !one 1\n", ["1:11: not valid YAML: unresolved tag: !one"]],
  ["several documents", "holdfast: 1\n---\nholdfast: 1\n", ["2:1: a policy is one document, and another begins here"]],
  [
    "broken YAML",
    'holdfast: 1\nlimits: {memory: "1G\n',
    ["2:18: not valid YAML: the quote that begins here is not closed"],
  ],
  [
    "tabs on several lines",
    "holdfast: 1\nlimits:\n\tmemory: 1G\n\toutput: 1G\n",
    ["3:1: not valid YAML: tabs are not allowed as indentation"],
  ],
  [
    "a word in the place of a list, in flow style",
    "holdfast: 1\nrequires: [seccomp\ntools: [bash]\nextract: [x]\n",
    ["3:1: not valid YAML: flow sequence in block collection must be sufficiently indented and end with a ]"],
  ],
  [
    "a key that an alias repeats twice",
    "holdfast: 1\nextract: [&a {glob: x, glob: y}, *a]\n",
    ['2:24: the key "glob" is there twice (first on line 2)'],
  ],
  ["Latin-1", bytes("holdfast: 1\n# caf", [0xe9], "\n"), ["2:6: the policy is not UTF-8: byte 0xe9 at offset 17"]],
  [
    "Latin-1 after other letters",
    bytes("# \u00e9\u20ac\u{1f512}", [0xff]),
    ["1:6: the policy is not UTF-8: byte 0xff at offset 11"],
  ],
  [
    "a letter cut off at the end",
    bytes("holdfast: 1\n", [0xe2, 0x82]),
    ["2:1: the policy is not UTF-8: byte 0xe2 at offset 12"],
  ],
  ["UTF-16", bytes([0xff, 0xfe, 0x68, 0x00]), ["1:1: the policy is not UTF-8: byte 0xff at offset 0"]],
  ["a NUL", "holdfast: 1\nlimits\0: {}\n", ["2:7: the policy holds a control character (0x00)"]],
  ["more than 1 MiB", "#".repeat(largestPolicy + 1), ["1:1: the policy is larger than 1048576 bytes (1 MiB)"]],
  [
    "an escape sequence for a terminal in a key",
    'holdfast: 1\n"\\e[2Jx": 1\n',
    [
      '2:1: unknown key "\\u001b[2Jx" (known: holdfast, version, filesystem_policy, landlock, process, network_policies, network_middlewares, limits, environment, protected_names, requires, workspace, tools, extract, dns, upstream_proxy, credentials, inference, leak_guard)',
    ],
  ],
];

for (const [title, content, expected] of files) {
  test(`Refused at its place: ${title}`, (t) => {
    t.deepEqual(errors(content), expected);
    t.is(parsePolicy(typeof content === "string" ? Buffer.from(content) : content, "p").policy, null);
  });
}

test("A byte order mark and Windows line ends are tolerated, and places still count", (t) => {
  t.deepEqual(sound("\ufeffholdfast: 1\r\nlimits:\r\n  memory: 1G\r\n").limits.memoryBytes, 1024 ** 3);
  t.deepEqual(errors("\ufeffholdfst: 1\r\nlimits: {}\r\n"), ['1:1: unknown key "holdfst" (did you mean "holdfast"?)']);
});

test("All problems of a file are told at once, in its order", (t) => {
  const text = `holdfast: 1
filesystem_policy:
  read_only: [usr, /a/../b]
  read_write: [/]
landlock: {compatibility: maybe}
limits: {memory: 0, processes: many}
requires: [secomp]
`;
  t.deepEqual(
    errors(text).map((error) => error.split(" ")[0]),
    ["3:15:", "3:20:", "4:16:", "5:27:", "6:18:", "6:32:", "7:12:"],
  );
});

test("Aliases are resolved, as often as a policy could want", (t) => {
  const text =
    "holdfast: 1\nfilesystem_policy:\n  read_only: &system [/usr, /lib]\n  read_write: []\nextract: [&all out/**, *all]\n";
  t.is(sound(text).extract.length, 2);
});

test("An alias stands for the last anchor of its name before it", (t) => {
  const text = "holdfast: 1\nlimits: {memory: &a 1G, file-size: *a, tmp-size: &a 2G, output: *a}\n";
  const { limits } = sound(text);
  t.is(limits.fileSizeBytes, 1024 ** 3);
  t.is(limits.outputBytes, 2 * 1024 ** 3);
});

const hostile: readonly (readonly [string, string])[] = [
  [
    "aliases of aliases of aliases",
    `holdfast: 1\na: &a [x,x,x,x,x,x,x,x,x]\n${[..."bcdefghij"]
      .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${"abcdefghij"[index]}`)}]\n`)
      .join("")}`,
  ],
  ["fifty thousand aliases", `holdfast: 1\na: &a [1]\nb: [${Array(50_000).fill("*a").join(",")}]\n`],
  ["twenty thousand keys", `holdfast: 1\n${Array.from({ length: 20_000 }, (_, index) => `k${index}: 1\n`).join("")}`],
  ["lists in lists", "[".repeat(100_000)],
  ["maps in maps", "{a: ".repeat(100_000)],
  ["dashes", "- ".repeat(200_000)],
  ["quotes", '"'.repeat(200_000)],
  [
    "paths whose wildcards could meet in countless ways",
    `version: 1\nnetwork_policies: {a: {endpoints: [${["a", "b"]
      .map((letter) => `{host: x, port: 1, path: "/${`*${letter}`.repeat(3000)}", protocol: rest, tls: ${letter}}`)
      .join(",")}]}}\n`
      .replace("tls: a", "enforcement: enforce")
      .replace("tls: b", "access: full"),
  ],
];

for (const [title, text] of hostile) {
  test(`Refused in bounded time: ${title}`, (t) => {
    const start = performance.now();
    const { policy, problems } = parsePolicy(Buffer.from(text), "p");
    t.is(policy, null);
    t.true(problems.length <= 101);
    // Seconds on two busy cores; what this guards against is minutes.
    t.true(performance.now() - start < 20_000);
  });
}

test("A message is cut where the file makes it endless", (t) => {
  const key = "k".repeat(100_000);
  for (const text of [
    `holdfast: 1\nlimits: {memory: ${"9".repeat(100_000)}}\n`,
    `version: 1\nnetwork_policies: {${key}: {endpoints: [{prot: 1}]}}\n`,
    `holdfast: 1\nlimits: {output: ${key}}\n`,
  ]) {
    for (const { message } of parsePolicy(Buffer.from(text), "p").problems) t.true(message.length < 700);
  }
});

test("More problems than a screen holds are counted", (t) => {
  const text = `holdfast: 1\nrequires: [${Array(500).fill("wall").join(", ")}]\n`;
  const { problems } = parsePolicy(Buffer.from(text), "p");
  t.is(problems.length, 101);
  t.is(problems.at(-1)?.message, "and 400 more problems");
});

test.serial("loadPolicy throws every problem as file:line:column, and nothing for warnings", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-policy-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "p.yaml");
  writeFileSync(path, "holdfast: 1\nlimts: {}\ntools: [bsh]\n");
  const error = t.throws(() => loadPolicy(path), { instanceOf: PolicyInvalidError });
  t.is(error.code, "ERR_HOLDFAST_POLICY_INVALID");
  t.is(error.exitCode, 125);
  t.deepEqual(error.message.split("\n"), [
    `${path}:2:1: unknown key "limts" (did you mean "limits"?)`,
    `${path}:3:9: tools[0] must be bash, read, write, edit, glob or grep, not "bsh" (did you mean "bash"?)`,
  ]);
  t.is(error.problems.length, 2);
  writeFileSync(path, "version: 1\n");
  t.is(loadPolicy(path).dialect, "openshell");
});

test("A policy that cannot be read says why", (t) => {
  for (const [path, reason] of [
    ["/nonexistent/p.yaml", "there is no such file"],
    [tmpdir(), "it is a folder"],
  ] as const) {
    const error = t.throws(() => loadPolicy(path), { instanceOf: HoldfastError });
    t.is(error.code, "ERR_HOLDFAST_POLICY_UNREADABLE");
    t.is(error.message, `cannot read the policy ${path}: ${reason}`);
  }
});

test("A file without an end is refused for its size", (t) => {
  const error = t.throws(() => loadPolicy("/dev/zero"), { instanceOf: PolicyInvalidError });
  t.is(error.message, "/dev/zero:1:1: the policy is larger than 1048576 bytes (1 MiB)");
});
