import test from "ava";
import { BusyPoll } from "../../lib/egress/busy-poll.ts";

/** A poll by a clock and a loop of its own. */
function polled(cpus = 2): {
  readonly poll: BusyPoll;
  /** Lets time pass. @returns how often the loop was kept awake */
  readonly wait: (ms: number) => number;
} {
  let now = 0;
  let due: (() => void)[] = [];
  const poll = new BusyPoll({ cpus, now: () => now, soon: (again) => void due.push(again) });
  const wait = (ms: number): number => {
    let turns = 0;
    const end = now + ms;
    for (; now < end; now += 0.01) {
      const those = due;
      due = [];
      turns += those.length;
      for (const again of those) again();
    }
    return turns;
  };
  return { poll, wait };
}

const one = {};
const other = {};

test("a flow on which one thing quickly follows the other keeps the loop awake, and no longer than it is quick", (t) => {
  const { poll, wait } = polled();
  const turns = Array.from({ length: 20 }, () => {
    poll.passed(one);
    return wait(0.1);
  });
  t.is(turns[0], 0, "nothing is known of it yet");
  t.true((turns.at(-1) ?? 0) >= 9);
  t.true(wait(1) <= 16, "a quarter of a millisecond");
  t.is(wait(10), 0);
  poll.passed(one);
  t.is(wait(10), 0, "it was slow once, and has to be quick again before it is waited for");
});

test("a flow whose client or server takes its time is slept for", (t) => {
  const { poll, wait } = polled();
  const turns = Array.from({ length: 50 }, () => {
    poll.passed(one);
    return wait(0.4);
  });
  t.is(Math.max(...turns), 0);
});

test("two flows that are busy at once are not waited for: there is always something to do, or others need the processor", (t) => {
  const { poll, wait } = polled();
  const turns = Array.from({ length: 50 }, (_, i) => {
    poll.passed(i % 2 === 0 ? one : other);
    return wait(0.05);
  });
  t.is(Math.max(...turns), 0);
});

test("with a single processor nothing is waited for so", (t) => {
  const { poll, wait } = polled(1);
  const turns = Array.from({ length: 50 }, () => {
    poll.passed(one);
    return wait(0.05);
  });
  t.is(Math.max(...turns), 0);
});
