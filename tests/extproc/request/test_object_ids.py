"""Which object a path asks for, and which ones a body names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import api_of
from limpet_extproc.request.object_ids import ids_in_turn, named_ids, object_path


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
    assert object_path(api, path) == (expected, False)


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


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ()),
        (b'{"input_file_id": "file-1", "endpoint": "/v1/responses"}', ("file-1",)),
        (b'{"training_file":"file-1","validation_file" : "file-2"}', ("file-1", "file-2")),
        (b'{"name":"x","file_ids":["file-1", "file-2","file-1"]}', ("file-1", "file-2")),
        (b'{"file_ids":[],"container":{"type":"auto"},"file_id":null}', ()),
        (b'{"tools":[{"file_search":{"vector_store_ids":["vs_1"]}}]}', ("vs_1",)),
        (b'{"metadata":{"note":"\\"file_id\\":\\"x\\""}}', ()),
    ],
)
def test_a_body_names_others_by_the_fields_for_that(body: bytes, expected: tuple[str, ...]) -> None:
    assert named_ids(memoryview(body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"messages":[{"content":[{"type":"file","file":{"file_id":"file-1"}}]}]}', ("file-1",)),
        (b'{"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}],"container":"c_1"}', ("vs_1", "c_1")),
        (b'{"previous_response_id":"resp_1","input":"\\"file_id\\":\\"x\\""}', ()),
    ],
)
def test_a_turn_names_files_and_the_like(body: bytes, expected: tuple[str, ...]) -> None:
    assert ids_in_turn(body) == expected


@given(st.binary(max_size=200))
def test_any_body_may_be_searched(body: bytes) -> None:
    assert len(named_ids(b'"file_id":"' + body)) <= 32
