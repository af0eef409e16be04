"""What a container of the local service sees and may do: run as the entrypoint of tests' jobs.

Standard library alone. Reads WHAT from the environment: words parted by commas, each of which
may end in @host.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("EMBED_JOB_ROOT", "/"))
OPT = ROOT / "opt/ml"
OUT = OPT / "processing/output/out"


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def files_below(folder):
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def network():
    """Names of the interfaces that are up beside loopback."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    return sorted({line.split(":")[0].strip() for line in lines} - {"lo"})


def see():
    inputs = OPT / "processing/input"
    channels = [path for path in inputs.iterdir() if path.name != "code"]
    return {
        "config": {path.name: json.loads(path.read_text()) for path in OPT.glob("config/*.json")},
        "environment": dict(os.environ),
        "inputs": {channel.name: files_below(channel) for channel in channels},
        "arguments": sys.argv[1:],
        "network": network(),
        "output_is_there": OUT.is_dir(),
    }


def leave(*_):
    (OPT / "output/message").write_text("told to leave ")
    say("SIGTERM came")
    sys.exit(143)


def put(name, text):
    """As a file of an output should come: renamed into place."""
    temporary = OPT / name
    temporary.write_text(text)
    temporary.rename(OUT / name)


def main():
    me = json.loads((OPT / "config/resourceconfig.json").read_text())["current_host"]
    words = [word.partition("@") for word in os.environ.get("WHAT", "").split(",")]
    wanted = {word for word, _, host in words if host in ("", me)}
    say(f"this is {me}")
    say(json.dumps({"event": "started", "host": me, "splits": 3}))
    if "message" in wanted:
        (OPT / "output/message").write_text(f"{me}: " + "é" * 300)
    if "leave" in wanted:
        signal.signal(signal.SIGTERM, leave)
    if "deaf" in wanted:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "link" in wanted:
        (OPT / "output/message").symlink_to("/etc/hostname")
        (OUT / "link").symlink_to("/etc/hostname")
        (OUT / "folder").symlink_to("/etc")
    put(f"seen-{me}.json", json.dumps(see()))
    if "fail" in wanted:
        sys.exit(3)
    if "stay" in wanted:
        say("staying")
        time.sleep(120)


main()
