"""Fingerprints: the keys that differ between two tables are found, in whatever order rows come."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_workstation.verify.fingerprints import Fingerprints, added, compare, digest, numbered

ROWS = st.dictionaries(st.integers(0, 50), st.integers(0, 3))


def _prints(rows: list[tuple[int, int]], rows_in_memory: int = 1000) -> Fingerprints:
    prints = Fingerprints(rows_in_memory)
    for key, value in rows:
        prints.add(digest((str(key),)), digest((str(key), str(value))))
    return prints


@given(ROWS, ROWS, st.randoms(use_true_random=False), st.integers(0, 60))
@settings(deadline=None)
def test_differing_keys_are_those_of_a_plain_comparison(ours, theirs, random, rows_in_memory) -> None:
    shuffled = list(theirs.items())
    random.shuffle(shuffled)
    with _prints(list(ours.items()), rows_in_memory) as one, _prints(shuffled, rows_in_memory) as other:
        found = compare(one, other)
        wanted = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}

        assert found.entries.keys() == {digest((str(key),)) for key in wanted}
        assert found.count == len(wanted)
        assert found.is_complete
        assert (one.checksum == other.checksum) == (not wanted)
        assert (one.rows, other.rows) == (len(ours), len(theirs))


def test_key_that_is_twice_in_delta_differs_though_its_rows_are_right() -> None:
    with _prints([(1, 1), (2, 2)]) as one, _prints([(1, 1), (1, 1), (2, 2)]) as other:
        assert compare(one, other).entries.keys() == {digest(("1",))}


def test_beyond_a_number_differing_keys_are_only_counted() -> None:
    with _prints([(key, 0) for key in range(10)]) as one, _prints([]) as other:
        found = compare(one, other, told=3)

    assert (found.count, len(found.entries), found.is_complete) == (10, 3, False)


def test_values_that_look_alike_when_joined_have_other_digests() -> None:
    assert len({digest(row) for row in [("a", "b"), ("ab",), ("a,b",), ("a", None), ("a", "None"), (None,), ()]}) == 7


def test_equal_rows_without_a_key_are_told_apart_by_their_number() -> None:
    first, second = numbered(), numbered()
    row, other = ("a",), ("b",)

    assert [first(one) for one in (row, other, row)] == [second(one) for one in (row, other, row)]
    assert first(row) not in {second(other), digest(row)}


def test_checksum_forgets_a_row_that_is_taken_away() -> None:
    row = digest(("1",))

    assert added(added(5, row), row, times=-1) == 5
    assert added(5, None) == 5
