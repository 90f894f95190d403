import { testsOf } from "./world-tests.ts";

const { found, holds, inThatWorld } = testsOf<{
  readonly asked: Readonly<Record<string, readonly Readonly<Record<string, unknown>>[]>>;
  readonly came: Readonly<Record<string, readonly string[]>>;
  readonly lines: readonly Readonly<Record<string, unknown>>[];
  readonly secrets: {
    readonly client: string;
    readonly refresh: string;
    readonly issued: Readonly<Record<"refresh" | "client" | "google" | "github", string>>;
  };
  readonly found: readonly string[];
}>("issued.ts");

inThatWorld("A request carries the token that an issuer gave, for which two requests at once ask once", (t) => {
  const { came, asked, secrets } = found;
  const { refresh, client, google, github } = secrets.issued;
  t.deepEqual(came, {
    "/refresh": [`Bearer ${refresh}`, `Bearer ${refresh}`, `Bearer ${refresh}`],
    "/client": [`Bearer ${client}`],
    "/google": [`Bearer ${google}`],
    "/github": [`token ${github}`],
  });
  t.deepEqual(
    Object.values(asked).map(({ length }) => length),
    [1, 1, 1, 1],
  );
});

inThatWorld("Each issuer is asked in its own way, with what is kept for it", (t) => {
  const { asked, secrets } = found;
  t.deepEqual(asked["/refresh"]?.[0], {
    ...{ grant_type: "refresh_token", refresh_token: secrets.refresh, client_id: "me", client_secret: secrets.client },
  });
  t.deepEqual(asked["/client"]?.[0], {
    ...{ grant_type: "client_credentials", audience: "x", scope: "a b" },
    login: `me:${encodeURIComponent(secrets.client).replaceAll("'", "%27")}`,
  });
  t.like(asked["/google"]?.[0], {
    ...{ grant: "urn:ietf:params:oauth:grant-type:jwt-bearer", isSigned: true, lives: 3600, scope: "cloud" },
    ...{ iss: "robot@example.test", aud: "https://other.example.test/google" },
  });
  t.like(asked["/api/app/installations/7/access_tokens"]?.[0], {
    ...{ isSigned: true, lives: 600, iss: "42", repositories: ["one"], permissions: { contents: "read" } },
    accept: "application/vnd.github+json",
  });
});

const unavailable = { status: 500 };
holds("Without a token no request goes on, and the program is told no more", {
  refused: unavailable,
  endless: unavailable,
  strange: unavailable,
  link: unavailable,
});

inThatWorld("Each answer of an issuer is a record, and why there was no token is in that of the request", (t) => {
  const { lines } = found;
  const tokens = lines.filter(({ type }) => type === "credential.token");
  t.like(
    tokens.find(({ credential }) => credential === "google"),
    { host: "other.example.test", port: 443, status: 200 },
  );
  const detail = (name: string): string =>
    String(lines.find(({ type, credential }) => type === "credential.refused" && credential === name)?.["detail"]);
  t.regex(detail("refused"), /it answers 401, invalid_client$/);
  t.regex(detail("endless"), /longer than 65536 bytes/);
  t.regex(detail("strange"), /does not trust/);
  t.regex(detail("link"), /an address of this host's links or its cloud/);
});

inThatWorld("Neither a token nor what it was asked for with is in what the program sees or in records", (t) => {
  t.deepEqual(found.found, []);
});
