import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { Authority } from "../../lib/egress/authority.ts";
import { subjectHash } from "../../lib/egress/subject-hash.ts";
import { trustFiles } from "../../lib/egress/trust.ts";
import { type HostTrust, hostTrust } from "../../lib/host/trust.ts";
import { plan } from "../../lib/plan/plan.ts";
import { presetPolicy } from "../../lib/policy/presets.ts";
import { fixedHost, fixedWorkspace } from "../plan/fixed-plan.ts";

const authority = new Authority("trust", 3_600_000);
const der = new X509Certificate(authority.certificate).raw;
const bare: HostTrust = {
  bundle: Buffer.alloc(0),
  javaStore: null,
  folder: null,
  copies: [],
  javaCopies: [],
  anchors: [],
};

function has(program: string): boolean {
  return spawnSync(program, ["--help"], { stdio: "ignore" }).error === undefined;
}

function contentAt(path: string, host: HostTrust): Buffer {
  const step = trustFiles(authority.certificate, host).steps.find((one) => one.op === "file" && one.path === path);
  return Buffer.from(step?.op === "file" ? step.content : "");
}

test("The bundle holds the sandbox's authority beside all of the host's", (t) => {
  const other = new Authority("host's own", 3_600_000).certificate.trimEnd();
  const text = contentAt("/etc/holdfast/ca-bundle.pem", { ...bare, bundle: Buffer.from(other) }).toString();
  const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  t.is(found.length, 2);
  t.deepEqual(new X509Certificate(found[1] ?? "").raw, der);
  t.is(contentAt("/etc/holdfast/ca-bundle.pem", bare).toString(), authority.certificate);
});

test("A name in the host's hashed folder stays, and the authority's own comes after it", (t) => {
  const hash = subjectHash(der);
  const host = {
    ...bare,
    folder: { path: "/etc/ssl/certs", entries: [{ name: `${hash}.0`, target: "/usr/share/x.crt" }] },
  };
  const links = trustFiles(authority.certificate, host).steps.flatMap((one) =>
    one.op === "symlink" ? [[one.path, one.target]] : [],
  );
  t.deepEqual(Object.fromEntries(links)[`/etc/ssl/certs/${hash}.0`], "/usr/share/x.crt");
  t.deepEqual(Object.fromEntries(links)[`/etc/ssl/certs/${hash}.1`], "/etc/holdfast/ca.pem");
});

test("Copies of the bundle and of Java's store, and p11-kit's additions, are shown with the authority in them", (t) => {
  const source = "/etc/pki/ca-trust";
  const { steps } = trustFiles(authority.certificate, {
    ...bare,
    copies: [`${source}/extracted/pem/tls-ca-bundle.pem`],
    javaCopies: [`${source}/extracted/java/cacerts`],
    anchors: [{ path: `${source}/source/anchors`, names: ["corporate.pem"] }],
  });
  const over = steps.flatMap((one) => (one.op === "bind" && one.from === "inside" ? [[one.path, one.source]] : []));
  t.deepEqual(Object.fromEntries(over), {
    [`${source}/extracted/pem/tls-ca-bundle.pem`]: "/etc/holdfast/ca-bundle.pem",
    [`${source}/extracted/java/cacerts`]: "/etc/holdfast/cacerts",
    [`${source}/source/anchors`]: "/etc/holdfast/anchors-0",
  });
  const held = steps.flatMap((one) => ("path" in one && one.path.startsWith("/etc/holdfast/anchors-0/") ? [one] : []));
  t.like(held, [
    { op: "copy", source: `${source}/source/anchors/corporate.pem` },
    { op: "symlink", target: "/etc/holdfast/ca.pem" },
  ]);
});

test("Variables name the authority to programs that look nowhere else, and one that the user sets wins", (t) => {
  const policy = presetPolicy("default");
  const trust = trustFiles(authority.certificate, { ...bare, javaStore: Buffer.from("any") });
  const made = (set: Record<string, string>): Readonly<Record<string, string>> => {
    const own = { ...policy, environment: { ...policy.environment, set } };
    return plan(own, fixedHost, fixedWorkspace(own), trust).environment;
  };
  const whole = "/etc/holdfast/ca-bundle.pem";
  t.like(made({}), {
    NODE_EXTRA_CA_CERTS: "/etc/holdfast/ca.pem",
    DENO_CERT: "/etc/holdfast/ca.pem",
    SSL_CERT_FILE: whole,
    CURL_CA_BUNDLE: whole,
    GIT_SSL_CAINFO: whole,
    REQUESTS_CA_BUNDLE: whole,
    PIP_CERT: whole,
    CARGO_HTTP_CAINFO: whole,
    AWS_CA_BUNDLE: whole,
    npm_config_cafile: whole,
    GRPC_DEFAULT_SSL_ROOTS_FILE_PATH: whole,
    JAVA_TOOL_OPTIONS: undefined,
  });
  t.is(made({ SSL_CERT_FILE: "/work/own.pem" })["SSL_CERT_FILE"], "/work/own.pem");
  // Where no store is common to the host's Javas, each has to be told.
  t.is(
    trustFiles(authority.certificate, bare).environment["JAVA_TOOL_OPTIONS"],
    "-Djavax.net.ssl.trustStore=/etc/holdfast/cacerts",
  );
  t.is(plan(policy, fixedHost, fixedWorkspace(policy)).environment["SSL_CERT_FILE"], undefined);
});

test("Browsers, which bring their own authorities along, are told of it by their administrator's policies", (t) => {
  const text = contentAt("/etc/firefox/policies/policies.json", bare).toString();
  t.deepEqual(JSON.parse(text), { policies: { Certificates: { Install: ["/etc/holdfast/ca.pem"] } } });
  for (const folder of ["chromium", "opt/chrome", "opt/chrome_for_testing"]) {
    const managed = contentAt(`/etc/${folder}/policies/managed/holdfast.json`, bare).toString();
    t.deepEqual(JSON.parse(managed), { CACertificates: [der.toString("base64")] });
  }
});

test("The subject's hash is OpenSSL's", (t) => {
  if (!has("openssl")) {
    t.log("skipped: there is no openssl");
    t.pass();
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "holdfast-trust-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "ca.pem");
  writeFileSync(file, authority.certificate);
  const said = execFileSync("openssl", ["x509", "-noout", "-hash", "-in", file], { encoding: "utf8" });
  t.is(subjectHash(der), said.trim());
});

test("Java's store is one that keytool reads, with the host's authorities in it", (t) => {
  const store = contentAt("/etc/holdfast/cacerts", hostTrust());
  t.true(store.includes(der));
  if (!has("keytool")) {
    t.log("skipped: there is no keytool");
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "holdfast-trust-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, "cacerts"), store);
  const listed = execFileSync("keytool", ["-list", "-keystore", join(folder, "cacerts"), "-storepass", "changeit"], {
    encoding: "utf8",
  });
  const certificates = readFileSync("/etc/ssl/certs/ca-certificates.crt", "utf8").match(/BEGIN/g)?.length ?? 0;
  t.is(listed.match(/trustedCertEntry/g)?.length, certificates + 1);
});
