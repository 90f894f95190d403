import { tryCases } from "./try-cases.ts";

tryCases((kind) => kind !== "exhaust");
