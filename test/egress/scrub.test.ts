import test from "ava";
import fc from "fast-check";
import { BodyReader } from "../../lib/egress/http-body.ts";
import { partOf } from "../../lib/egress/http1-credentials.ts";
import { type Ranges, Scrubber } from "../../lib/egress/scrub.ts";
import { type Needle, needlesOf } from "../../lib/secrets/needles.ts";

const secret = "ghp_0123456789abcdef";
const needle: Needle = { bytes: Buffer.from(secret), filler: Buffer.from("*".repeat(secret.length)) };
const scrubber = (): Scrubber => new Scrubber(() => [needle]);

/** What goes on of a text that comes in pieces. */
function through(pieces: readonly string[], one: Scrubber = scrubber()): string {
  const parts = pieces.map((piece) => one.take(Buffer.from(piece)).toString());
  return [...parts, one.end().toString()].join("");
}

test("A secret is taken out wherever it is cut, but for three characters that may have gone before", (t) => {
  const text = `before ${secret} between ${secret}${secret} after`;
  fc.assert(
    fc.property(fc.array(fc.nat(text.length), { maxLength: 30 }), (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), text.length];
      const pieces = at.slice(1).map((end, index) => text.slice(at[index], end));
      const said = through(pieces);
      return (
        said.length === text.length &&
        !said.includes(secret.slice(3)) &&
        said.startsWith("before ") &&
        said.endsWith(" after")
      );
    }),
  );
  t.is(through([...text]).replaceAll("*", ""), "before ghp between ghpghp after");
  t.is(through([text]), text.replaceAll(secret, "*".repeat(secret.length)));
});

test("Only what begins a secret waits, and goes on when another thing follows or the end does", (t) => {
  const one = scrubber();
  t.is(one.take(Buffer.from("a message that ends in gh")).toString(), "a message that ends in gh");
  t.is(one.take(Buffer.from("and one in ghp_0")).toString(), "and one in ");
  t.is(one.take(Buffer.from("x")).toString(), "ghp_0x");
  t.is(one.take(Buffer.from("ghp_01")).toString(), "");
  t.is(one.end().toString(), "ghp_01");
});

test("A secret is found across the chunks of a transfer coding, which stay as they are", (t) => {
  fc.assert(
    fc.property(fc.nat(secret.length), fc.nat(60), (inner, outer) => {
      const data = [`a${secret.slice(0, inner)}`, `${secret.slice(inner)}b`];
      const framed = data.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`);
      const whole = framed.join("");
      const places = data.map((part, index) => {
        const from = (index === 0 ? 0 : (framed[0]?.length ?? 0)) + part.length.toString(16).length + 2;
        return [from, from + part.length] as const;
      });
      const cut = Math.min(outer, whole.length);
      const within = (from: number, until: number): Ranges =>
        places.flatMap(([a, b]) => {
          const [start, end] = [Math.max(a, from), Math.min(b, until)];
          return start < end ? [[start - from, end - from] as const] : [];
        });
      const one = scrubber();
      const said = [
        one.take(Buffer.from(whole.slice(0, cut)), within(0, cut)),
        one.take(Buffer.from(whole.slice(cut)), within(cut, whole.length)),
        one.end(),
      ].join("");
      const plain = places.map(([from, until]) => said.slice(from, until)).join("");
      return (
        said.length === whole.length && !plain.includes(secret.slice(3)) && plain.startsWith("a") && plain.endsWith("b")
      );
    }),
  );
  t.pass();
});

test("Of one that was sent in Basic nothing is left in base64, whatever it is that it stands behind", (t) => {
  const base64 = (text: string): string => Buffer.from(text).toString("base64");
  for (const more of ["", "g", "gh"]) {
    const word = `0123456789abcdef${more}`;
    const needles = needlesOf(Buffer.from(word), "", true);
    const clean = (text: string): Buffer => Buffer.from(through([text], new Scrubber(() => needles)), "base64");
    for (const user of ["", "a", "ab", "abc"]) {
      const said = clean(base64(`${user}:${word}`));
      t.is(said.toString("latin1"), `${user}:${"\0".repeat(word.length)}`);
    }
    t.is(clean(base64(`${word}:`)).toString("latin1"), `${"\0".repeat(word.length)}:`);
    // Somewhere else what stands beside it has a part in one character at each end.
    const within = clean(base64(`xy${word}z`)).subarray(3, word.length + 1);
    t.deepEqual([...within], Array(word.length - 2).fill(0), more);
  }
});

test("An answer's first bytes, searched as they came, go on as those that were not", (t) => {
  const parts = fc.array(fc.constantFrom("words", secret, secret.slice(0, 9), secret.slice(9)), {
    minLength: 1,
    maxLength: 5,
  });
  const through = (wire: string, cut: number, isSearched: boolean): string => {
    const scrub = scrubber();
    const body = new BodyReader({ kind: "chunked" }, 502);
    const first = Buffer.from(wire.slice(0, cut));
    const isClean = isSearched && scrub.isClean(first);
    const said = [partOf(body, scrub, first, 0, isClean).bytes.toString()];
    said.push(partOf(body, scrub, Buffer.from(wire.slice(cut)), 0).bytes.toString());
    return said.join("") + scrub.end().toString();
  };
  fc.assert(
    fc.property(parts, fc.nat(200), (chunks, at) => {
      const wire = `${chunks.map((each) => `${each.length.toString(16)}\r\n${each}\r\n`).join("")}0\r\n\r\n`;
      const cut = Math.min(at, wire.length);
      return through(wire, cut, true) === through(wire, cut, false);
    }),
  );
  const whole = (text: string): string => {
    const wire = `${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`;
    return through(wire, wire.length, true);
  };
  t.true(whole(`a${secret}`).includes(`a${"*".repeat(secret.length)}`));
  t.true(whole("words").includes("words"));
});
