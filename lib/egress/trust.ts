import { X509Certificate } from "node:crypto";
import type { HashedFolder, HostTrust } from "../host/trust.ts";
import type { FileStep, OwnStep, TrustFiles, TrustFolder } from "../plan/launch-plan.ts";
import { type JavaEntries, javaEntries, javaStore } from "./java-store.ts";
import { subjectHash } from "./subject-hash.ts";

/** All in one folder; every other place is a link to it. */
const own = "/etc/holdfast";
const authority = `${own}/ca.pem`;
const bundle = `${own}/ca-bundle.pem`;
const java = `${own}/cacerts`;
/** The host's hashed folder, where certificates lie in it themselves. */
const hostFolder = `${own}/certs`;
const folder = "/etc/ssl/certs";

/** Where the distributions' programs look for all certificates in one file: lib/host/trust.ts, and OpenSSL's own names. */
const bundlePlaces = [
  `${folder}/ca-certificates.crt`,
  `${folder}/ca-bundle.crt`,
  "/etc/ssl/cert.pem",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cert.pem",
  "/etc/pki/tls/cacert.pem",
];
const chromiumPolicies = [
  "/etc/chromium/policies/managed",
  "/etc/opt/chrome/policies/managed",
  "/etc/opt/chrome_for_testing/policies/managed",
];
const javaPlaces = [`${folder}/java/cacerts`, "/etc/pki/java/cacerts"];

/**
 * Variables of programs that look nowhere else than in what they bring along (Node, Deno, requests, pip, cargo, AWS's
 * tools, gRPC) or in what their settings name (npm), or that may be built for another place than this system's (OpenSSL, Go and Rust by SSL_CERT_FILE, curl,
 * git). Node and Deno take what they are given in addition to their own, the others instead of it.
 */
function variables(authority: string, bundle: string): Readonly<Record<string, string>> {
  return {
    NODE_EXTRA_CA_CERTS: authority,
    DENO_CERT: authority,
    SSL_CERT_FILE: bundle,
    CURL_CA_BUNDLE: bundle,
    GIT_SSL_CAINFO: bundle,
    REQUESTS_CA_BUNDLE: bundle,
    PIP_CERT: bundle,
    CARGO_HTTP_CAINFO: bundle,
    AWS_CA_BUNDLE: bundle,
    // Where a site's npmrc names a file of its own, npm asks again and again for minutes before it says what is wrong.
    npm_config_cafile: bundle,
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: bundle,
  };
}

function javaOption(store: string): Readonly<Record<string, string>> {
  return { JAVA_TOOL_OPTIONS: `-Djavax.net.ssl.trustStore=${store}` };
}

/** What takes long to make of a host, and is the same for all sandboxes. */
const known = new WeakMap<HostTrust, JavaEntries>();

function javaEntriesOf(host: HostTrust): JavaEntries {
  const entries = known.get(host) ?? javaEntries(host.javaStore, host.bundle);
  known.set(host, entries);
  return entries;
}

/**
 * What makes every program in a sandbox trust one certificate authority more than the host does. Pure.
 *
 * @param certificate PEM of the sandbox's authority
 */
export function trustFiles(certificate: string, host: HostTrust): TrustFiles {
  const der = new X509Certificate(certificate).raw;
  const all = bundleWith(certificate, host);
  const store = javaStore(javaEntriesOf(host), der);
  const link = (path: string, target: string): OwnStep => ({ op: "symlink", target, path });
  const folders = [own, `${folder}/java`, "/etc/pki/tls", "/etc/pki/java"];
  return {
    bytes: all.length + store.length,
    steps: [
      ...folders.map((path): OwnStep => ({ op: "mkdir", path, mode: 0o755 })),
      file(authority, certificate),
      file(bundle, all),
      file(java, store),
      ...browserSteps(der),
      ...bundlePlaces.map((path) => link(path, bundle)),
      ...javaPlaces.map((path) => link(path, java)),
      link("/etc/pki/tls/certs", folder),
      ...folderSteps(host.folder, subjectHash(der)),
      ...over(host.copies, bundle),
      ...over(host.javaCopies, java),
      ...host.anchors.flatMap(({ path, names }, i) => anchorSteps(path, names, `${own}/anchors-${i}`)),
    ],
    environment: {
      ...variables(authority, bundle),
      // Every Java says on standard error that it has seen this: only where it would not find the store by itself.
      ...(host.javaStore === null ? javaOption(java) : {}),
    },
  };
}

