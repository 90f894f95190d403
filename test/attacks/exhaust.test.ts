// Outside, where they work, these take what all of a user's processes share: as an ordinary user they run when nothing
// else does (test/runner/confinement.ts).
import { tryCases } from "./try-cases.ts";

tryCases((kind) => kind === "exhaust");
