#!/usr/bin/env python3
"""Opens a report of `xcept evaluate --report` in headless Chromium and uses it as a reader would.

    check.py report.html [--chromium PROGRAM]

A copy of the page with a probe in it loads; the probe sorts, searches and filters. Ends with 1 and says why if the page
asks for anything, complains on the console, misses a picture, or answers wrongly.
"""

import argparse
import html
import json
import pathlib
import re
import subprocess
import sys
import tempfile

# Columns of the table of predictions.
PICTURE, PROBABILITY = 0, 3

PROBE = """<script>{
const found = {};
const table = document.getElementById("predictions"), body = table.tBodies[0];
const rows = () => Array.from(body.rows).filter((row) => !row.hidden && getComputedStyle(row).display !== "none");
const values = (column) => rows().map((row) => Number(row.cells[column].dataset.value ?? "NaN"));
const head = table.tHead.rows[0].cells[PROBABILITY];
found.total = rows().length;
head.click(); found.up = values(PROBABILITY); head.click(); found.down = values(PROBABILITY);
const search = document.getElementById("search"), name = body.rows[body.rows.length - 1].cells[PICTURE].textContent;
search.value = name; search.dispatchEvent(new Event("input"));
found.searched = rows().map((row) => row.cells[PICTURE].textContent.includes(name));
search.value = ""; search.dispatchEvent(new Event("input"));
const wrong = document.getElementById("wrong");
wrong.checked = true; wrong.dispatchEvent(new Event("change"));
found.wrong = rows().length; found.mistakes = body.querySelectorAll("tr[data-wrong]").length;
found.pictures = document.images.length;
// Those further down would wait for the reader.
for (const image of document.images) image.loading = "eager";
addEventListener("load", () => {
  found.broken = Array.from(document.images).filter((image) => !image.complete || !image.naturalWidth).length;
  found.requests = performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:"));
  const answer = document.createElement("pre");
  answer.id = "answer"; answer.textContent = JSON.stringify(found); document.body.append(answer);
});
}</script>""".replace("PROBABILITY", str(PROBABILITY)).replace("PICTURE", str(PICTURE))


def load(report, chromium):
    """What the probe found, and what the browser wrote on its console."""
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder, "page.html")
        page.write_text(report.read_text("utf-8").replace("</body>", PROBE + "</body>"), "utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
                   f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000", "--dump-dom"]
        ran = subprocess.run([chromium, *options, page.as_uri()], capture_output=True, text=True, timeout=300)
    answer = re.search(r'<pre id="answer">(.*?)</pre>', ran.stdout, re.DOTALL)
    if answer is None:
        sys.exit(f"the page did not answer; the browser said: {ran.stderr[-2000:]}")
    return json.loads(html.unescape(answer[1])), [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


def faults(found, console):
    """Everything that is not as it should be."""
    checks = {
        "the console is silent": not console,
        "nothing is requested": not found["requests"],
        "every picture loads": found["broken"] == 0,
        "there are predictions": found["total"] > 0,
        "probabilities rise": found["up"] == sorted(found["up"]) and len(found["up"]) == found["total"],
        "probabilities fall": found["down"] == sorted(found["down"], reverse=True),
        "a search finds its picture and no other": found["searched"] and all(found["searched"]),
        "only mistakes are left": found["wrong"] == found["mistakes"],
    }
    return [name for name, holds in checks.items() if not holds]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--chromium", default="chromium", help="the browser's program")
    options = parser.parse_args()
    found, console = load(options.report, options.chromium)
    wrong = faults(found, console)
    for name in wrong:
        print(f"{options.report}: not so: {name}", file=sys.stderr)
    if wrong:
        print("\n".join([json.dumps(found)[:2000], *console]), file=sys.stderr)
        sys.exit(1)
    total, mistakes, pictures = found["total"], found["mistakes"], found["pictures"]
    print(f"{options.report}: {total} predictions, {mistakes} mistakes, {pictures} pictures; all is well")


if __name__ == "__main__":
    main()
