"""Arrays in files of their own."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write a .npy file, without pickle.

    Raises OSError with the errno of what went wrong, which numpy's own writing to a file drops
    where a disk fills up half way.
    """
    encoded = io.BytesIO()
    np.save(encoded, array, allow_pickle=False)
    path.write_bytes(encoded.getbuffer())
