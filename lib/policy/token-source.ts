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

/** Where keys of AWS's are kept. */
export interface AwsKeysFrom {
  readonly accessKeyId: SecretSource;
  readonly secretAccessKey: SecretSource;
  readonly sessionToken?: SecretSource;
}

/** Keys of AWS's that requests are signed with. */
export interface AwsKeysSource extends AwsKeysFrom {
  readonly kind: "aws_keys";
}

/** docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html */
export interface AssumeRoleSource extends Issued, AwsKeysFrom {
  readonly kind: "aws_sts_assume_role";
  readonly roleArn: string;
  readonly sessionName: string;
  readonly externalId?: string;
  readonly region: string;
  readonly durationSeconds: number;
}

/** A secret that is asked for at a server, with one that is kept, and ends after a time. */
export type TokenSource =
  | RefreshTokenSource
  | ClientCredentialsSource
  | GoogleSource
  | GithubAppSource
  | AssumeRoleSource;

export type CredentialSource = SecretSource | TokenSource | AwsKeysSource;

/** Whether requests are signed with it: it is put into none. */
export function isAws(source: CredentialSource | undefined): source is AwsKeysSource | AssumeRoleSource {
  return source !== undefined && "accessKeyId" in source;
}

/** The variable of the secret key, beside that of its id. */
export function secretKeyOf(variable: string): string {
  return variable.replace(/ACCESS_KEY_ID$/, "SECRET_ACCESS_KEY");
}

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
    case "aws_keys":
    case "aws_sts_assume_role": {
      const { accessKeyId, secretAccessKey, sessionToken } = source;
      return [accessKeyId, secretAccessKey, ...(sessionToken === undefined ? [] : [sessionToken])];
    }
    default:
      return [source];
  }
}
