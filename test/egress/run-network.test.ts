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

inThatWorld("What is permitted and not reached is told apart from what is refused, with why", (t) => {
  const { stdout, stderr } = found["not reached"] as Ran;
  t.deepEqual(stdout.trim().split("\n"), ["no connection", "no connection", "502", "no connection"]);
  const told = stderr.split("\n").map((line) => (line === "" ? {} : JSON.parse(line)));
  const { denials, unreached } = told.find(({ event }) => event === "exited");
  t.deepEqual(
    denials.map(({ subject }: { subject: string }) => subject),
    ["metadata.example.test"],
  );
  const refuses = (port: number): string => `93.184.216.34:${port} refuses connections`;
  t.like(
    unreached.map(({ subject, detail }: Record<string, string>) => [subject?.split(" ")[0], detail]),
    [
      ["nowhere.example.test:80", "nowhere.example.test: no name server answers"],
      ["api.example.test:81", refuses(81)],
      ["api.example.test:82", refuses(82)],
    ],
  );
  const { stderr: words } = found["never dialled"] as Ran;
  t.regex(
    words,
    /refused.* a connection to metadata\.example\.test:80 .*; 169\.254\.169\.254 is an address of this host/,
  );
});
