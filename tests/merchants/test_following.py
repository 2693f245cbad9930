"""The fold of facts into episodes: the same end for any order, and the cases that people argue about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from merchants.following import Episode, Fact, FactKind, Following, fold
from merchants.models import EpisodeSource, FollowStatus

NOON = datetime(2026, 11, 1, 4, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return NOON + timedelta(seconds=seconds)


def follow(seconds: int, scene: str | None = None, source: EpisodeSource = EpisodeSource.EVENT) -> Fact:
    return Fact(at(seconds), FactKind.FOLLOW, source, scene)


def leave(seconds: int) -> Fact:
    return Fact(at(seconds), FactKind.LEAVE)


def sign(seconds: int) -> Fact:
    return Fact(at(seconds), FactKind.SIGN)


facts = st.lists(
    st.builds(
        Fact,
        at=st.integers(0, 200).map(at),
        kind=st.sampled_from(FactKind),
        source=st.sampled_from([EpisodeSource.EVENT, EpisodeSource.RECONCILE]),
        scene=st.sampled_from([None, "a", "b"]),
    ),
    max_size=8,
)


@settings(max_examples=1_000, deadline=None)
@given(facts, st.randoms())
def test_any_order_ends_in_the_same_episodes(told: list[Fact], random: object) -> None:
    shuffled = list(told)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert fold(shuffled) == fold(told)


@settings(max_examples=1_000, deadline=None)
@given(facts)
def test_going_on_from_the_newest_episode_equals_starting_over(told: list[Fact]) -> None:
    ordered = sorted(told, key=lambda fact: fact.at)
    for cut in range(len(ordered)):
        if cut and ordered[cut].at == ordered[cut - 1].at:
            continue
        before = fold(ordered[:cut])
        start = replace(before, episodes=before.episodes[-1:])
        whole = fold(ordered)
        assert fold(ordered[cut:], start).episodes == whole.episodes[max(0, len(before.episodes) - 1) :]
        assert fold(ordered[cut:], start).status is whole.status


@settings(max_examples=500, deadline=None)
@given(facts)
def test_episodes_are_in_order_and_only_the_last_is_open(told: list[Fact]) -> None:
    episodes = fold(told).episodes
    assert all(one.ended_at is not None and one.ended_at >= one.started_at for one in episodes[:-1])
    assert all(one.ended_at <= two.started_at for one, two in pairwise(episodes) if one.ended_at)


def test_a_leave_that_comes_late_closes_its_own_episode() -> None:
    assert fold([follow(0, "a"), follow(50, "b"), leave(20)]).episodes == (
        Episode(at(0), EpisodeSource.EVENT, "a", at(20)),
        Episode(at(50), EpisodeSource.EVENT, "b"),
    )


def test_a_message_after_a_leave_proves_a_follow() -> None:
    state = fold([follow(0, "a"), leave(10), sign(90)])
    assert state.status is FollowStatus.FOLLOWING
    assert state.episodes[-1] == Episode(at(90), EpisodeSource.IMPLIED)


def test_the_lost_follow_that_explains_a_message_replaces_the_implied_one() -> None:
    found = follow(80, "b", EpisodeSource.RECONCILE)
    assert fold([follow(0, "a"), leave(10), sign(90), found]).episodes[1:] == (
        Episode(at(80), EpisodeSource.RECONCILE, "b"),
    )


def test_what_the_reconciler_tells_never_replaces_what_an_event_told() -> None:
    state = fold([follow(0, "a"), follow(3, "b", EpisodeSource.RECONCILE)])
    assert state.episodes == (Episode(at(0), EpisodeSource.EVENT, "a"),)


def test_an_event_replaces_what_the_reconciler_told_of_the_same_follow() -> None:
    state = fold([follow(0, "b", EpisodeSource.RECONCILE), follow(3, "a")])
    assert state.episodes == (Episode(at(3), EpisodeSource.EVENT, "a"),)


def test_following_twice_means_a_leave_nobody_told() -> None:
    assert fold([follow(0, "a"), follow(500, "b")]).episodes == (
        Episode(at(0), EpisodeSource.EVENT, "a", at(500)),
        Episode(at(500), EpisodeSource.EVENT, "b"),
    )


def test_follow_and_leave_in_one_second_are_ambiguous_until_the_platform_decides() -> None:
    state = fold([follow(0, "a"), leave(0)])
    assert state.status is FollowStatus.AMBIGUOUS
    assert fold([sign(5)], state).status is FollowStatus.FOLLOWING
    assert fold([leave(1)], state).episodes == (Episode(at(0), EpisodeSource.EVENT, "a", at(1)),)


def test_nothing_told_is_nothing_known() -> None:
    assert fold([]) == Following()
