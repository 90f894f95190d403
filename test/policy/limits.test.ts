import test from "ava";
import fc from "fast-check";
import { HoldfastError } from "../../lib/errors.ts";
import { applyLimit, limitNames, parseDuration, parseLimit, parseSize } from "../../lib/policy/limits.ts";

/** What a refusal says: its message and its hint. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (HoldfastError.is(error) && error.code === "ERR_HOLDFAST_LIMIT_INVALID")
      return `${error.message} | ${error.hint}`;
    throw error;
  }
  return "accepted";
}

test("Sizes are powers of 1024 or bytes", (t) => {
  t.deepEqual(["64K", "512M", "2G", "1T", "4096"].map(parseSize), [
    65_536,
    536_870_912,
    2_147_483_648,
    1024 ** 4,
    4096,
  ]);
});

test("Durations have a unit", (t) => {
  t.deepEqual(["500ms", "30s", "5m", "2h"].map(parseDuration), [500, 30_000, 300_000, 7_200_000]);
});

test("What is not a size is refused with what to write", (t) => {
  t.is(
    refusal(() => parseSize("1.5G")),
    '"1.5G" is not a size: fractions are not accepted | Write 1536M.',
  );
  t.is(
    refusal(() => parseSize("0.3K")),
    '"0.3K" is not a size: fractions are not accepted | A size is a whole number of bytes, or one with K, M, G or T: 64K, 512M, 2G.',
  );
  t.is(
    refusal(() => parseSize("2GB")),
    '"2GB" is not a size | Write 2G.',
  );
  t.is(
    refusal(() => parseSize("2 GiB")),
    '"2 GiB" is not a size | Write 2G.',
  );
  t.is(
    refusal(() => parseSize("512m")),
    '"512m" is not a size | Write 512M.',
  );
  t.is(
    refusal(() => parseSize("0")),
    '"0" is 0 | Write a value above 0.',
  );
  t.regex(
    refusal(() => parseSize("lots")),
    /^"lots" is not a size \| A size is a whole number/,
  );
  t.regex(
    refusal(() => parseSize("")),
    /^"" is not a size/,
  );
  t.regex(
    refusal(() => parseSize("-1G")),
    /^"-1G" is not a size/,
  );
  t.regex(
    refusal(() => parseSize("9007199254740993")),
    /is too large/,
  );
  t.regex(
    refusal(() => parseSize("9999999T")),
    /is too large/,
  );
});

test("What is not a duration is refused with what to write", (t) => {
  t.is(
    refusal(() => parseDuration("30")),
    '"30" is not a duration: it has no unit | Write 30s for seconds.',
  );
  t.is(
    refusal(() => parseDuration("1.5h")),
    '"1.5h" is not a duration: fractions are not accepted | Write 90m.',
  );
  t.is(
    refusal(() => parseDuration("0.25s")),
    '"0.25s" is not a duration: fractions are not accepted | Write 250ms.',
  );
  t.regex(
    refusal(() => parseDuration("2d")),
    /^"2d" is not a duration \| A duration is a whole number with ms/,
  );
  t.is(
    refusal(() => parseDuration("0s")),
    '"0s" is 0 | Write a value above 0.',
  );
  t.regex(
    refusal(() => parseDuration("1000h")),
    /is too large/,
  );
});

test("A limit is set by its name, and taken away by none", (t) => {
  t.deepEqual(parseLimit("wall-time", "30s"), { wallTimeMs: 30_000 });
  t.deepEqual(applyLimit({ processes: 8, openFiles: 64 }, "processes", "9"), { processes: 9, openFiles: 64 });
  t.deepEqual(applyLimit({ processes: 8, openFiles: 64 }, "processes", "none"), { openFiles: 64 });
});

test("A limit that is not one is refused with what to write", (t) => {
  t.is(
    refusal(() => parseLimit("cpu_tiem", "1s")),
    'there is no limit "cpu_tiem" | Did you mean "cpu-time"?',
  );
  t.regex(
    refusal(() => parseLimit("zzzz", "1s")),
    /^there is no limit "zzzz" \| Known: processes, memory/,
  );
  t.is(
    refusal(() => parseLimit("processes", "0")),
    "processes cannot be 0 | Write none for no limit.",
  );
  t.is(
    refusal(() => parseLimit("processes", "-4")),
    'processes cannot be negative: "-4" | Write none for no limit.',
  );
  t.is(
    refusal(() => parseLimit("processes", "4K")),
    'processes: "4K" is not a count | A count is a whole number: 64.',
  );
  t.is(
    refusal(() => parseLimit("processes", "5000000")),
    "processes is 5000000, which is too large | At most 4194304, or none.",
  );
  t.is(
    refusal(() => parseLimit("memory", "512")),
    "memory is 512 bytes, less than any process needs | At least 1048576; did you mean 512M?",
  );
  t.is(
    refusal(() => parseLimit("cpu-time", "90")),
    'cpu-time: "90" is not a duration: it has no unit | Write 90s for seconds.',
  );
  t.is(
    refusal(() => parseLimit("wall-time", "600h")),
    "wall-time is 600h, which is too large | At most 596h, or none.",
  );
});

test("Every accepted value is a whole number above 0, whatever was written", (t) => {
  const value = fc.oneof(fc.string(), fc.stringMatching(/^[-+]?\d{1,20}(\.\d+)?(ms|[smhKMGT])?$/));
  fc.assert(
    fc.property(fc.constantFrom(...limitNames), value, (name, text) => {
      const said = refusal(() => {
        for (const number of Object.values(parseLimit(name, text))) {
          if (!Number.isSafeInteger(number) || number <= 0) throw new Error(`${name}=${text} gave ${number}`);
        }
      });
      return said.length > 0;
    }),
  );
  t.pass();
});
