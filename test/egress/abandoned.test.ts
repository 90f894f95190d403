import test from "ava";
import { AbandonedRequests } from "../../lib/egress/abandoned.ts";

test("Who takes back a hundred requests at once is not held back, and who takes back more goes on in its turn", async (t) => {
  const abandoned = new AbandonedRequests();
  t.teardown(() => abandoned.close());
  let went = 0;
  const go = (): void => void went++;
  for (let i = 0; i < 99; i++) {
    abandoned.add();
    abandoned.next(go);
  }
  t.is(went, 99);
  // As many as a machine that does other things cannot give back meanwhile.
  for (let i = 0; i < 300; i++) abandoned.add();
  const turns: string[] = [];
  const began = performance.now();
  const last = new Promise<void>((resolve) => {
    abandoned.next(() => turns.push("first"));
    abandoned.next(() => {
      turns.push("second");
      resolve();
    });
  });
  t.deepEqual(turns, []);
  // What is held back holds nothing back: its timer alone keeps no process alive.
  const alive = setInterval(() => {}, 1000);
  await last;
  clearInterval(alive);
  t.deepEqual(turns, ["first", "second"]);
  t.true(performance.now() - began > 1000);
  abandoned.next(go);
  t.is(went, 100);
});
