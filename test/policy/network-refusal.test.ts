import test from "ava";
import { defaultPolicy } from "../../lib/policy/default-policy.ts";
import { networkRefusal } from "../../lib/policy/refusal.ts";
import { sound, withEndpoint } from "./policy-text.ts";

test("A policy without network rules is not refused", (t) => {
  t.is(networkRefusal(defaultPolicy), null);
  t.is(networkRefusal(sound("version: 1\nnetwork_policies: {}\n")), null);
});

test("What is passed on as it comes is not refused", (t) => {
  t.is(networkRefusal(sound(withEndpoint("host: a.example.com, port: 443"))), null);
  t.is(networkRefusal(sound(withEndpoint("host: a.example.com, port: 5432, protocol: tcp"))), null);
  t.is(networkRefusal(sound(withEndpoint("port: 5432, allowed_ips: [10.1.0.0/16]"))), null);
});

test("What is inspected is not refused", (t) => {
  t.is(networkRefusal(sound(withEndpoint("host: a.example.com, port: 443, protocol: rest, access: full"))), null);
  t.is(networkRefusal(sound(withEndpoint("host: a.example.com, port: 443, protocol: websocket, access: full"))), null);
});

test("A policy whose requests cannot be read is refused by the protocol's name, with the first rule and its place", (t) => {
  const error = networkRefusal(sound(withEndpoint("host: a.example.com, port: 443, protocol: graphql, access: full")));
  t.is(error?.code, "ERR_HOLDFAST_NETWORK_UNSUPPORTED");
  t.is(error?.exitCode, 125);
  t.is(error?.message, 'p.yaml:4:3: the network rule "api" cannot be enforced: protocol graphql is not read yet');
  const entry =
    "{endpoints: [{host: a.example.com, port: 1, protocol: graphql, access: full}], binaries: [{path: /a}]}";
  const two = networkRefusal(sound(`version: 1\nnetwork_policies:\n  z: ${entry}\n  a: ${entry}\n`));
  t.is(
    two?.message,
    'p.yaml:3:3: the network rule "z" and 1 more cannot be enforced: protocol graphql is not read yet',
  );
});
