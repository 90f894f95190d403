// `holdfast run` with what its flags say of the network, in a network of the test's own.
import { decide, NetworkDecision } from "../../lib/egress/decide.ts";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { parsePolicy } from "../../lib/policy/load.ts";
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

for (const mode of ["namespaces", "landlock"]) {
  inThatWorld(`--net log permits all that addresses permit, and its draft then permits the same, by ${mode}`, (t) => {
    const { stdout, stderr } = found[`--net log, ${mode}`] as Ran;
    t.deepEqual(stdout.trim().split("\n"), [
      "api.example.test 80 b'HTTP/1'",
      "93.184.216.34 7 b'GET / '",
      "api.example.test 443 b'secure'",
      "other.example.test 9 no",
      "loopback.example.test 80 no",
      "metadata.example.test 80 no",
      "127.0.0.1 9 no",
    ]);
    t.regex(stderr, /every connection is permitted/);
    t.regex(stderr, /refused.* a connection to loopback\.example\.test:80 .* never dialled\n/);
    t.regex(stderr, /a policy for what this run connected to, 4 places more, is in .*draft\.yaml; read it/);
    const draft = found[`the draft, ${mode}`] as unknown as string;
    const python = /path: (\/usr\/bin\/python3[\d.]*) \}/.exec(draft)?.[1];
    t.deepEqual(
      // Who is reset at once tries the name's other address, who is reset later does not.
      draft.slice(draft.indexOf("    endpoints:")).replaceAll("# 2 connections", "# 1 connection"),
      `    endpoints:
      - { host: api.example.test, port: 80 } # 1 connection
      - { host: "93.184.216.34", port: 7 } # 1 connection
      - { host: api.example.test, port: 443, protocol: tcp } # 1 connection
      - { host: other.example.test, port: 9 } # 1 connection, not reached: 93.184.216.35:9 refuses connections
    binaries:
      - { path: ${python} }
`,
    );
    t.is((found[`by the draft, ${mode}`] as Ran).stdout, stdout);
  });
}

inThatWorld("Who asks for the addresses of one family that the host has finds them", (t) => {
  t.like(found["one family, namespaces"], { status: 0, stdout: "1\n1\n", stderr: "" });
  // There the host's own addresses count, and that world has some of IPv4 alone.
  t.regex((found["one family, landlock"] as Ran).stdout, /^1\n/);
});

for (const mode of ["namespaces", "landlock"]) {
  inThatWorld(`A socket that speaks IPv6 alone is carried, by ${mode}`, (t) => {
    t.like(found[`IPv6 only, ${mode}`], { status: 0, stdout: "HTTP\n".repeat(4), stderr: "" });
  });

  inThatWorld(`Two hundred threads find a name at once, by ${mode}`, (t) => {
    t.like(found[`many names, ${mode}`], { status: 0, stdout: "200\n", stderr: "" });
  });
}

inThatWorld(
  "The draft is a sound policy; without a file it is said, with what flags granted and requests they did not",
  (t) => {
    t.regex((found["check"] as Ran).stdout, /draft\.yaml: ok\n$/);
    const { stdout, stderr } = found["to standard error"] as Ran;
    t.deepEqual(stdout.trim().split("\n"), ["GET /x", "POST /y"]);
    const { policy, problems } = parsePolicy(stderr.slice(stderr.indexOf("holdfast: 1\n")));
    t.deepEqual(problems, []);
    const asks = (method: string, path: string): boolean =>
      decide(new NetworkDecision(policy ?? defaultPolicy), {
        program: { path: /path: (\/usr\/bin\/python3[\d.]*) \}/.exec(stderr)?.[1] ?? "" },
        ...{ host: "api.example.test", port: 80, request: { method, path } },
      }).allowed;
    t.deepEqual([asks("GET", "/x"), asks("POST", "/y"), asks("GET", "/y")], [true, true, false]);
  },
);

inThatWorld("With --net off there is no network", (t) => {
  t.is((found["--net off"] as Ran).stdout, "no connection\n");
});
