"""How episodes and their attributions are brought to what is now known: nothing of the court's is ever edited away."""

from collections.abc import Sequence
from typing import Any

from bot.changes import Changes
from bot.store import Ids, StoredEpisode
from merchants.following import Episode, Following
from qrcodes.attribution import VOID, Credit
from qrcodes.models import AttributionKind


def write_episodes(
    follower_id: int,
    stored: Sequence[StoredEpisode],
    following: Following,
    verdicts: Sequence[Credit],
    *,
    ids: Ids,
    changes: Changes,
) -> None:
    """Bring the stored episodes to what is now known: what differs is superseded, never edited away."""
    by_start = {one.episode.started_at: one for one in stored}
    for episode, verdict in zip(following.episodes, verdicts, strict=True):
        before = by_start.pop(episode.started_at, None)
        if before is None:
            episode_id, attribution_id = ids.episodes.pop(), ids.attributions.pop()
            changes["new_episodes"].append(
                {"id": episode_id, "follower_id": follower_id, "started_at": episode.started_at,
                 "ended_at": episode.ended_at, "source": episode.source, "scene": episode.scene,
                 "attribution_id": attribution_id}
            )  # fmt: skip
            _write_attribution(attribution_id, episode_id, follower_id, episode, verdict, None, changes)
            continue
        attribution_id = before.attribution_id
        if verdict != before.credit:
            attribution_id = ids.attributions.pop()
            _write_attribution(attribution_id, before.id, follower_id, episode, verdict, before.attribution_id, changes)
        if episode != before.episode or attribution_id != before.attribution_id:
            kind = "changed_episodes" if episode.ended_at is None else "ended_episodes"
            changes[kind].append(_changed(before.id, episode, attribution_id, is_void=False))
    for gone in by_start.values():
        attribution_id = ids.attributions.pop()
        void = Credit(AttributionKind.VOID, None, None, VOID, gone.credit.rule_version)
        _write_attribution(attribution_id, gone.id, follower_id, gone.episode, void, gone.attribution_id, changes)
        ended = Episode(
            gone.episode.started_at,
            gone.episode.source,
            gone.episode.scene,
            gone.episode.ended_at or gone.episode.started_at,
        )
        changes["ended_episodes"].append(_changed(gone.id, ended, attribution_id, is_void=True))


def _changed(episode_id: int, episode: Episode, attribution_id: int, *, is_void: bool) -> dict[str, Any]:
    return {"id": episode_id, "ended_at": episode.ended_at, "source": episode.source, "scene": episode.scene,
            "attribution_id": attribution_id, "is_void": is_void}  # fmt: skip


def _write_attribution(
    attribution_id: int,
    episode_id: int,
    follower_id: int,
    episode: Episode,
    verdict: Credit,
    supersedes: int | None,
    changes: Changes,
) -> None:
    changes["attributions"].append(
        {"id": attribution_id, "episode_id": episode_id, "follower_id": follower_id, "merchant_id": verdict.merchant_id,
         "code_id": verdict.code_id, "kind": verdict.kind, "followed_at": episode.started_at, "rule": verdict.rule,
         "rule_version": verdict.rule_version, "source": episode.source, "supersedes": supersedes}
    )  # fmt: skip
