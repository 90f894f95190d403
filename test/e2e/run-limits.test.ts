import test from "ava";
import { folder, shell } from "./holdfast.ts";

test("Output beyond its limit is told also when the command had ended before it was read", async (t) => {
  const cwd = folder(t);
  for (const script of ["echo 1234567890", "printf 12345; printf 67890 >&2"]) {
    const result = await shell(t, script, { cwd }, ["--limit", "output=8", "--status-fd", "3"]);
    t.is(result.status, 137, script);
    t.regex(result.stderr, /the limit output was reached/);
    t.like(result.lines.at(-1), { event: "exited", status: 137, limit: "output" });
  }
  const all = await shell(t, "printf 12345; printf 678 >&2", { cwd }, ["--limit", "output=8", "--status-fd", "3"]);
  t.is(all.status, 0);
  t.like(all.lines.at(-1), { status: 0, limit: null });
});
