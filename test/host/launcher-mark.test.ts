import test from "ava";
import { isAlive, launcherMark, markPattern } from "../../lib/host/launcher-mark.ts";

test("What a launcher left is told from what one has that lives, or that may live where this one cannot see", (t) => {
  const mark = launcherMark();
  t.regex(mark, new RegExp(`^${markPattern}$`));
  t.true(isAlive(mark));
  const [pid, start, namespace] = mark.split(".");
  t.false(isAlive(`${pid}.${Number(start) + 1}.${namespace}`));
  t.false(isAlive(`${pid}.${Number(start) + 1}`));
  t.true(isAlive(`${pid}.${Number(start) + 1}.${Number(namespace) + 1}`));
});
