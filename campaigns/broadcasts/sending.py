"""The sender: one process keeps up to 32 calls in flight, and commits `calling` for each before it begins.

What happens in one turn shares a transaction: the answers that came in are written down, and as many calls are
committed as there are free places. A call that does not begin at once is not begun at all, so nothing is sent later
than two seconds after a pause (BC-11). What dies in between leaves rows that say so (BC-13).
"""

import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from campaigns.broadcasts import bank, control, mass, outgoing
from campaigns.broadcasts.freezing import make_batch
from campaigns.broadcasts.mass import MassCall
from campaigns.broadcasts.reach import FOLLOWS, MAY_GET, RESERVED_FOR_ANSWERS, WANTS_ANY, WANTS_MERCHANT
from campaigns.broadcasts.verdict import Answer, Verdict, of
from core.database import Role
from core.runtime import Runtime
from wechat.client import WeChatClient, begin_by, client_of
from wechat.replies import Reply

IN_FLIGHT: Final = 32
CLAIM_AHEAD: Final = 256
"""Claimed in one go: a claim costs a lease, not a promise."""
TOO_OLD_S: Final = 1.5
"""A call committed longer ago is not begun: a pause may have come in between."""
WORK_FOR_S: Final = 600
"""No new claim after this long; the scheduler wakes another worker for the rest."""
KEEP_TRYING_S: Final = 60
"""For how long answers are kept in memory while the database is away (F10)."""
BREATHER_S: Final = 2.0
LOOK_FOR_MASS_EVERY_S: Final = 0.25
"""There are 60 mass calls a minute at most: it need not be asked in each of a hundred turns a second."""
QUOTA_CODE: Final = 45009

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WindowCall:
    """One committed customer-service message."""

    broadcast_id: int
    follower_id: int
    attempt: int
    openid: str
    reply: Reply

    def send(self, client: WeChatClient) -> None:
        """Make it."""
        client.send_reply(self.openid, self.reply)


Call = WindowCall | MassCall
Claim = tuple[int, int, int]
"""Broadcast, follower, attempt."""


def drain(runtime: Runtime, *, is_told_to_stop: Callable[[], bool] = lambda: False) -> int:
    """Send what may be sent now, until nothing is left or told to stop; returns how many calls were made."""
    return Sender(runtime).run(is_told_to_stop)


