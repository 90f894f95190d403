/** The lowest releases of each line that everything here runs on (package.json, engines). */
const lowest: readonly [number, number][] = [
  [22, 22],
  [24, 15],
];

/** Ends the process with a sentence when Node is too old; kept free of syntax that an old one could not read. */
export function refuseOldNode(version: string): void {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const line = lowest.find(([number]) => number === major);
  const fine = line === undefined ? major >= 26 : minor >= line[1];
  if (fine) return;
  process.stderr.write(
    `holdfast: Node ${version} is too old: Node 22.22, 24.15 or 26 and newer is needed.\n` +
      "  Install one, or run holdfast from a checkout after `npm ci`: it brings its own.\n",
  );
  process.exit(125);
}
