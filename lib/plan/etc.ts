import type { Identity, MountStep, OwnStep, TrustFiles } from "./launch-plan.ts";

/**
 * What of the host's /etc a program needs and may know: how libraries are found, names of services and zones,
 * certificates (never private keys), settings of language runtimes. No users, hosts, machine id, keys or services of
 * the host's own.
 */
const shared = [
  "alternatives",
  "bash.bashrc",
  "ca-certificates",
  "ca-certificates.conf",
  "crypto-policies",
  "debian_version",
  "default/locale",
  "fonts",
  "gai.conf",
  "inputrc",
  "java-11-openjdk",
  "java-17-openjdk",
  "java-21-openjdk",
  "ld.so.cache",
  "ld.so.conf",
  "ld.so.conf.d",
  "locale.alias",
  "localtime",
  "lsb-release",
  "magic",
  "maven",
  "mime.types",
  "os-release",
  "perl",
  "pki/ca-trust",
  "pki/tls/certs",
  "pki/tls/cert.pem",
  "protocols",
  "python3",
  "redhat-release",
  "rpc",
  "services",
  "ssl/cert.pem",
  "ssl/certs",
  "ssl/openssl.cnf",
  "terminfo",
  "timezone",
  "wgetrc",
] as const;

/** Of these, what a sandbox with a certificate authority of its own gets from that instead. */
const trusted: ReadonlySet<string> = new Set(["pki/tls/certs", "pki/tls/cert.pem", "ssl/cert.pem", "ssl/certs"]);

/** The sandbox's own /etc. With an authority of its own it equals no other; else it is shared with those that come after. */
export function etcSteps(
  identity: Identity,
  home: string,
  present: ReadonlyMap<string, "small" | "other">,
  hasResolver: boolean,
  trust: TrustFiles | null,
): readonly MountStep[] {
  const steps = contentSteps(identity, home, present, hasResolver, trust);
  if (trust !== null) return steps;
  const { uid, gid, hostUid, hostGid } = identity;
  const key = [uid, gid, hostUid, hostGid, hasResolver].join();
  return [{ op: "shared", path: "/etc", key, sizeBytes: 8 * 1024 * 1024, inodes: 4096, steps }];
}

/** Whom programs ask for names where there is no network: nobody, at an address that no name is ever given. */
export const noNameServer = "198.19.255.254";

/** Its own users, host name and resolver, and the harmless part of the host's. */
function contentSteps(
  identity: Identity,
  home: string,
  present: ReadonlyMap<string, "small" | "other">,
  hasResolver: boolean,
  trust: TrustFiles | null,
): OwnStep[] {
  const file = (name: string, content: string): OwnStep => ({
    op: "file",
    path: `/etc/${name}`,
    mode: 0o644,
    content,
  });
  const { uid, gid } = identity;
  return [
    { op: "mkdir", path: "/etc", mode: 0o755 },
    file(
      "passwd",
      `root:x:0:0:root:/root:/usr/sbin/nologin\nsandbox:x:${uid}:${gid}:sandbox:${home}:/bin/bash\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n`,
    ),
    file("group", `root:x:0:\nsandbox:x:${gid}:\nnogroup:x:65534:\n`),
    file("hosts", "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n"),
    file("hostname", "sandbox\n"),
    // Without network a question fails at once, rather than after a time-out, and is refused by name. With it one is lost
    // where hundreds are asked together, and then asked again.
    file(
      "resolv.conf",
      hasResolver
        ? "nameserver 127.0.0.53\noptions timeout:2 attempts:3\n"
        : `nameserver ${noNameServer}\noptions timeout:1 attempts:1\n`,
    ),
    file("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
    file("host.conf", "multi on\n"),
    { op: "symlink", target: "/proc/self/mounts", path: "/etc/mtab" },
    ...shared.flatMap((name): OwnStep[] => {
      const path = `/etc/${name}`;
      const kind = present.get(name);
      if (kind === undefined || (trust !== null && trusted.has(name))) return [];
      if (kind === "small") return [{ op: "copy", source: path, path, mode: 0o644 }];
      return [{ op: "bind", source: path, path, from: "host", readOnly: true, optional: true }];
    }),
    ...(trust?.steps ?? []),
  ];
}

/** The names that a probe of the host looks for. */
export const sharedEtc: readonly string[] = shared;
