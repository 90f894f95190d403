// What coverage-guided fuzzing kept (npm run fuzz) holds for each parser; and the fuzzer finds a fault that is there.
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import test from "ava";
import fc from "fast-check";
import { readCorpus } from "./corpus.ts";
import { agreeOnAnswers, agreeOnRequests } from "./http-agreement.ts";
import { nodeReads } from "./node-http.ts";
import { targets } from "./targets.ts";

for (const [name, { run, seeds }] of Object.entries(targets)) {
  test(`What was kept for ${name} holds`, (t) => {
    const inputs = [...seeds.map((seed) => Buffer.from(seed as string, "latin1")), ...readCorpus(name)];
    t.true(inputs.length > seeds.length, "nothing was kept");
    for (const input of inputs) t.notThrows(() => run(input), JSON.stringify(input.toString("latin1")));
  });
}

/** Heads that are right or nearly so; their pieces are what readers have differed over. */
const line = fc.constantFrom(
  "Content-Length: 3",
  "Content-Length: 0",
  "Content-Length: 03",
  "Content-Length: 3, 3",
  "Content-Length : 3",
  "content-length:3 ",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: Chunked ",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding:\x0bchunked",
  "A: b",
  "A:",
  "A: \t b \t",
  " A: b",
  "\tB: c",
  "A : b",
  "A\0: b",
  "A: b\rC: d",
  "A: b\nC: d",
  "X: \x80\xff",
  "Connection: close",
  "Connection: keep-alive, Upgrade",
  "Connection: x, y",
  "Upgrade: websocket",
  "Expect: 100-continue",
  "TE: trailers",
  "Trailer: T",
);
const body = fc.constantFrom(
  "",
  "abc",
  "3\r\nabc\r\n0\r\n\r\n",
  "03\r\nabc\r\n000\r\nT: x\r\n\r\n",
  "3\nabc\n0\n\n",
  "3;x\r\nabc\r\n0\r\n\r\n",
  "3 \r\nabc\r\n0\r\n\r\n",
  "0x3\r\nabc\r\n0\r\n\r\n",
  "3\r\nabcd\r\n0\r\n\r\n",
  "0\r\nHost: x\r\n\r\n",
);
const requestStart = fc.constantFrom(
  "GET / HTTP/1.1",
  "POST /a/../b;c?d HTTP/1.1",
  "POST http://h/x HTTP/1.1",
  "PURGE /a HTTP/1.0",
  "X-OWN /a HTTP/1.1",
  "GET  / HTTP/1.1",
  "GET /\x7f HTTP/1.1",
  "GET / HTTP/1.2",
);
const answerStart = fc.constantFrom(
  "HTTP/1.1 200 OK",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 304",
  "HTTP/1.1 103 Early Hints",
  "HTTP/1.0 200 OK",
  "HTTP/1.1  200 OK",
  "HTTP/1.1 20 OK",
);

for (const [what, start, agree, host] of [
  ["requests", requestStart, agreeOnRequests, ["Host: h"]],
  ["answers", answerStart, agreeOnAnswers, []],
] as const) {
  test(`Node's own parser reads the ${what} that ours does, as the same, with the same ends, however they are cut`, (t) => {
    const message = fc.tuple(start, fc.array(line, { maxLength: 4 }), body);
    let taken = 0;
    fc.assert(
      fc.property(fc.array(message, { minLength: 1, maxLength: 3 }), fc.nat(), (messages, seed) => {
        const text = messages.map(
          ([first, lines, rest]) => `${[first, ...host, ...lines].map((each) => `${each}\r\n`).join("")}\r\n${rest}`,
        );
        taken += agree(Buffer.from(text.join(""), "latin1"), seed);
      }),
      { numRuns: 1000 },
    );
    t.true(taken > 120, `only ${taken} were taken`);
  });
}

test("The oracle is strict, and sees where a message ends", (t) => {
  const read = nodeReads("request", [
    Buffer.from("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
  ]);
  t.deepEqual(
    read.messages.map(({ url, isDone }) => [url, isDone]),
    [
      ["/", true],
      ["/b", true],
    ],
  );
  for (const bad of [
    "Content-Length: 1\r\nContent-Length: 1",
    "Transfer-Encoding: chunked\r\nContent-Length: 1",
    " A: b",
  ])
    t.truthy(nodeReads("request", [Buffer.from(`POST / HTTP/1.1\r\nHost: h\r\n${bad}\r\n\r\n`)]).error);
});

test("The fuzzer runs, and is guided", (t) => {
  const { stdout, status } = spawnSync(process.execPath, [join(import.meta.dirname, "run.ts"), "dns", "--time", "1s"], {
    encoding: "utf8",
  });
  t.is(status, 0, stdout);
  const [, branches, kept] = /^dns: \d+ inputs, (\d+) branches, (\d+) kept\n$/.exec(stdout) ?? [];
  t.true(Number(branches) > 20 && Number(kept) > 5, stdout);
});
