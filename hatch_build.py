"""The build's hook: compiles the native engine's kernels into the package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src/embed_job/engine/native")


class NativeHook(BuildHookInterface):  # type: ignore[type-arg] # its configuration is not used
    """Without the compiler the package installs all the same, without the native engine."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, before files are gathered; a wheel with kernels is for this platform alone."""
        compiler = _load(Path(self.root) / NATIVE / "compile.py")
        reason = compiler.obstacle()
        if reason is not None:
            sys.stderr.write(f"embed-job is built without its native engine: {reason}.\n")
            return
        try:
            compiler.compile_all(compiler.LIBRARIES)
        except subprocess.SubprocessError as error:
            sys.stderr.write(f"embed-job is built without its native engine: {error}.\n")
            return
        build_data["artifacts"].append(f"{(NATIVE / 'libraries').as_posix()}/*.so")
        if version != "editable":
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{compiler.wheel_tag()}"


def _load(path: Path) -> ModuleType:
    """A module of the package, whose libraries are not there at build time."""
    spec = importlib.util.spec_from_file_location("native_compile", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} can't be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
