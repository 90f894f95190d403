import type { SecretSource } from "../policy/credentials.ts";
import { usageError } from "./usage.ts";

const hint = "Say where it is kept: env:NAME, file:/PATH, systemd:NAME or 'command:/PROGRAM ARGUMENTS'.";

/**
 * Where a secret is kept, as it is said on a command line, where the secret itself never stands.
 *
 * @throws HoldfastError ERR_HOLDFAST_USAGE, without what was said: it may be the secret
 */
export function secretSourceOf(flag: string, text: string): SecretSource {
  const [, kind, place = ""] = /^(env|file|systemd|command):(.+)$/s.exec(text) ?? [];
  switch (kind) {
    case "env":
      if (/^[A-Za-z_]\w*$/.test(place)) return { kind, name: place };
      break;
    case "file":
      if (place.startsWith("/")) return { kind, path: place };
      break;
    case "systemd":
      if (/^[\w@-][\w@.-]{0,254}$/.test(place)) return { kind, name: place };
      break;
    case "command": {
      const argv = place.split(/\s+/);
      if (place.startsWith("/")) return { kind, argv, ttlMs: 300_000, timeoutMs: 10_000 };
      break;
    }
  }
  throw usageError(`${flag} does not say where the key is kept`, hint);
}
