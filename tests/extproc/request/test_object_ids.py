"""Which object a path asks for."""

import pytest

from limpet_extproc.contract.apis import api_of
from limpet_extproc.request.object_ids import object_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/files", ""),
        ("/files/file-1", "file-1"),
        ("/files/file-1/content", "file-1"),
        ("/files/file%2D1", "file-1"),
        ("/responses/resp_1/input_items", "resp_1"),
        ("/fine_tuning/jobs", ""),
        ("/fine_tuning/jobs/ftjob-1/events", "ftjob-1"),
        ("/messages/batches", ""),
        ("/messages/batches/msgbatch_1/results", "msgbatch_1"),
        ("/threads/runs", ""),
        ("/threads/thread_1/runs/run_1", "thread_1"),
        ("/vector_stores/vs_1/files/file-1", "vs_1"),
    ],
)
def test_a_path_asks_for_the_object_that_all_else_belongs_to(path: str, expected: str) -> None:
    api = api_of(path)
    assert api is not None
    assert object_path(api, path)[:2] == (expected, False)


@pytest.mark.parametrize(
    "path",
    [
        "/files/mine/../theirs",
        "/files/mine/%2e%2E/theirs",
        "/files/mine/%252e%252e/theirs",
        "/files/mine%2F..%2Ftheirs",
        "/files/mine/..\\theirs",
        "/files/./theirs",
    ],
)
def test_a_path_that_could_lead_to_another_object_is_odd(path: str) -> None:
    api = api_of(path)
    assert api is not None
    assert object_path(api, path).odd
