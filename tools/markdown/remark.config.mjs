// Checks Markdown: relative links and anchors, and the files, folders and tests that are named in `code`. Makes no
// network requests.
import { execFileSync } from "node:child_process";
import remarkValidateLinks from "remark-validate-links";
import { visit } from "unist-util-visit";

const git = (...parameters) => execFileSync("git", parameters, { encoding: "utf8", maxBuffer: 2 ** 25 }).split("\n");
const files = git("ls-files").map((path) => `/${path}`);
const names = new Set(git("grep", "-ohE", "[a-z]+(_[a-z0-9]+){4,}", "--", "*.rs"));
const file = /^[\w.-]+(\/[\w.-]+)*\.(rs|sql|lua|md|mjs|js|ts|css|py|sh|toml|json|snap)(?=$|::)/;
const name = /^[a-z]+(_[a-z0-9]+){4,}$/;
const folder = /^[a-z][\w.-]*(\/[\w.-]+)*\/$/;

/** Reports a file or folder in `code` that is not the end of a path, and a long name that no Rust file has. */
function validateReferences() {
  return (tree, page) =>
    visit(tree, "inlineCode", (node) => {
      const path = file.exec(node.value)?.[0] ?? folder.exec(node.value)?.[0];
      const missing = path
        ? !path.startsWith("target/") && !files.some((known) => (path.endsWith("/") ? known.includes(`/${path}`) : known.endsWith(`/${path}`)))
        : name.test(node.value) && !names.has(node.value);
      if (missing) page.message(`Cannot find \`${path ?? node.value}\` in the repository`, node);
    });
}

export default { plugins: [[remarkValidateLinks, { repository: false }], validateReferences] };
