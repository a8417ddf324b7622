"""Which objects a body names, however it is written."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.dialects.form import Form
from limpet_extproc.dialects.port import BadRequestError
from limpet_extproc.request.references import MOST_IDS, in_form, mentions_any, references

FILE = {"type": "file", "file": {"file_id": "file-1"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"input_file_id": "file-1", "endpoint": "/v1/responses"}, {"file-1"}),
        ({"training_file": "file-1", "validation_file": "file-2"}, {"file-1", "file-2"}),
        ({"name": "x", "file_ids": ["file-1", "file-2", "file-1"]}, {"file-1", "file-2"}),
        ({"file_ids": [], "container": {"type": "auto"}, "file_id": None}, set()),
        ({"container": {"id": "c_1", "skills": [{"skill_id": "skill_1"}]}}, {"c_1", "skill_1"}),
        ({"tools": [{"file_search": {"vector_store_ids": ["vs_1"]}}]}, {"vs_1"}),
        ({"data_source": {"source": {"type": "file_id", "id": "file-1"}}}, {"file-1"}),
        ({"requests": [{"params": {"messages": [{"content": [FILE]}]}}]}, {"file-1"}),
        ({"pad": "x" * (1 << 20), "input_file_id": "file-1"}, {"file-1"}),
        ({"Input_File_ID": "file-1"}, {"file-1"}),
        ({"input_file_id": " file-1\n"}, {"file-1"}),
        ({"metadata": {"file_id": "file-1"}, "attributes": {"file_id": "file-2"}, "note": '"file_id":"x"'}, set()),
    ],
)
def test_what_makes_an_object_names_others_by_the_fields_for_that(body: dict[str, Any], expected: set[str]) -> None:
    assert set(references(json.dumps(body).encode(), "object")) == expected


@pytest.mark.parametrize(
    "body",
    [
        b'{"input_file_\\u0069d": "file-1"}',
        b'{"input_file_id": "file\\u002d1"}',
        b'{"input_file_id":"file-1","input_file_id":"file-2"}',
        b'{"input_file_id" \n:\t"file-1"}',
    ],
)
def test_no_way_to_write_it_hides_an_id(body: bytes) -> None:
    assert "file-1" in references(body, "object")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": [{"content": [FILE]}]}, {"file-1"}),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}], "container": "c_1"}, {"vs_1", "c_1"}),
        ({"previous_response_id": "resp_1", "input": '"file_id":"x"'}, set()),
        (
            {
                "messages": [
                    {"content": [{"type": "tool_use", "id": "t", "input": {"container": "web", "file_id": "x"}}]}
                ]
            },
            set(),
        ),
        ({"messages": [{"content": [{"type": "tool_result", "content": [{"source": {"file_id": "f"}}]}]}]}, {"f"}),
        ({"tools": [{"input_schema": {"properties": {"x": {"default": {"file_id": "x"}}}}}]}, set()),
        ({"input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "id": "msg_2"}]}, {"msg_1"}),
        ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}, {"id": "msg_1"}]}, {"msg_1"}),
    ],
)
def test_a_turn_names_files_and_items(body: dict[str, Any], expected: set[str]) -> None:
    data = json.dumps(body).encode()
    assert set(references(data, "turn")) == expected
    assert mentions_any(data, "turn") >= bool(expected)


@pytest.mark.parametrize(
    ("body", "items", "turn"),
    [
        (b'{"id": 1}', True, True),
        (b'{"ID": 1}', True, True),
        (b'{"\\u0069d": 1}', True, True),
        (b'{"File_Id": 1}', False, True),
        (b'{"\\u0049\\u0064": 1}', True, True),
        (b'{"I\\u0044": 1}', True, True),
        (b'{"file\\u005fid": 1}', False, True),
        (b'{"idx": "id", "text": "\\u00e9 file_id"}', True, True),
        (b'{"idx": "\\u00e9 file_id\\n"}', False, False),
    ],
)
def test_a_body_is_searched_if_a_name_may_stand_in_it(body: bytes, items: bool, turn: bool) -> None:
    assert (mentions_any(body, "items"), mentions_any(body, "turn")) == (items, turn)


def test_a_turn_of_two_readings_is_searched_in_both() -> None:
    body = b'{"messages":[{"content":[{"type":"tool_use","type":"image","input":{"file_id":"file-1"}}]}]}'
    assert references(body, "turn") == ("file-1",)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 100_000,
        b"\xff{}",
        b"\xef\xbb\xbf{}",
        b"[" + b"{}," * 1_000_001 + b"{}]",
        b'{"input_file_id":"file-\\ud83e"}',
        b'{"file_ids":["\\ud83e","\\udd8a"]}',
    ],
)
def test_what_cannot_be_searched_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        references(body, "object")


def test_too_many_are_refused() -> None:
    names = [f"file-{number}" for number in range(MOST_IDS + 1)]
    assert len(references(json.dumps({"file_ids": names[1:]}).encode(), "object")) == MOST_IDS
    with pytest.raises(BadRequestError):
        references(json.dumps({"file_ids": names}).encode(), "object")


@pytest.mark.parametrize("field", ["file_id", "file_ids[]", "file_ids[3]", "image[file_id]", "Container", "a.file_id"])
def test_a_form_names_them_in_its_fields(field: str) -> None:
    form = Form("multipart/form-data; boundary=x")
    body = f'--x\r\nContent-Disposition: form-data; name="{field}"\r\n\r\nfile-1\r\n--x--\r\n'.encode()
    assert in_form(body, form, "object") == ("file-1",)
    assert in_form(body.replace(b'name="', b'name="other_'), form, "object") in ((), ("file-1",))


@given(
    st.text(min_size=1, max_size=40), st.sampled_from(["file_id", "container", "vector_store_ids"]), st.integers(0, 6)
)
def test_a_plain_search_misses_nothing(object_id: str, field: str, depth: int) -> None:
    body: Any = {field: object_id}
    for number in range(depth):
        body = [body] if number % 2 else {"x": body}
    data = json.dumps(body).encode()
    assert mentions_any(data, "turn")
    assert references(data, "turn") == ((object_id.strip(),) if object_id.strip() else ())
