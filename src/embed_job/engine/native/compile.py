"""Compile the kernels, a library for each instruction set: ``python compile.py OUT``.

ziglang brings its own C compiler and C library headers, so the result is the same on any machine
and runs with glibc 2.17 and later. Standard library only, and imports nothing of this package: the
build hook and the Dockerfile run this file where the package is not installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
KERNELS = HERE / "kernels"
LIBRARIES = HERE / "libraries"
_TIMEOUT_S = 300


class Variant(NamedTuple):
    """An instruction set. needs: the flags of /proc/cpuinfo without which it does not run."""

    name: str
    machine: str
    options: tuple[str, ...]
    needs: frozenset[str]


_AVX2 = frozenset(["avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"])
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_WIDE = "-mprefer-vector-width=512"
VARIANTS = (
    Variant(
        "avx512_vnni",
        "x86_64",
        ("-mcpu=x86_64_v4+avx512vnni", _WIDE),
        _AVX512 | {"avx512_vnni"},
    ),
    Variant("avx512", "x86_64", ("-mcpu=x86_64_v4", _WIDE), _AVX512),
    Variant("avx2", "x86_64", ("-mcpu=x86_64_v3",), _AVX2),
    Variant("neon_dotprod", "aarch64", ("-mcpu=generic+dotprod",), frozenset(["asimddp"])),
    Variant("neon", "aarch64", (), frozenset()),
)
"""The best first."""
# No -ffast-math: NaN must come out as NaN, so that whoever asked refuses the vector.
_OPTIONS = (
    *("-O3", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden", "-s"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math"),
    *("-Wall", "-Wextra", "-Werror"),
)
_TARGETS = {
    ("linux", "x86_64"): "x86_64-linux-gnu.2.17",
    ("linux", "aarch64"): "aarch64-linux-gnu.2.17",
    ("darwin", "aarch64"): "aarch64-macos.11.0",
}
_WHEEL_TAGS = {
    ("linux", "x86_64"): "manylinux_2_17_x86_64",
    ("linux", "aarch64"): "manylinux_2_17_aarch64",
    ("darwin", "aarch64"): "macosx_11_0_arm64",
}


def machine() -> str:
    """This machine's processor family, as VARIANTS names it."""
    name = platform.machine().lower()
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(name, name)


def library_file(variant: str) -> str:
    """The name of a variant's library."""
    return f"kernels_{variant}.so"


def wheel_tag() -> str:
    """The platform tag of a wheel that carries the libraries."""
    return _WHEEL_TAGS[sys.platform, machine()]


def obstacle() -> str | None:
    """Why nothing can be compiled here; None where it can."""
    if (sys.platform, machine()) not in _TARGETS:
        return f"there are no kernels for {sys.platform} on {machine()}"
    if importlib.util.find_spec("ziglang") is None:
        return "the compiler, ziglang, is not installed"
    return None


def sources_digest() -> str:
    """What libraries are compiled of: they say the same of themselves (``kernel_sources``)."""
    digest = hashlib.sha256(repr(_OPTIONS).encode())
    for path in sorted(KERNELS.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


def compile_all(out: Path) -> list[Path]:
    """Compile the variants of this processor family into the folder out; the libraries.

    SubprocessError where the compiler fails, having said why, or hangs.
    """
    out.mkdir(parents=True, exist_ok=True)
    variants = [variant for variant in VARIANTS if variant.machine == machine()]
    with (
        # The compiler keeps what it makes of C's headers; the home folder may be read-only.
        tempfile.TemporaryDirectory(prefix=".cache.", dir=out) as cache,
        ThreadPoolExecutor(len(variants)) as pool,
    ):
        return list(pool.map(lambda variant: _compile(variant, out, cache), variants))


def _compile(variant: Variant, out: Path, cache: str) -> Path:
    """A library appears whole: a process may be loading the one that it replaces."""
    file = out / library_file(variant.name)
    sources = sorted(path.name for path in KERNELS.glob("*.c"))
    with tempfile.TemporaryDirectory(prefix=".compile.", dir=out) as work:
        made = Path(work) / file.name
        command = [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, *variant.options]
        command += ["-target", _TARGETS[sys.platform, variant.machine], *sources, "-o", str(made)]
        command.append(f'-DKERNEL_SOURCES="{sources_digest()}"')
        caches = {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
        subprocess.run(  # noqa: S603 - our own words
            command, check=True, cwd=KERNELS, env=os.environ | caches, timeout=_TIMEOUT_S
        )
        made.replace(file)
    return file


def main(words: list[str]) -> None:
    """Compile, or say in one line why not."""
    out = Path(words[0]).resolve() if words else LIBRARIES
    reason = obstacle()
    if reason is not None:
        out.mkdir(parents=True, exist_ok=True)
        sys.stderr.write(f"Without the native engine: {reason}.\n")
        return
    compile_all(out)


if __name__ == "__main__":
    main(sys.argv[1:])
