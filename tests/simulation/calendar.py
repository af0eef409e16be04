"""What happens on which day, in a week and in a month."""

from __future__ import annotations

WEEK = {
    2: ("partial_listing", "clock_jumps_back"),
    3: ("killed", "nothing_changes"),
    4: ("two_runs", "file_renamed", "mass_deletion"),
    5: ("model_change",),
    6: ("roll_back", "killed"),
    7: ("zombie",),
}
MONTH = {
    **dict.fromkeys(range(3, 31, 3), ("killed",)),
    2: ("nothing_changes",),
    4: ("file_renamed",),
    5: ("partial_listing",),
    8: ("clock_jumps_back",),
    11: ("two_runs",),
    14: ("zombie",),
    17: ("mass_deletion",),
    20: ("model_change",),
    21: ("roll_back", "killed"),
    23: ("two_runs",),
    26: ("clock_jumps_back",),
    28: ("partial_listing",),
}


def events(days: int) -> dict[int, tuple[str, ...]]:
    """Of a week, or of a month."""
    return {7: WEEK, 30: MONTH}[days]
