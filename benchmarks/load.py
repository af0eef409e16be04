"""Loading vectors into an index: our delivery beside opensearch-py's parallel_bulk and a bare loop.

First against a sink that answers at once (:mod:`benchmarks.bulk_sink`), which shows the client's
own limit; then with one row in fifty answered 429; then against a real server, the one at
OPENSEARCH_URL or one that is started as the tests do.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import product

from benchmarks.bulk_sink import running_sink
from benchmarks.load_clients import DIMENSION, write_rows
from benchmarks.load_runs import (
    NAMES,
    Bench,
    Facts,
    rounds_at_server,
    rounds_at_sink,
    throttled,
    wire_bytes,
)
from benchmarks.results import Section, Setting, Table, Target, main, median_and_range

GOAL_PARALLEL = 3.0
GOAL_BARE = 0.9
GOAL_THROTTLED = 1.5


def measure(setting: Setting) -> Section:
    """Every client in turn, so that a slow minute hits all alike; medians of the rounds."""
    rows = setting.pick(ci=8_000, full=60_000)
    busy_rows = setting.pick(ci=8_000, full=200_000)
    rounds = setting.pick(ci=1, full=3)
    threads = [1, 4] if setting.size == "ci" else [1, 2, 4, 8]
    chunks = [500] if setting.size == "ci" else [250, 500, 1000, 2000]
    bench = Bench(setting.work / "load.arrow")
    write_rows(bench.rows_file, rows=busy_rows)
    with running_sink() as url:
        for client in ("parallel", "parallel_orjson"):
            bench.tune(
                client, url, setting.pick(ci=2_000, full=10_000), [*product(threads, chunks)]
            )
        at_sink = rounds_at_sink(bench, url, rows, rounds)
        wire = wire_bytes(bench, url)
    disturbed = throttled(bench, busy_rows, rounds)
    at_server = rounds_at_server(bench, setting.pick(ci=1_000, full=6_000), rounds)
    bench.rows_file.unlink()
    failures = (
        [] if all(run["throttled"] for run in disturbed["with"]) else ["nothing was throttled"]
    )
    return Section(
        title="Loading an index",
        tables=[_sink_table(at_sink, wire), _server_table(at_server)],
        targets=_targets(at_sink, disturbed, at_server),
        notes=[
            f"{rows:,} vectors of {DIMENSION} numbers with an output's columns, read from a file "
            f"({busy_rows:,} where some are answered 429); each load in a process of its own. "
            "The sink and the client share the cores. "
            "The bare loop posts bodies that were made beforehand, one after the other: it does "
            "no encoding, which is most of the work of the others: orjson takes the same time for "
            "the numbers of a vector whoever calls it, so what is made in one process can't be "
            f"sent faster than it is encoded; ours is {_ratio(at_sink, 'encoding'):.2f} of that. "
            f"parallel_bulk was given the best of {len(threads) * len(chunks)} settings: "
            f"{bench.best}.",
        ],
        failures=failures,
        data={
            "rows": rows,
            "best": {name: dict(best) for name, best in bench.best.items()},
            "sink": at_sink,
            "wire_bytes_a_row": wire,
            "throttled": disturbed,
            "server": at_server,
        },
    )


def _sink_table(found: Mapping[str, list[Facts]], wire: Mapping[str, float]) -> Table:
    return Table(
        (
            "against a sink that answers at once",
            "vectors/s",
            "CPU seconds a million",
            "peak MB",
            "bytes on the wire a vector",
        ),
        [
            (
                NAMES[name],
                _rate(runs),
                f"{_cpu(runs):.1f}",
                "" if name.startswith(("bare", "encoding")) else f"{_peak(runs):.0f}",
                f"{wire[name]:,.0f}" if name in wire else "",
            )
            for name, runs in found.items()
        ],
    )


def _server_table(found: Mapping[str, list[Facts]]) -> Table:
    return Table(
        ("against a real server", "vectors/s", "CPU seconds a million"),
        [(NAMES[name], _rate(runs), f"{_cpu(runs):.1f}") for name, runs in found.items()],
    )


def _targets(
    sink: Mapping[str, list[Facts]],
    disturbed: Mapping[str, list[Facts]],
    server: Mapping[str, list[Facts]],
) -> list[Target]:
    parallel = _ratio(sink, "parallel")
    bare = _ratio(sink, "bare")
    bare_plain = _ratio(sink, "bare_plain")
    behind = min(_ratio(server, name) for name in server if name != "ours")
    slower = _median(disturbed["with"], "seconds") / _median(disturbed["without"], "seconds")
    return [
        Target(
            "sink: ours ÷ parallel_bulk at its best",
            f"≥ {GOAL_PARALLEL:g}",
            f"{parallel:.1f} (with orjson and numpy in it: {_ratio(sink, 'parallel_orjson'):.1f})",
            parallel >= GOAL_PARALLEL,
        ),
        Target(
            "sink: ours ÷ bare loop with ready-made bodies",
            f"≥ {GOAL_BARE:g}",
            f"{bare:.2f} (opensearch-py as it comes: {bare_plain:.2f})",
            bare >= GOAL_BARE,
        ),
        Target("server: ours ÷ the best of the others", "≥ 1", f"{behind:.2f}", behind >= 1),
        Target(
            "2 % of rows answered 429: time ÷ undisturbed",
            f"≤ {GOAL_THROTTLED:g}",
            f"{slower:.2f}",
            slower <= GOAL_THROTTLED,
        ),
    ]


def _ratio(found: Mapping[str, list[Facts]], other: str) -> float:
    return _median(found["ours"], "rows_a_second") / _median(found[other], "rows_a_second")


def _median(runs: list[Facts], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def _rate(runs: list[Facts]) -> str:
    return median_and_range([run["rows_a_second"] for run in runs])


def _cpu(runs: list[Facts]) -> float:
    return statistics.median(run["cpu_s"] / run["rows"] for run in runs) * 1e6


def _peak(runs: list[Facts]) -> float:
    return _median(runs, "peak_rss_bytes") / 1e6


if __name__ == "__main__":
    main(measure, __doc__)
