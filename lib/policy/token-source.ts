import type { SecretSource } from "./credentials.ts";

/** What every kind of token has. */
interface Issued {
  /** Where it is asked for: https. */
  readonly url: string;
  /** So long before its end it is asked for anew. */
  readonly refreshBeforeMs: number;
  /** It is not used for longer, whatever its issuer says. */
  readonly mostMs?: number;
}

interface OAuth2 extends Issued {
  readonly clientId: string;
  readonly scopes: readonly string[];
  /** How the client says its secret (RFC 6749 section 2.3.1). */
  readonly clientAuth: "body" | "basic";
}

/** RFC 6749 section 6. */
export interface RefreshTokenSource extends OAuth2 {
  readonly kind: "oauth2_refresh_token";
  readonly refreshToken: SecretSource;
  /** Absent: a public client. */
  readonly clientSecret?: SecretSource;
}

/** RFC 6749 section 4.4. */
export interface ClientCredentialsSource extends OAuth2 {
  readonly kind: "oauth2_client_credentials";
  readonly clientSecret: SecretSource;
  readonly audience?: string;
}

/** RFC 7523 section 2.1, as Google asks for it (developers.google.com/identity/protocols/oauth2/service-account). */
export interface GoogleSource extends Issued {
  readonly kind: "google_service_account_jwt";
  /** The account's key file, of JSON. */
  readonly key: SecretSource;
  readonly scopes: readonly string[];
  /** Whom it acts for. */
  readonly subject?: string;
}

/** docs.github.com, "Generating an installation access token for a GitHub App". */
export interface GithubAppSource extends Issued {
  readonly kind: "github_app";
  readonly appId: string;
  /** PEM. */
  readonly privateKey: SecretSource;
  /** Empty: all of the installation's. */
  readonly repositories: readonly string[];
  /** Empty: all of the installation's. */
  readonly permissions: Readonly<Record<string, "read" | "write" | "admin">>;
}

/** A secret that is asked for at a server, with one that is kept, and ends after a time. */
export type TokenSource = RefreshTokenSource | ClientCredentialsSource | GoogleSource | GithubAppSource;

export type CredentialSource = SecretSource | TokenSource;

export function isToken(source: CredentialSource): source is TokenSource {
  return "url" in source;
}

/** What is kept that a credential is made from. */
export function keptBy(source: CredentialSource): readonly SecretSource[] {
  switch (source.kind) {
    case "oauth2_refresh_token":
      return source.clientSecret === undefined ? [source.refreshToken] : [source.refreshToken, source.clientSecret];
    case "oauth2_client_credentials":
      return [source.clientSecret];
    case "google_service_account_jwt":
      return [source.key];
    case "github_app":
      return [source.privateKey];
    default:
      return [source];
  }
}
