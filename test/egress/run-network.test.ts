// `holdfast run` with what its flags say of the network, in a network of the test's own.
import { testsOf } from "./world-tests.ts";

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const { found, inThatWorld } = testsOf<Readonly<Record<string, Ran>>>("commanded.ts");

inThatWorld(
  "--allow HOST:PORT/PATH carries requests for that path, by any method, and answers others with 403",
  (t) => {
    const { stdout, stderr } = found["--allow PATH"] as Ran;
    t.deepEqual(stdout.trim().split("\n"), ["GET /x", "DELETE /x/y?z=1", "403"]);
    t.regex(stderr, /refused .*GET \/y at api\.example\.test:80 .*; --allow api\.example\.test:80\/y\n/);
  },
);
