"""A folder is listed while others write to it."""

import threading
from pathlib import Path

from embed_job.commit.commits import Commits
from embed_job.storage.local import LocalStore

THERE = 50


def test_no_committed_split_is_overlooked_while_others_commit(tmp_path: Path) -> None:
    commits = Commits(LocalStore(), str(tmp_path))
    there = {f"{number:064x}" for number in range(THERE)}
    for name in there:
        LocalStore().create(commits.key("manifests", f"{name}.json"), b"{}")
    done = threading.Event()

    def commit_more() -> None:
        number = THERE
        while not done.is_set():
            LocalStore().create(commits.key("manifests", f"{number:064x}.json"), b"{}")
            number += 1

    writer = threading.Thread(target=commit_more)
    writer.start()
    try:
        overlooked = [there - commits.committed_names() for _ in range(150)]
    finally:
        done.set()
        writer.join()
    assert not any(overlooked)
