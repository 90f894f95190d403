import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";

/** Which certificate authorities this host trusts, and where its programs find them. */
export interface HostTrust {
  /** PEM of all, as a distribution keeps them in one file; empty where there is none. */
  readonly bundle: Uint8Array;
  /** What Java reads (JKS or PKCS#12); null where no store is common to all of the host's Javas. */
  readonly javaStore: Uint8Array | null;
  /** OpenSSL's folder, one name for each certificate and its hash; null where there is none. */
  readonly folder: HashedFolder | null;
  /** Further places that exist: copies of the bundle, copies of the Java store, and folders of p11-kit's additions. */
  readonly copies: readonly string[];
  readonly javaCopies: readonly string[];
  readonly anchors: readonly { readonly path: string; readonly names: readonly string[] }[];
}

export interface HashedFolder {
  /** Links followed. */
  readonly path: string;
  /** With where each leads: a path of the host, or one in the folder, relative to it. */
  readonly entries: readonly { readonly name: string; readonly target: string }[];
}

/** In the order in which Go looks for them (crypto/x509, root_linux.go): Debian, Fedora, openSUSE, CentOS, Alpine. */
const bundles = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];
const folders = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
const javaStores = ["/etc/ssl/certs/java/cacerts", "/etc/pki/java/cacerts"];
/** In folders of /etc that are shown whole. */
const copies = [
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ca-certificates/extracted/tls-ca-bundle.pem",
];
const javaCopies = ["/etc/pki/ca-trust/extracted/java/cacerts", "/etc/ca-certificates/extracted/java-cacerts.jks"];
/** p11-kit's, which GnuTLS and NSS ask on Fedora, Arch and openSUSE. */
const anchors = [
  "/etc/pki/ca-trust/source/anchors",
  "/etc/ca-certificates/trust-source/anchors",
  "/etc/pki/trust/anchors",
];

let known: { readonly state: string; readonly trust: HostTrust } | undefined;

/** This host's, read once and again when it has changed. */
export function hostTrust(): HostTrust {
  const state = [...bundles, ...folders, ...javaStores, ...anchors]
    .map((path) => statSync(path, { throwIfNoEntry: false, bigint: true }))
    .map((status) => (status === undefined ? "" : `${status.ino}:${status.mtimeNs}`))
    .join();
  if (known?.state !== state) known = { state, trust: readTrust() };
  return known.trust;
}

function readTrust(): HostTrust {
  return {
    bundle: firstOf(bundles, readable) ?? Buffer.alloc(0),
    javaStore: firstOf(javaStores, readable) ?? null,
    folder: firstOf(folders, hashedFolder) ?? null,
    copies: copies.filter((path) => readable(path) !== undefined),
    javaCopies: javaCopies.filter((path) => readable(path) !== undefined),
    anchors: anchors.flatMap((path) => {
      const names = listed(path)?.filter((name) => statSync(join(path, name), { throwIfNoEntry: false })?.isFile());
      return names === undefined ? [] : [{ path, names }];
    }),
  };
}

function firstOf<T>(paths: readonly string[], read: (path: string) => T | undefined): T | undefined {
  for (const path of paths) {
    const found = read(path);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What cannot be read is as if it were not there: a program inside could not read it either. */
function readable(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}

function listed(path: string): string[] | undefined {
  try {
    return readdirSync(path);
  } catch {
    return undefined;
  }
}

function hashedFolder(path: string): HashedFolder | undefined {
  const names = listed(path);
  if (names === undefined) return undefined;
  const real = realpathSync.native(path);
  const entries = names.flatMap((name) => {
    try {
      const target = realpathSync.native(join(path, name));
      return [{ name, target: target.startsWith(`${real}/`) ? target.slice(real.length + 1) : target }];
    } catch {
      return []; // a link that leads nowhere
    }
  });
  return { path: real, entries };
}
