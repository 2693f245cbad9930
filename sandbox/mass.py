"""Mass sends: who gets them, what the month still allows, and the event that says how it went.

Whoever gets one has it as soon as it is accepted. What comes later is the platform's word about it:
`mass/get` says SENDING until the event leaves, whether or not it arrives.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox import events
from sandbox.jsontext import JsonObject, compact
from sandbox.platform import Platform
from sandbox.state import JobState, MassJob, Person

PER_FOLLOWER_MONTH = 4
FINISHES_AFTER = 0.3
SUCCESS = "send success"


@dataclass(frozen=True)
class Content:
    """What a mass send says: its kind, the messages it becomes in a chat, the articles' material if it has any."""

    kind: str
    messages: list[JsonObject]
    media_id: str = ""

    @property
    def fingerprint(self) -> str:
        """Two that say the same have the same."""
        return compact([self.kind, self.media_id, self.messages])


def send(
    platform: Platform,
    people: Iterable[Person],
    content: Content,
    *,
    by: str,
    clientmsgid: str | None = None,
    verdict: str = SUCCESS,
) -> MassJob:
    """Accept a mass send: whoever may still get it this month has it now; the event about it follows."""
    state, month = platform.state, platform.clock.month()
    got = state.deliveries.in_month(month)
    asked, left, full, delivered = [], [], [], []
    for person in people:
        openid = person.openid
        asked.append(openid)
        if not person.following:
            left.append(openid)
        elif got.get(openid, 0) >= PER_FOLLOWER_MONTH:
            full.append(openid)
        else:
            delivered.append(openid)
    job = MassJob(
        msg_id=state.new_msg_id(),
        kind=content.kind,
        media_id=content.media_id,
        accepted_at=platform.clock.now(),
        total=len(asked),
        filtered=len(delivered),
        verdict=verdict,
    )
    if verdict != SUCCESS:
        delivered = []
    state.mass_jobs.put(str(job.msg_id), job)
    state.deliveries.add(job.msg_id, month, delivered)
    at = int(platform.clock.now())
    for message in content.messages:
        state.chats.add_to_all(delivered, {"at": at, "from": "account", **message, "msg_id": job.msg_id})
    platform.log.add(
        "mass",
        by=by,
        msg_id=job.msg_id,
        clientmsgid=clientmsgid,
        content=content.kind,
        messages=content.messages,
        openids=asked,
        delivered=delivered,
        left=left,
        over_month=full,
    )
    platform.in_background(_finish(platform, job))
    return job


def send_by_hand(platform: Platform, people: Iterable[Person], text: str) -> MassJob:
    """What an operator does at mp.weixin.qq.com; it uses up the account's allowance, but is not held to it."""
    count_to_all(platform)
    return send(platform, people, Content("text", [{"type": "text", "text": text}]), by="console")


def to_all_counters(platform: Platform) -> tuple[str, str]:
    """Where this month's and this day's sends to everybody are counted."""
    return f"mass to all|{platform.clock.month()}", f"mass to all|{platform.clock.day()}"


def count_to_all(platform: Platform) -> None:
    """One more send to everybody."""
    for name in to_all_counters(platform):
        platform.state.count(name)


def resume(platform: Platform) -> None:
    """Go on with what a restart interrupted."""
    for job in platform.state.mass_jobs.rows.values():
        if job.state == JobState.SENDING:
            platform.in_background(_finish(platform, job))


def page_url(platform: Platform, key: str) -> str:
    """Where an article is read."""
    return f"{platform.account.public_url}/s/{key}"


async def _finish(platform: Platform, job: MassJob) -> None:
    """Say how it went, a moment later."""
    await asyncio.sleep(FINISHES_AFTER)
    if platform.state.mass_jobs.get(str(job.msg_id)) is not job:
        return  # the platform was reset meanwhile

    def is_done() -> None:
        job.state = JobState.SUCCESS if job.verdict == SUCCESS else JobState.FAIL
        platform.state.mass_jobs.put(str(job.msg_id), job)
        platform.journal.flush()

    sender = _sender(platform)
    event = events.compose(_event(platform, job), **_envelope(platform, sender))
    # One about another batch does not wait for this one.
    await platform.pusher.push(sender, event, turn_of=str(job.msg_id), leaving=is_done)


def _event(platform: Platform, job: MassJob) -> JsonObject:
    sent = job.filtered if job.verdict == SUCCESS else 0
    pages = enumerate(platform.state.pages_of(job.media_id) if job.media_id else (), start=1)
    articles = [{"ArticleIdx": number, "ArticleUrl": page_url(platform, key)} for number, key in pages]
    return {
        "Event": "MASSSENDJOBFINISH",
        "MsgID": job.msg_id,
        "Status": job.verdict,
        "TotalCount": job.total,
        "FilterCount": job.filtered,
        "SentCount": sent,
        "ErrorCount": job.filtered - sent,
        "ArticleUrlResult": {"Count": len(articles), "ResultList": {"item": articles} if articles else ""},
    }


def _envelope(platform: Platform, sender: str) -> JsonObject:
    return {
        "original_id": platform.account.original_id,
        "app_id": platform.account.app_id,
        "openid": sender,
        "create_time": int(platform.clock.now()),
        "msg_id": 0,
    }


def _sender(platform: Platform) -> str:
    """Nobody: captured events carry something like an openid here, of no follower."""
    prefix = platform.account.openid_prefix
    return prefix + base64.urlsafe_b64encode(hashlib.sha256(b"mphelper").digest()).decode()[: 28 - len(prefix)]
