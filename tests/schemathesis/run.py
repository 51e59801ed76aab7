"""Runs schemathesis against a binary, once with each credential. The last line has the numbers of operations that
passed and failed.

    python run.py BINARY REPORTS [CREDENTIAL…]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from pathlib import Path

import requests

HERE = Path(__file__).parent
# The phases of each credential. Stateful runs need a credential with enough permissions.
RUNS = {
    "nothing": "examples,coverage,fuzzing",
    "session": "examples,coverage,fuzzing,stateful",
    "session-token": "examples,fuzzing",
    "access-token": "examples,coverage,fuzzing,stateful",
    "full-key": "examples,coverage,fuzzing",
    "narrow-key": "examples,fuzzing",
    "tenant-key": "examples,fuzzing",
}
SEED = "2026"
# A run that takes longer fails.
RUN_TIMEOUT_SECONDS = 180


def serve(binary, folder):
    """Starts the binary in an empty folder; returns the process and its URL."""
    arguments = ["--listen", "127.0.0.1:0", "--registration", "open", "--database-url", "sqlite:latchkey.db"]
    # hooks.py signs in from a different address each time (X-Forwarded-For).
    arguments += ["--trusted-proxies", "127.0.0.1"]
    log = open(folder / "log", "w", encoding="utf-8")
    child = subprocess.Popen([binary, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
    for line in child.stdout:
        if found := re.search(r"Open (http\S+)", line):
            return child, found[1].rstrip("/.")
    raise SystemExit(f"the server ended: {(folder / 'log').read_text()}")


def run(kind, url, tenant, reports):
    report = reports / f"{kind}.xml"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LATCHKEY_URL": url,
        "LATCHKEY_TENANT": tenant,
        "LATCHKEY_CREDENTIAL": kind,
    }
    program = [str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(HERE / "schemathesis.toml"), "run"]
    options = ["--phases", RUNS[kind], "--seed", SEED, "--checks", "all", "--continue-on-failure"]
    options += ["--report", "junit", "--report-junit-path", str(report), "--request-timeout", "10", "--warnings", "off"]
    log = reports / f"{kind}.log"
    began = time.monotonic()
    with open(log, "w", encoding="utf-8") as out:
        ended = subprocess.run(
            [*program, *options, f"{url}/openapi.json"], env=environment, stdout=out, stderr=out, timeout=RUN_TIMEOUT_SECONDS, check=False
        )
    passed = failed = 0
    if report.exists():
        for case in xml.parse(report).getroot().iter("testcase"):
            wrong = case.find("failure") is not None or case.find("error") is not None
            passed, failed = passed + (not wrong), failed + wrong
            if wrong:
                print(f"    failed with {kind}: {case.get('name')}")
    if failed == 0 and (ended.returncode != 0 or passed == 0):
        failed = 1
    if failed:
        print(f"    see {log}")
    print(f"    {kind:<14} {passed:>3} passed, {failed} failed ({time.monotonic() - began:.0f} s)", flush=True)
    return passed, failed


def main():
    binary, reports = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    reports.mkdir(parents=True, exist_ok=True)
    kinds = sys.argv[3:] or list(RUNS)
    with tempfile.TemporaryDirectory(prefix="latchkey-schemathesis-") as folder:
        child, url = serve(binary, Path(folder))
        try:
            account = {"email": "ada@example.com", "password": "correct horse battery"}
            answer = requests.post(f"{url}/v1/auth/register", json=account, timeout=10)
            answer.raise_for_status()
            tenant = answer.json()["organisations"][0]["tenant_id"]
            results = [run(kind, url, tenant, reports) for kind in kinds]
            ended_early = child.poll() is not None
        finally:
            child.terminate()
            child.wait(timeout=30)
        log = (Path(folder) / "log").read_text()
        (reports / "server.log").write_text(log)
    passed, failed = (sum(column) for column in zip(*results))
    panics = sum(json.loads(line).get("level") == "ERROR" for line in log.splitlines() if line.startswith("{"))
    if panics or ended_early or child.returncode != 0:
        print(f"    the server had trouble: {panics} errors in {reports}/server.log, ended with {child.returncode}")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
