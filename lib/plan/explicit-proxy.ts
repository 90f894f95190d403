/**
 * Where programs find the proxy that they insist on: a name of the sandbox's resolver, and the first address of its pool
 * (lib/egress/names.ts). A connection to it is captured and known like any other.
 */
export const explicitProxy = { name: "proxy.holdfast.internal", address: "198.18.0.1", port: 3128 } as const;

const http = `http://${explicitProxy.address}:${explicitProxy.port}`;
const local = "localhost,127.0.0.1,::1";

/** What tells programs of it (curl(1), wget(1); Node by NODE_USE_ENV_PROXY). */
export const proxyVariables: Readonly<Record<string, string>> = {
  HTTP_PROXY: http,
  HTTPS_PROXY: http,
  http_proxy: http,
  https_proxy: http,
  ALL_PROXY: `socks5h://${explicitProxy.address}:${explicitProxy.port}`,
  all_proxy: `socks5h://${explicitProxy.address}:${explicitProxy.port}`,
  NO_PROXY: local,
  no_proxy: local,
  NODE_USE_ENV_PROXY: "1",
};
