"""The kernels are compiled anew, as an installation and the image's build do it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from embed_job.engine.native.compile import (
    LIBRARIES,
    VARIANTS,
    library_file,
    machine,
    main,
    obstacle,
)
from embed_job.engine.native.library import open_library, runnable_variants


def test_the_package_holds_what_its_sources_give(tmp_path: Path) -> None:
    """Byte for byte, wherever they are compiled; make installs anew where a kernel is younger."""
    assert obstacle() is None
    main([str(tmp_path / "libraries")])
    made = {path.name: path.read_bytes() for path in (tmp_path / "libraries").iterdir()}
    names = {library_file(variant.name) for variant in VARIANTS if variant.machine == machine()}
    assert set(made) == names
    assert made == {name: (LIBRARIES / name).read_bytes() for name in names}


def test_a_library_of_other_sources_is_not_loaded(tmp_path: Path) -> None:
    """Say, of before a checkout: its functions may take other arguments."""
    variant = runnable_variants()[0]
    shutil.copytree(LIBRARIES.parent / "kernels", tmp_path / "kernels")
    shutil.copyfile(LIBRARIES.parent / "compile.py", tmp_path / "compile.py")
    with (tmp_path / "kernels" / "model.h").open("a") as stream:
        stream.write("/* another version */\n")
    subprocess.run([sys.executable, tmp_path / "compile.py"], check=True)
    assert open_library(LIBRARIES / library_file(variant), variant) is not None
    assert open_library(tmp_path / "libraries" / library_file(variant), variant) is None
