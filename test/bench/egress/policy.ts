/** What the benchmark's sandbox may do: fifty rules, as those of a forge's interface would be, on the inspected endpoint. */
export function policyText(options: {
  readonly folder: string;
  readonly program: string;
  readonly host: string;
  readonly ports: { readonly inspected: number; readonly skipped: number; readonly tcp: number };
}): string {
  const { folder, program, host, ports } = options;
  const kinds = ["issues", "pulls", "commits", "branches", "tags", "releases", "labels", "contents"];
  const rules = [
    ...kinds.flatMap((kind) => [
      `{ allow: { method: GET, path: "/repos/*/*/${kind}/**" } }`,
      `{ allow: { method: GET, path: "/orgs/*/${kind}/**" } }`,
      `{ allow: { method: POST, path: "/repos/*/*/${kind}" } }`,
      `{ allow: { method: PATCH, path: "/repos/*/*/${kind}/*" } }`,
      `{ allow: { method: GET, path: "/users/*/${kind}" } }`,
      `{ allow: { method: GET, path: "/search/${kind}", query: { q: "*" } } }`,
    ]),
    "{ allow: { method: GET, path: /user } }",
    "{ allow: { method: GET, path: /large } }",
  ];
  return `holdfast: 1
version: 1
filesystem_policy:
  include_workdir: true
  read_only: [/usr, /bin, /lib, /lib64, /etc, "${folder}"]
network_policies:
  forge:
    endpoints:
      - host: ${host}
        port: ${ports.inspected}
        protocol: rest
        enforcement: enforce
        rules: [${rules.join(", ")}]
        deny_rules: [{ method: "*", path: "/repos/*/*/secrets/**" }, { method: "*", path: "/admin/**" }]
    binaries: [{ path: "${program}" }]
  skipped:
    endpoints: [{ host: ${host}, port: ${ports.skipped}, tls: skip }]
    binaries: [{ path: "${program}" }]
  tcp:
    endpoints: [{ host: ${host}, port: ${ports.tcp}, protocol: tcp }]
    binaries: [{ path: "${program}" }]
`;
}
