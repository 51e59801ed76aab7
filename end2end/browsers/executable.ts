import { accessSync, constants } from "node:fs";

/** Returns the path of a program: the value of a variable, or Debian's path. */
export function executable(name: string, variable: string, path: string): string {
  const chosen = process.env[variable] ?? path;
  try {
    accessSync(chosen, constants.X_OK);
  } catch {
    throw new Error(`no ${name} at ${chosen}: run tools/setup-test, or name another one with the variable ${variable}`);
  }
  return chosen;
}
