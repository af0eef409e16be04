"""One host of a job as a process of its own: ``fleet_host.py <facts.json>``, as container/ does."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(path: Path) -> int:
    from embed_job.commit.lease import Rhythm
    from embed_job.errors import ExitCode, UserError
    from embed_job.fleet import Host
    from embed_job.fleet.claims import Pace
    from embed_job.fleet.listing import listing_of_order, local_share
    from embed_job.fleet.order import read_order
    from embed_job.fleet.planning import InputSet
    from embed_job.fleet.run import run_host
    from embed_job.progress import LogProgress
    from embed_job.stop import StopSignals

    facts = json.loads(path.read_text())
    folder = Path(facts["job_folder"])
    order = read_order(folder)
    pace, rhythm = Pace(**facts["pace"]), Rhythm(**facts.get("rhythm", {}))
    earlier = Path(facts["earlier"]) if facts.get("earlier") else None
    host = Host(facts["job"], facts["host"], facts["rank"], facts["count"])
    with StopSignals() as stop:
        try:
            if facts["documents"] is None:
                uri = order.spec.input.uri
                listing = listing_of_order(folder, order, source_uri=uri)
                inputs = InputSet(uri, listing, earlier, pace, rhythm)
            else:
                documents = Path(facts["documents"])
                inputs = InputSet(
                    str(documents), local_share(documents, folder, order), earlier, pace, rhythm
                )
            result = run_host(
                order,
                host,
                inputs,
                target_uri=facts["target"],
                spool=Path(facts["spool"]),
                bundle=None,
                progress=LogProgress(sys.stderr, clock=time.monotonic),
                stop=stop,
            )
        except UserError as error:
            print(error, file=sys.stderr)  # noqa: T201
            return int(error.exit_code)
    outcome = {
        "exit_code": int(result.exit_code),
        "committed": result.splits_committed,
        "planned": result.splits_planned,
        "documents": result.counts.documents.written,
        "finalized": result.finalized,
        "left_to": result.left_to,
        "problems": result.problems,
    }
    print(json.dumps(outcome))  # noqa: T201
    return int(result.exit_code or ExitCode.OK)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
