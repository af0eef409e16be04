"""The fast tokenizer's memory, over more distinct words than it may remember."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nanotoken")

GROWTH_MB = 60
"""With the library's own limit it is about 200 MB."""

PROGRAM = """
import re, sys
from pathlib import Path

from embed_job.bundle import open_bundle
from embed_job.tokenizer import Tokenizer


def resident_mb():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def texts(number):
    words = [f"w{(number + at) * 2654435761 % 10**12:x}" for at in range(25_000)]
    return [" ".join(words[at : at + 25]) for at in range(0, len(words), 25)]


tokenizer = Tokenizer(open_bundle(Path(sys.argv[1]), precision="fp32"))
tokenizer.encode(texts(0))
tokenizer.encode(texts(25_000))
before = resident_mb()
for number in range(50_000, 1_000_000, 25_000):
    tokenizer.encode(texts(number))
print(resident_mb() - before)
"""


def test_words_that_are_remembered_are_bounded(default_bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(default_bundle)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < GROWTH_MB
