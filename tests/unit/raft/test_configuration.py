"""Who belongs to the cluster: the payload of CONFIGURATION entries, majorities, and which change may follow which."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.errors import BadBytes, CallerError, UnknownFormat
from rsm.limits import MEMBERS_MAX
from rsm.raft.configuration import NODE_ID_MAX, Configuration, Member, decode_configuration
from tests.unit.raft.network import configuration_of

MEMBERS = st.builds(
    Member, st.integers(1, NODE_ID_MAX), st.text(max_size=8), st.text(max_size=8), st.booleans(), st.booleans()
)
CONFIGURATIONS = st.lists(MEMBERS, max_size=9, unique_by=lambda member: member.id).map(
    lambda members: Configuration(tuple(sorted(members, key=lambda member: member.id)))
)


@given(CONFIGURATIONS)
def test_a_configuration_comes_out_of_its_entry_as_it_went_in(configuration: Configuration) -> None:
    """Encoding and decoding are each other's inverse."""
    assert decode_configuration(configuration.encode()) == configuration


@given(CONFIGURATIONS, st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_one_is_valid_or_refused(configuration: Configuration, damage: list[tuple[int, int]]) -> None:
    """Changed bytes give a configuration that keeps the rules, or an error of the family."""
    data = bytearray(configuration.encode())
    for place, byte in damage:
        data[place % len(data)] = byte
    try:
        ids = decode_configuration(bytes(data)).ids
    except (BadBytes, UnknownFormat):
        return
    assert list(ids) == sorted(set(ids))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([Member(2, "", ""), Member(1, "", "")], "rising number"),
        ([Member(1, "", ""), Member(1, "", "")], "rising number"),
        ([Member(0, "", "")], "rising number"),
        ([Member(NODE_ID_MAX + 1, "", "")], "rising number"),
        ([Member(number, "", "") for number in range(1, MEMBERS_MAX + 2)], "exceeds the bound"),
    ],
)
def test_bad_members_are_refused(members: list[Member], why: str) -> None:
    """Numbers rise, are positive, 31 bits at most, and there are not too many."""
    with pytest.raises(BadBytes, match=why):
        Configuration(tuple(members))
    with pytest.raises(BadBytes, match=why):
        decode_configuration(cbor.encode([1, members]))


def test_bytes_of_another_format_are_refused() -> None:
    """A newer format is told from damage."""
    with pytest.raises(UnknownFormat):
        decode_configuration(cbor.encode([2, []]))
    with pytest.raises(BadBytes):
        decode_configuration(cbor.encode([1, [], 3]))
    with pytest.raises(BadBytes):
        decode_configuration(cbor.encode([1, [[1, "a"]]]))


def test_learners_do_not_vote() -> None:
    """A majority is one of the voters."""
    configuration = configuration_of(1, 2, learners=(3, 4), joining=(5,))
    assert (configuration.voters, configuration.ids, configuration.quorum) == ((1, 2), (1, 2, 3, 4, 5), 2)


@given(st.sets(st.integers(1, 7), min_size=1), st.integers(1, 7))
def test_every_majority_before_a_change_meets_every_majority_after_it(voters: set[int], changed: int) -> None:
    """What `check_change` lets through cannot make two disjoint majorities (dissertation, 4.1)."""
    before, after = configuration_of(*sorted(voters)), configuration_of(*sorted(voters ^ {changed}))
    if not after.voters:
        with pytest.raises(CallerError, match="last voter"):
            before.check_change(after)
        return
    before.check_change(after)
    for one in itertools.combinations(before.voters, before.quorum):
        for other in itertools.combinations(after.voters, after.quorum):
            assert set(one) & set(other)


@given(st.sets(st.integers(1, 6), min_size=1), st.sets(st.integers(1, 6), min_size=1))
def test_more_than_one_voter_at_a_time_is_refused(voters: set[int], others: set[int]) -> None:
    """Adding one and removing another at once is two changes."""
    before, after = configuration_of(*sorted(voters)), configuration_of(*sorted(others))
    if len(voters ^ others) > 1:
        with pytest.raises(CallerError, match="one voter at a time"):
            before.check_change(after)
    else:
        before.check_change(after)
