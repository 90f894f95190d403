import test from "ava";
import fc from "fast-check";
import { openSession } from "./session.ts";

test.serial("Whatever the input is, every tool answers with a text", async (t) => {
  const session = await openSession(t, { callTimeoutMs: 5000 });
  const broken: unknown[] = [null, undefined, "text", 5, true, [], [1], () => 1, new Map()];
  for (const name of session.tools.names) {
    for (const input of broken) {
      const { text, isError } = await session.run(name, input);
      t.true(isError, name);
      t.regex(text, / is required$/);
    }
  }
  const properties = ["command", "file_path", "content", "old_string", "new_string", "pattern", "path", "view_range"];
  for (const value of [0, 5, true, {}, [], ["a"], { toString: 1 }]) {
    for (const name of session.tools.names) {
      const { text, isError } = await session.run(name, Object.fromEntries(properties.map((key) => [key, value])));
      t.true(isError, `${name} ${JSON.stringify(value)}`);
      t.regex(text, /(must be a string|is required)$/);
    }
  }
});

test.serial("A flag or a number of another type is refused, not passed over", async (t) => {
  const session = await openSession(t);
  await session.bash("x=1; echo 'a a' > f");
  const edit = { file_path: "f", old_string: "a", new_string: "b" };
  for (const value of ["false", "true", 1, 0, [], {}]) {
    t.is((await session.run("edit", { ...edit, replace_all: value })).text, "edit: replace_all must be true or false");
    t.is((await session.run("bash", { command: "x=2", restart: value })).text, "bash: restart must be true or false");
  }
  t.is((await session.run("bash", { command: "x=2", timeout_ms: "5" })).text, "bash: timeout_ms must be a number");
  t.is((await session.run("bash", { command: "cat f; echo $x", restart: null, timeout_ms: null })).text, "a a\n1");
});

test.serial("Odd texts in any place come to well-formed results", async (t) => {
  const session = await openSession(t);
  const odd = fc.string({ unit: "binary", maxLength: 30 });
  const input = fc.record(
    {
      file_path: odd,
      content: odd,
      old_string: odd,
      new_string: odd,
      view_range: fc.anything(),
      replace_all: fc.anything(),
    },
    { requiredKeys: [] },
  );
  const check = fc.assert(
    fc.asyncProperty(fc.constantFrom("read", "write", "edit"), input, async (tool, value) => {
      const { text } = await session.run(tool, value);
      return text.length > 0 && text.isWellFormed();
    }),
    { numRuns: 300 },
  );
  await t.notThrowsAsync(check);
});

test.serial("Odd patterns come to well-formed results", async (t) => {
  const session = await openSession(t);
  await session.bash("mkdir d; echo text > d/f; echo text > .h");
  const odd = fc.oneof(
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.string({ unit: fc.constantFrom(..."*?[]{}(),!+@|a./^$\\-") }),
  );
  const check = fc.assert(
    fc.asyncProperty(fc.constantFrom("glob", "grep"), odd, async (tool, pattern) => {
      const { text } = await session.run(tool, { pattern });
      return text.length > 0 && text.isWellFormed() && !text.includes("search failed");
    }),
    { numRuns: 60 },
  );
  await t.notThrowsAsync(check);
});

test.serial("Lone surrogates become replacement characters", async (t) => {
  const session = await openSession(t);
  t.is((await session.run("read", { file_path: "\ud800" })).text, "read: \uFFFD: no such file or directory");
  t.is((await session.run("bash", { command: "echo '\udc00'" })).text, "\uFFFD");
  t.is((await session.run("write", { file_path: "f", content: "\ud800" })).text, "wrote 3 bytes to f");
});

test.serial("A tool that does not exist, and a sandbox that has gone, are answers too", async (t) => {
  const errors: unknown[] = [];
  const session = await openSession(t, { onInternalError: (_tool, error) => errors.push(error) });
  t.deepEqual(await session.run("web_search", {}), { text: 'unknown tool "web_search"', isError: true });
  await session.bash("echo up");
  await session.sandbox.dispose();
  for (const [tool, input] of [
    ["read", { file_path: "f" }],
    ["write", { file_path: "f", content: "" }],
    ["glob", { pattern: "*" }],
    ["grep", { pattern: "x" }],
  ] as const) {
    const { text, isError } = await session.run(tool, input);
    t.deepEqual([text, isError], ["Error: the sandbox could not do this (ERR_HOLDFAST_SANDBOX_GONE)", true]);
  }
  t.is(errors.length, 4);
  t.true((await session.run("bash", { command: "echo down" })).isError);
});

test.serial("The tools are described by name and schema", async (t) => {
  const session = await openSession(t);
  t.deepEqual(session.tools.names, ["bash", "read", "write", "edit", "glob", "grep"]);
  const required = Object.fromEntries(session.tools.definitions.map((tool) => [tool.name, tool.input_schema.required]));
  t.deepEqual(required, {
    bash: undefined,
    read: ["file_path"],
    write: ["file_path", "content"],
    edit: ["file_path", "old_string", "new_string"],
    glob: ["pattern"],
    grep: ["pattern"],
  });
});
