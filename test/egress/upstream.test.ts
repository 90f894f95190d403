// Where granted names lead: this host, name servers and proxies that the test starts, in a network of its own.
import test, { type ExecutionContext } from "ava";
import { inWorld, missingForWorld } from "./world.ts";

const missing = missingForWorld();
const found = missing === null ? (inWorld("outside.ts") as Record<string, Record<string, string>>) : {};

function inThatWorld(title: string, look: (t: ExecutionContext) => void): void {
  test(title, (t) => {
    if (missing === null) return look(t);
    t.log(`skipped: ${missing}`);
    t.pass();
  });
}

const reset = "reset";

inThatWorld(
  "This host's loopback is reached by its own names, where they are granted exactly, and by nothing else",
  (t) => {
    t.deepEqual(found["this host"], {
      "host.holdfast.internal": "got host",
      "host.docker.internal": "got host",
      "host.openshell.internal": reset,
      "host.containers.internal": reset,
      "loopback.example.test": reset,
      "127.0.0.1": "ConnectionRefusedError",
    });
    t.deepEqual(found["this host's other port"], { "host.holdfast.internal": reset });
    t.regex(found["details"]?.["host.openshell.internal"] ?? "", /127\.0\.0\.1 is not in the endpoint's allowed_ips/);
    t.regex(found["details"]?.["host.containers.internal"] ?? "", /never dialled/);
  },
);
