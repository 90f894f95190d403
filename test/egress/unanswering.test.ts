// Servers that take no connection or say nothing on it, and name servers that are silent: each costs those who ask it alone.
import test, { type ExecutionContext } from "ava";
import { addresses, inWorld, missingForWorld } from "./world.ts";

interface Found {
  /** A hundred requests on one connection, and ten on one each, in milliseconds; so where numbers are. */
  readonly alone: readonly number[];
  readonly deaf: readonly string[];
  readonly unreached: readonly string[];
  /** Bytes of the launcher. */
  readonly grown: number;
  readonly gone: string;
  readonly dialled: number;
  readonly "dialled after its end": number;
  readonly names: string;
  readonly questions: boolean;
  readonly [title: string]: unknown;
}

const missing = missingForWorld();
// Its only name server is one of the script's.
const setUp = [
  `printf 'nameserver ${addresses.other}\\noptions timeout:5 attempts:1\\n' > /dev/shm/resolv.conf`,
  "mount --bind /dev/shm/resolv.conf /etc/resolv.conf",
];

for (const mode of ["namespaces", "landlock"]) {
  const found = (missing === null ? inWorld("unanswering.ts", { args: [mode], setUp }) : {}) as Found;
  const holds = (title: string, look: (t: ExecutionContext) => void): void =>
    test(`${title} (${mode})`, (t) => {
      if (missing === null) return look(t);
      t.log(`skipped: ${missing}`);
      t.pass();
    });

  holds("A server that takes no connection is said to be one, once its time is over and not twice", (t) => {
    const refuses = (port: number): string => `${addresses.other}:${port} does not answer`;
    const [either = "", plain = "", raw] = found.deaf;
    t.regex(either, new RegExp(`^\\d+ 502 .*"upstream_unreachable".*${refuses(443)}`));
    t.regex(plain, new RegExp(`^\\d+ 502 .*"upstream_unreachable".*${refuses(80)}`));
    t.is(raw, "ConnectionResetError");
    t.deepEqual([...found.unreached].sort(), [443, 7, 80].map(refuses).sort());
    // What its server speaks has to be asked for the first.
    t.true(Number.parseInt(either, 10) < 1.6 * Number.parseInt(plain, 10), `${either}\n${plain}`);
  });

  holds("Servers that take no connection, or say nothing on it, leave all others their speed, and cost little", (t) => {
    for (const where of ["beside the deaf", "beside the silent", "elsewhere", "elsewhere, dialling"]) {
      for (const [index, took] of (found[where] as readonly number[]).entries()) {
        // The machine does other things as well.
        t.true(took < 10 * (found.alone[index] ?? 0) + 1000, `${where}: ${took} ms instead of ${found.alone[index]}`);
      }
    }
    t.true(found.grown < 60_000_000, `${found.grown} bytes`);
  });

  holds(
    "Servers are dialled for no more clients than there may be, also where those have gone, and not beyond the end",
    (t) => {
      t.is(found.gone, "gone");
      // There may be 1024, and four times as many asked.
      t.true(found.dialled > 500 && found.dialled <= 1024, `${found.dialled}`);
      t.is(found["dialled after its end"], 0);
    },
  );

  holds("A name is found while forty others wait for a name server that is silent", (t) => {
    t.is(found.names, "good.example.test hello");
    t.true(found.questions);
  });
}
