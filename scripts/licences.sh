#!/bin/sh
# Every crate in the tree must be usable under MIT, Apache-2.0, BSD, ISC, MPL or the like.
# One line per crate that is not; no GPL gets in.
cargo metadata --format-version 1 --locked --all-features 2>/dev/null | python3 -c '
import json, re, sys
allowed = {"MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause",
           "BSD-3-Clause", "ISC", "MPL-2.0", "Zlib", "Unicode-3.0", "Unlicense", "0BSD",
           "CC0-1.0", "BSL-1.0", "CDLA-Permissive-2.0"}
def usable(expression):
    # SPDX: any side of an OR will do, every side of an AND must.
    expression = expression.replace("/", " OR ").strip()
    while expression.startswith("(") and expression.endswith(")"):
        expression = expression[1:-1]
    depth, parts, word = 0, {"OR": [], "AND": []}, ""
    for operator in (" OR ", " AND "):
        depth, start, pieces = 0, 0, []
        for at, letter in enumerate(expression):
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and expression.startswith(operator, at):
                pieces.append(expression[start:at])
                start = at + len(operator)
        if pieces:
            pieces.append(expression[start:])
            judge = any if operator == " OR " else all
            return judge(usable(piece) for piece in pieces)
    return expression.strip() in allowed
packages = json.load(sys.stdin)["packages"]
bad = [p for p in packages if not usable(p["license"] or "")]
for p in bad:
    print("licence not allowed:", p["name"], p["version"], p["license"])
print("%d crates, %d with a licence that is not allowed" % (len(packages), len(bad)))
sys.exit(1 if bad else 0)
'
