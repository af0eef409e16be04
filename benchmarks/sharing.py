"""How evenly hosts share inputs of skewed sizes, under each way of sharing; simulated."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmarks.results import Section, Setting, Table, Target, main
from launcher.planning.listing import code_of
from launcher.planning.sharing import Shares, cut, simulate

MIB = 1 << 20
HOSTS = (4, 20, 100)
Sizes = npt.NDArray[np.int64]


def corpora(objects: int, rng: np.random.Generator) -> dict[str, Sizes]:
    """Sizes in bytes, about 64 GiB in all."""
    total = 64 << 30
    shapes = {
        "equal": np.ones(objects),
        "lognormal, sigma 1": rng.lognormal(0, 1, objects),
        "lognormal, sigma 2": rng.lognormal(0, 2, objects),
        "Zipf, exponent 1": 1 / rng.permutation(np.arange(1, objects + 1)),
        "one object of half the bytes": np.r_[np.ones(objects - 1), objects - 1.0],
        "as many objects as hosts (100)": rng.lognormal(0, 1, 100),
    }
    return {
        name: np.maximum(1, shape / shape.sum() * total).astype(np.int64)
        for name, shape in shapes.items()
    }


def simulated(sizes: Sizes, hosts: int) -> tuple[Shares, Shares]:
    """JSONL files of these sizes: sharded, balanced."""
    made = cut(sizes, np.full(len(sizes), code_of("a.jsonl"), np.uint8), split_mib=None)
    return (
        simulate(made, sizes, "sharded_by_s3_key", hosts=hosts, workers=16),
        simulate(made, sizes, "balanced", hosts=hosts, workers=16),
    )


def measure(setting: Setting) -> Section:
    """Every corpus on every number of hosts."""
    objects = setting.pick(ci=1_000, full=10_000)
    rows, worst = [], 1.0
    data: dict[str, dict[str, float]] = {}
    for name, sizes in corpora(objects, np.random.default_rng(0)).items():
        row = [name]
        for hosts in HOSTS:
            sharded, balanced = simulated(sizes, hosts)
            spread = f"{sharded.makespan:.2f} ({sharded.lowest:.2f}–{sharded.highest:.2f})"
            row += [spread, f"{balanced.makespan:.2f}"]
            worst = max(worst, balanced.makespan)
            data[f"{name}, {hosts} hosts"] = {
                "sharded": sharded.makespan,
                "balanced": balanced.makespan,
            }
        rows.append(tuple(row))
    headers = [f"{hosts} hosts, {way}" for hosts in HOSTS for way in ("sharded", "balanced")]
    return Section(
        title="How evenly hosts share skewed inputs",
        tables=[Table(("sizes of objects", *headers), rows)],
        targets=[
            Target("balanced, worst of all", "≤ 1.10", f"{worst:.2f}", worst <= 1.10),
        ],
        notes=[
            f"{objects:,} JSONL objects, 64 GiB in all, 16 workers a host. Figures are the busiest "
            "host's part relative to a perfect share: 2.00 takes twice as long. Sharded: the "
            "median over six orders of the objects, least and most in brackets."
        ],
        data=data,
    )


if __name__ == "__main__":
    main(measure, __doc__)
