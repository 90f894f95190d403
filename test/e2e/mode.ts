/** What every `holdfast run` of a test file is given: nothing, or another mode's name (landlock-mode.ts). */
export const byMode: string[] = [];
