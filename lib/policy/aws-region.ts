/** The region that a host of AWS's names; undefined where it is none, or names none. */
export function regionIn(host: string): string | undefined {
  return /(?:^|\.)(?:s3-)?([a-z]{2}(?:-[a-z]+)+-\d+)\.(?:\w+\.)*(?:amazonaws\.com(?:\.cn)?|api\.aws|on\.aws)$/.exec(
    host,
  )?.[1];
}