class Sender:
    """One process's sending; its name is on every claim it holds."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._client = client_of(runtime)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="send")
        self._calls: dict[Future[Answer], Call] = {}
        self._answers: list[tuple[Call, Answer]] = []
        self._claims: deque[Claim] = deque()
        self._letters = outgoing.Letters()
        self._made = 0
        self._looked_for_mass = 0.0
        self._rests_until = 0.0

    def run(self, is_told_to_stop: Callable[[], bool]) -> int:
        """Turn after turn, until nothing is in flight and nothing can begin."""
        started, failing_since = time.monotonic(), 0.0
        try:
            while True:
                may_begin = time.monotonic() - started < WORK_FOR_S and not is_told_to_stop()
                try:
                    begun = self._turn(may_begin=may_begin)
                    failing_since = 0.0
                except SQLAlchemyError as error:
                    failing_since = failing_since or time.monotonic()
                    log.warning("turn failed", error=type(error).__name__)
                    if time.monotonic() - failing_since > KEEP_TRYING_S:
                        raise
                    self._recover()
                    continue
                if not begun and not self._calls and not self._answers:
                    return self._made
                self._collect()
        finally:
            self._let_go()

    def _collect(self) -> None:
        """Wait for an answer, and take all that are there."""
        if not self._calls:
            return
        done, _ = wait(self._calls, timeout=1, return_when=FIRST_COMPLETED)
        self._answers += [(self._calls.pop(one), one.result()) for one in done]

    def _turn(self, *, may_begin: bool) -> bool:
        """One transaction: write down answers, claim, commit calls; then begin them. True if any began."""
        answers = list(self._answers)
        with self._runtime.transaction(Role.PLATFORM, statement_timeout_s=30) as session:
            now = self._runtime.now()
            record(session, answers, now)
            calls = self._commit_calls(session, now) if may_begin else []
        del self._answers[: len(answers)]
        committed = time.monotonic()
        for call in calls:
            self._calls[self._pool.submit(self._call, call, committed)] = call
        self._made += len(calls)
        return bool(calls)

    def _commit_calls(self, session: Session, now: datetime) -> list[Call]:
        if time.monotonic() < self._rests_until:
            return []
        state = session.execute(
            text("SELECT paused_at IS NOT NULL AS is_paused, errors_in_row FROM sending_state")
        ).one()
        # After a refusal of the account the next call goes alone: a storm must not cost 32 more.
        places = (1 if state.errors_in_row else IN_FLIGHT) - len(self._calls)
        if state.is_paused or places <= 0:
            return []
        calls: list[Call] = []
        if self._may_look_for_mass():
            policy = bank.policy(session)
            _make_batches(session, policy)
            if (batch := mass.begin(session, self.owner, policy, now)) is not None:
                calls.append(batch)
                places -= 1
        if places > len(self._claims):
            self._claims.extend(_claim(session, self.owner, CLAIM_AHEAD))
        chosen = self._choose(places)
        calls += _commit(session, chosen, self.owner, now, self._letters)
        return calls

    def _may_look_for_mass(self) -> bool:
        """One mass call at a time; with nothing in flight it is always asked, so none is left behind."""
        now = time.monotonic()
        if self._calls and now - self._looked_for_mass < LOOK_FOR_MASS_EVERY_S:
            return False
        self._looked_for_mass = now
        return not any(isinstance(call, MassCall) for call in self._calls.values())

    def _choose(self, places: int) -> list[Claim]:
        """The next claims, no two of one fan: their calls take from the same window."""
        chosen: list[Claim] = []
        fans: set[int] = set()
        later: list[Claim] = []
        while self._claims and len(chosen) < places:
            claim = self._claims.popleft()
            if claim[1] in fans:
                later.append(claim)
            else:
                fans.add(claim[1])
                chosen.append(claim)
        self._claims.extendleft(reversed(later))
        return chosen

    def _call(self, call: Call, committed: float) -> Answer:
        if time.monotonic() - committed > TOO_OLD_S:
            return Answer(Verdict.NOT_CALLED)
        with begin_by(committed + TOO_OLD_S):
            answer = of(lambda: call.send(self._client))
        if answer.verdict is Verdict.WAIT:
            self._rests_until = time.monotonic() + BREATHER_S
        return answer

    def _recover(self) -> None:
        """After a lost connection: what was committed and never begun is put back, once the database is there."""
        self._collect()
        time.sleep(0.2)
        self._claims.clear()
        unsettled = [*self._calls.values(), *(call for call, _ in self._answers)]
        begun = [(call.broadcast_id, call.follower_id) for call in unsettled if isinstance(call, WindowCall)]
        batches = [call.batch_id for call in unsettled if isinstance(call, MassCall)]
        try:
            with self._runtime.transaction(Role.PLATFORM) as session:
                _put_back_uncalled(session, self.owner, begun)
                mass.put_back_uncalled(session, self.owner, batches)
        except SQLAlchemyError as error:
            log.warning("not yet recovered", error=type(error).__name__)

    def _let_go(self) -> None:
        """Return claims that were not used, so that nobody has to wait for their leases."""
        self._pool.shutdown(wait=True)
        try:
            with self._runtime.transaction(Role.PLATFORM) as session:
                session.execute(
                    text("""
                        UPDATE broadcast_recipient SET state = 'planned', owner = NULL, lease_until = NULL
                        WHERE owner = :owner AND state = 'claimed'"""),
                    {"owner": self.owner},
                )
        except SQLAlchemyError as error:
            log.warning("claims left to run out", error=type(error).__name__)


def _make_batches(session: Session, policy: bank.Policy) -> None:
    """Prepare one batch of one broadcast that has none ready: slots are reserved shortly before they are used."""
    broadcast_id = session.scalar(
        text("""
            SELECT b.id FROM broadcast b
            WHERE b.state = 'running'
              AND EXISTS (SELECT 1 FROM broadcast_recipient r WHERE r.broadcast_id = b.id AND r.state = 'planned'
                          AND r.route = 'mass' AND r.batch_id IS NULL)
              AND NOT EXISTS (SELECT 1 FROM send_batch s WHERE s.broadcast_id = b.id AND s.state = 'planned')
            ORDER BY b.started_at LIMIT 1""")
    )
    if broadcast_id is not None:
        make_batch(session, broadcast_id, policy)


def _claim(session: Session, owner: str, most: int) -> list[Claim]:
    rows = session.execute(_CLAIM, {"owner": owner, "most": most})
    return [(row.broadcast_id, row.follower_id, row.attempt) for row in rows]


def _commit(
    session: Session, claims: Sequence[Claim], owner: str, now: datetime, letters: outgoing.Letters
) -> list[Call]:
    """Commit calls for those of the claims that may still be made; the others are skipped, or wait, and say why."""
    if not claims:
        return []
    given: dict[str, Any] = {
        "broadcasts": [claim[0] for claim in claims],
        "followers": [claim[1] for claim in claims],
        "attempts": [claim[2] for claim in claims],
        "owner": owner,
        "reserved": RESERVED_FOR_ANSWERS,
    }
    rows = session.execute(_CALLING, given).all()
    if len(rows) < len(claims):
        session.execute(_PASSED_OVER, given)
    replies = letters.replies(session, [(row.broadcast_id, row.follower_id, row.variant) for row in rows], now)
    return [
        WindowCall(row.broadcast_id, row.follower_id, row.attempt, row.openid, reply)
        for row, reply in zip(rows, replies, strict=True)
    ]


_ROW_STATES: Final = {
    Verdict.SENT: "sent",
    Verdict.KNOWN: "sent",
    Verdict.NOBODY: "rejected",
    Verdict.WRONG: "rejected",
    Verdict.UNKNOWN: "unknown",
    Verdict.CLOSED: "planned",
    Verdict.WAIT: "planned",
    Verdict.STOP: "planned",
    Verdict.NOT_CALLED: "planned",
}


def record(session: Session, answers: Sequence[tuple[Call, Answer]], now: datetime) -> None:
    """Write down answers, in the order in which they came, and what they mean for all sending."""
    windows = [(call, answer) for call, answer in answers if isinstance(call, WindowCall)]
    if windows:
        session.execute(
            _ANSWERED,
            {
                "broadcasts": [call.broadcast_id for call, _ in windows],
                "followers": [call.follower_id for call, _ in windows],
                "attempts": [call.attempt for call, _ in windows],
                "states": [_ROW_STATES[answer.verdict] for _, answer in windows],
                "verdicts": [answer.verdict for _, answer in windows],
                "errcodes": [answer.errcode for _, answer in windows],
            },
        )
    for call, answer in answers:
        if isinstance(call, MassCall):
            mass.record(session, call, answer, now)
        elif answer.verdict is Verdict.WRONG:
            mass.stop_broadcast(session, call.broadcast_id, f"微信不接受这条内容（{answer.errcode}）")
    judge_account(session, [answer for _, answer in answers], now)


def judge_account(session: Session, answers: Sequence[Answer], now: datetime) -> None:
    """Stop all sending when the account itself is refused, or when nothing comes back any more (BC-17, F17)."""
    signs = [answer for answer in answers if answer.verdict not in {Verdict.WAIT, Verdict.NOT_CALLED}]
    if not signs:
        return
    stops = [answer.errcode for answer in signs if answer.verdict is Verdict.STOP]
    if QUOTA_CODE in stops:
        control.pause_account(session, "今天的接口次数用完了（45009）", resume_at=control.next_reset(now))
    is_bad = [answer.verdict in {Verdict.STOP, Verdict.UNKNOWN} for answer in signs]
    trailing = len(list(takewhile(bool, reversed(is_bad))))
    if trailing == 0:
        session.execute(text("UPDATE sending_state SET errors_in_row = 0 WHERE errors_in_row > 0"))
        return
    in_row = session.execute(
        text("""
            UPDATE sending_state SET errors_in_row = least(CASE WHEN :adds THEN errors_in_row ELSE 0 END + :n, 1000)
            RETURNING errors_in_row"""),
        {"adds": all(is_bad), "n": trailing},
    ).scalar_one()
    if in_row >= control.ERRORS_IN_ROW:
        if stops:
            control.pause_account(session, f"微信连续拒绝（{stops[-1]}），请运营处理")
        else:
            control.pause_account(session, "微信连续没有回音，稍后自动再试", resume_at=now + control.BREAK)


def _put_back_uncalled(session: Session, owner: str, begun: Sequence[tuple[int, int]]) -> None:
    session.execute(
        text("""
            WITH back AS (
                UPDATE broadcast_recipient r SET state = 'planned', lease_until = NULL
                WHERE r.owner = :owner AND r.state IN ('claimed', 'calling')
                  AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:broadcasts AS bigint[]), CAST(:followers AS bigint[]))
                                    AS b(broadcast_id, follower_id)
                                  WHERE b.broadcast_id = r.broadcast_id AND b.follower_id = r.follower_id)
                RETURNING r.window_id)
            UPDATE message_window w SET used = w.used - 1 FROM back WHERE w.inbox_id = back.window_id"""),
        {"owner": owner, "broadcasts": [one[0] for one in begun], "followers": [one[1] for one in begun]},
    )


_CLAIM: Final = text("""
    UPDATE broadcast_recipient r
    SET state = 'claimed', owner = :owner, attempt = r.attempt + 1, window_id = NULL,
        lease_until = clock_timestamp() + interval '60 s'
    FROM (
        SELECT o.broadcast_id, o.follower_id FROM broadcast b
        CROSS JOIN LATERAL (
            SELECT n.broadcast_id, n.follower_id FROM broadcast_recipient n
            WHERE n.broadcast_id = b.id AND n.state = 'planned' AND n.route = 'window'
            ORDER BY n.follower_id LIMIT :most FOR UPDATE SKIP LOCKED) o
        WHERE b.state = 'running' LIMIT :most) free
    WHERE r.broadcast_id = free.broadcast_id AND r.follower_id = free.follower_id AND r.state = 'planned'
    RETURNING r.broadcast_id, r.follower_id, r.attempt""")
# Everything that must be true at the moment of the call, asked in the statement that commits it (BC-10, BC-19).
_CALLING: Final = text(f"""
    WITH ready AS (
        SELECT r.broadcast_id, r.follower_id, r.attempt, r.variant, f.openid, open.inbox_id, b.content_hash
        FROM unnest(CAST(:broadcasts AS bigint[]), CAST(:followers AS bigint[]), CAST(:attempts AS int[]))
             AS asked(broadcast_id, follower_id, attempt)
        JOIN broadcast_recipient r ON r.broadcast_id = asked.broadcast_id AND r.follower_id = asked.follower_id
        JOIN broadcast b ON b.id = r.broadcast_id
        JOIN follower f ON f.id = r.follower_id
        JOIN fan ON fan.merchant_id = r.merchant_id AND fan.follower_id = r.follower_id
        CROSS JOIN LATERAL (
            SELECT w.inbox_id FROM message_window w
            WHERE w.follower_id = r.follower_id AND w.merchant_id = r.merchant_id AND w.wants_offers
              AND w.expires_at > app_now() AND w.allowance - w.used > :reserved
            ORDER BY w.expires_at, w.inbox_id LIMIT 1) open
        WHERE r.state = 'claimed' AND r.owner = :owner AND r.attempt = asked.attempt
          AND r.lease_until > clock_timestamp() AND b.state = 'running'
          AND {MAY_GET}
          AND EXISTS (SELECT 1 FROM sending_state WHERE paused_at IS NULL)
        FOR UPDATE OF r),
    spent AS (
        UPDATE message_window w SET used = w.used + 1 FROM ready
        WHERE w.inbox_id = ready.inbox_id AND w.allowance - w.used > :reserved RETURNING w.inbox_id),
    calling AS (
        UPDATE broadcast_recipient r
        SET state = 'calling', window_id = ready.inbox_id, lease_until = clock_timestamp() + interval '60 s'
        FROM ready JOIN spent ON spent.inbox_id = ready.inbox_id
        WHERE r.broadcast_id = ready.broadcast_id AND r.follower_id = ready.follower_id
        RETURNING r.broadcast_id, r.follower_id, r.attempt, r.variant, ready.openid, ready.content_hash),
    noted AS (
        INSERT INTO send_attempt (broadcast_id, follower_id, attempt, moment, content_hash)
        SELECT broadcast_id, follower_id, attempt, 'before', content_hash FROM calling)
    SELECT broadcast_id, follower_id, attempt, variant, openid FROM calling""")
_PASSED_OVER: Final = text(f"""
    UPDATE broadcast_recipient r
    SET lease_until = NULL, owner = NULL,
        state = CASE WHEN judged.reason = '' OR judged.waits THEN 'planned' ELSE 'skipped' END,
        route = CASE WHEN judged.waits THEN 'hello' ELSE r.route END,
        reason = CASE WHEN judged.reason = '' OR judged.waits THEN NULL ELSE judged.reason END,
        settled_at = CASE WHEN judged.reason = '' OR judged.waits THEN NULL ELSE app_now() END
    FROM (
        SELECT c.broadcast_id, c.follower_id, why.reason, why.reason = 'window_closed' AND b.hello_days > 0 AS waits
        FROM unnest(CAST(:broadcasts AS bigint[]), CAST(:followers AS bigint[]), CAST(:attempts AS int[]))
             AS asked(broadcast_id, follower_id, attempt)
        JOIN broadcast_recipient c ON c.broadcast_id = asked.broadcast_id AND c.follower_id = asked.follower_id
             AND c.attempt = asked.attempt AND c.owner = :owner AND c.state = 'claimed'
        JOIN broadcast b ON b.id = c.broadcast_id
        JOIN follower f ON f.id = c.follower_id
        LEFT JOIN fan ON fan.merchant_id = c.merchant_id AND fan.follower_id = c.follower_id
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN b.state <> 'running' OR EXISTS (SELECT 1 FROM sending_state WHERE paused_at IS NOT NULL) THEN ''
                WHEN NOT ({FOLLOWS}) OR fan.erased_at IS NOT NULL THEN 'left'
                WHEN NOT ({WANTS_MERCHANT}) THEN 'muted'
                WHEN NOT ({WANTS_ANY}) THEN 'opted_out'
                WHEN c.lease_until <= clock_timestamp() THEN ''
                ELSE 'window_closed' END AS reason) why) judged
    WHERE r.broadcast_id = judged.broadcast_id AND r.follower_id = judged.follower_id""")
# What certainly was not sent gives its place in the window back; what may have been sent does not.
_ANSWERED: Final = text("""
    WITH answered AS (
        SELECT * FROM unnest(CAST(:broadcasts AS bigint[]), CAST(:followers AS bigint[]), CAST(:attempts AS int[]),
                             CAST(:states AS text[]), CAST(:verdicts AS text[]), CAST(:errcodes AS int[]))
            AS a(broadcast_id, follower_id, attempt, state, verdict, errcode)),
    settled AS (
        UPDATE broadcast_recipient r
        SET state = a.state, errcode = a.errcode, lease_until = NULL,
            route = CASE WHEN a.verdict = 'closed' AND b.hello_days > 0 THEN 'hello' ELSE r.route END,
            settled_at = CASE WHEN a.state <> 'planned' THEN app_now() END
        FROM answered a JOIN broadcast b ON b.id = a.broadcast_id
        WHERE r.broadcast_id = a.broadcast_id AND r.follower_id = a.follower_id AND r.attempt = a.attempt
          AND (r.state = 'calling' OR r.state = 'unknown' AND a.state IN ('sent', 'rejected'))
        RETURNING r.broadcast_id, r.follower_id, r.window_id, a.state, a.verdict, a.errcode),
    returned AS (
        UPDATE message_window w SET used = w.used - 1 FROM settled
        WHERE settled.state = 'planned' AND w.inbox_id = settled.window_id),
    unreachable_now AS (
        INSERT INTO unreachable AS u (follower_id, channel, since, errcode)
        SELECT DISTINCT ON (follower_id) follower_id, 'window', app_now(), errcode FROM settled WHERE verdict = 'nobody'
        ON CONFLICT (follower_id, channel) DO UPDATE SET since = excluded.since, errcode = excluded.errcode)
    INSERT INTO send_attempt (broadcast_id, follower_id, attempt, moment, content_hash, outcome, errcode)
    SELECT a.broadcast_id, a.follower_id, a.attempt, 'after', b.content_hash, a.verdict, a.errcode
    FROM answered a JOIN broadcast b ON b.id = a.broadcast_id""")
