// Imported before a file of tests: they run in the mode without namespaces.
import { byMode } from "./mode.ts";

byMode.push("--mode", "landlock");
