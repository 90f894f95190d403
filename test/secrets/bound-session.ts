import { SessionCredentials } from "../../lib/secrets/session.ts";
import { sound } from "../policy/policy-text.ts";

/**
 * A session with a credential for each variable, all of them one secret and for one endpoint, read already.
 *
 * @param variables by the credentials' names
 */
export async function boundSession(
  secret: string,
  variables: Readonly<Record<string, string>>,
): Promise<SessionCredentials> {
  process.env["HOLDFAST_TEST_BOUND"] = secret;
  const lines = Object.entries(variables).map(
    ([name, variable]) =>
      `  ${name}: { source: { env: HOLDFAST_TEST_BOUND }, env: ${variable}, network_policy: api }\n`,
  );
  const { credentials = {} } = sound(`holdfast: 1
network_policies:
  api:
    endpoints: [{ host: api.example.com, port: 443, protocol: rest, enforcement: enforce, access: full }]
    binaries: [{ path: /usr/bin/curl }]
credentials:
${lines.join("")}`);
  const session = await SessionCredentials.open(credentials);
  for (const name of Object.keys(variables)) await session.secretOf(name)?.refresh();
  return session;
}
