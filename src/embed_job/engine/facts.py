"""What a loaded engine says of itself, for logs and reports."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """engine: as a spec names it, never auto. device: ``CPU``, or the GPU's own name.

    instructions: that its kernels were chosen for, as in ``avx512`` or ``sm_90``; "" where a
    library chooses for itself.
    """

    engine: str
    device: str
    instructions: str = ""

    def __str__(self) -> str:
        """As in ``native on CPU (avx512)``."""
        told = f" ({self.instructions})" if self.instructions else ""
        return f"{self.engine} on {self.device}{told}"
