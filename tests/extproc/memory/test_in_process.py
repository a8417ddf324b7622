"""What only the memory of one process has: a bound."""

from limpet_extproc.memory import Warm
from limpet_extproc.memory.in_process import InProcessMemory


async def test_one_process_keeps_a_bounded_number_of_conversations_those_used_last() -> None:
    memory = InProcessMemory(max_conversations=3)
    memory.expect(b"0", "a", 0.0)
    for key in (b"1", b"2"):
        memory.remember(key, Warm("a", 300.0), 4, 0.0)
    assert await memory.lookup(b"1", 0.0)
    memory.remember(b"3", Warm("a", 300.0), 4, 0.0)
    memory.expect(b"4", "a", 0.0)
    assert len(memory) == 3
    assert [await memory.lookup(key, 0.0) is not None for key in (b"0", b"1", b"2", b"3", b"4")] == [
        False, True, False, True, True,
    ]  # fmt: skip