function file(path: string, content: string | Uint8Array): FileStep {
  return { op: "file", path, mode: 0o644, content };
}

function bundleWith(certificate: string, host: HostTrust): Buffer {
  const end = host.bundle.length === 0 || host.bundle.at(-1) === 0x0a ? "" : "\n";
  return Buffer.concat([host.bundle, Buffer.from(end), Buffer.from(certificate)]);
}

/**
 * The same where nothing can be put in the place of the host's own files: in a folder that variables name. What looks at the
 * system's files alone trusts nothing more (GnuTLS, but for wget by its settings; NSS).
 */
export function trustFolder(certificate: string, host: HostTrust, folder: string): TrustFolder {
  const [authority, bundle, java, wget] = ["ca.pem", "ca-bundle.pem", "cacerts", "wgetrc"].map(
    (name) => `${folder}/${name}`,
  ) as [string, string, string, string];
  return {
    files: [
      file(authority, certificate),
      file(bundle, bundleWith(certificate, host)),
      file(java, javaStore(javaEntriesOf(host), new X509Certificate(certificate).raw)),
      file(wget, `ca_certificate = ${bundle}\n`),
    ],
    environment: { ...variables(authority, bundle), ...javaOption(java), WGETRC: wget },
  };
}

/**
 * Browsers bring their own authorities along, and take more from their administrator's policies: Firefox 64 and later
 * (Certificates), Chromium 128 and later (CACertificates).
 */
function browserSteps(der: Uint8Array): OwnStep[] {
  const firefox = { policies: { Certificates: { Install: [authority] } } };
  const chromium = { CACertificates: [Buffer.from(der).toString("base64")] };
  const policy = (folder: string, name: string, content: object): OwnStep[] => [
    { op: "mkdir", path: folder, mode: 0o755 },
    { op: "file", path: `${folder}/${name}`, mode: 0o644, content: JSON.stringify(content) },
  ];
  return [
    ...policy("/etc/firefox/policies", "policies.json", firefox),
    ...chromiumPolicies.flatMap((folder) => policy(folder, "holdfast.json", chromium)),
  ];
}

/** A folder of our own, since a name can be added to none of the host's. */
function folderSteps(host: HashedFolder | null, hash: string): OwnStep[] {
  const taken = new Set([...bundlePlaces, `${folder}/java`, `${folder}/holdfast.pem`]);
  const entries = (host?.entries ?? []).filter(({ name }) => !taken.has(`${folder}/${name}`));
  const names = new Set(entries.map(({ name }) => name));
  let number = 0;
  while (names.has(`${hash}.${number}`)) number++;
  const isBound = entries.some(({ target }) => !target.startsWith("/"));
  return [
    ...(host !== null && isBound ? [bind(host.path, hostFolder, "host")] : []),
    ...entries.map(({ name, target }): OwnStep => {
      const leads = target.startsWith("/") ? target : `${hostFolder}/${target}`;
      return { op: "symlink", target: leads, path: `${folder}/${name}` };
    }),
    { op: "symlink", target: authority, path: `${folder}/holdfast.pem` },
    { op: "symlink", target: authority, path: `${folder}/${hash}.${number}` },
  ];
}

/** Files in folders of the host's that are shown whole. */
function over(places: readonly string[], file: string): OwnStep[] {
  return places.map((path) => bind(file, path, "inside"));
}

/** p11-kit's folder of what was added, with the host's own additions. */
function anchorSteps(path: string, names: readonly string[], place: string): OwnStep[] {
  return [
    { op: "mkdir", path: place, mode: 0o755 },
    ...names.map((name): OwnStep => ({ op: "copy", source: `${path}/${name}`, path: `${place}/${name}`, mode: 0o644 })),
    { op: "symlink", target: authority, path: `${place}/holdfast.pem` },
    bind(place, path, "inside"),
  ];
}

function bind(source: string, path: string, from: "host" | "inside"): OwnStep {
  return { op: "bind", source, path, from, readOnly: true, optional: true };
}
