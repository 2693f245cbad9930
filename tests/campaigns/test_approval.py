"""The operator's decision: what was seen is what is kept and sent, and only one of two decides."""

from __future__ import annotations

import hashlib
import json

import pytest
from sqlalchemy import select, text

from campaigns.broadcasts import approval, content, writing
from campaigns.broadcasts.content import Words
from campaigns.broadcasts.models import BroadcastState, ShortLink, WordsKind
from campaigns.broadcasts.writing import Draft
from core.database import Role
from core.errors import Invalid
from core.runtime import Runtime
from merchants import sensitive_words
from merchants.wording import ListedWord, Severity
from tests.campaigns.desk import OPERATOR, Desk


@pytest.fixture
def desk(runtime: Runtime) -> Desk:
    return Desk(runtime)


def send_back(desk: Desk, broadcast_id: int, *, was: BroadcastState, reason: str = "请写上店名") -> None:
    with desk.runtime.transaction(Role.PLATFORM) as session:
        approval.send_back(
            session, broadcast_id=broadcast_id, operator_id=OPERATOR, reason=reason, was=was, now=desk.runtime.now()
        )


def test_the_evidence_holds_what_was_shown(desk: Desk) -> None:
    broadcast_id = desk.write("{商户}全城最好，看 https://mp.weixin.qq.com/s/new")
    desk.submit(broadcast_id)
    desk.approve(broadcast_id)
    found = desk.get(broadcast_id)
    assert found.state == "approved"
    assert found.evidence is not None
    evidence = found.evidence
    assert evidence["as_written"]["a"]["text"] == "{商户}全城最好，看 https://mp.weixin.qq.com/s/new"
    assert evidence["words"]["a"]["text"].startswith(f"茶馆全城最好，看 {desk.public_url}/s/")
    assert evidence["forecast"]["audience"] == 3
    assert evidence["forecast"]["routes"] == {"mass": 3}
    assert evidence["forecast"]["calls"] == 1
    assert [one["rule"] for one in evidence["findings"]] == ["absolute"]
    assert evidence["decided_by"] == {"id": OPERATOR, "name": "小李"}
    spelt = json.dumps(evidence["words"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(spelt.encode()).digest() == found.content_hash == bytes.fromhex(evidence["hash"])


def test_the_second_of_two_operators_is_told(desk: Desk) -> None:
    broadcast_id = desk.write()
    desk.submit(broadcast_id)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        seen = approval.review(
            session, broadcast_id=broadcast_id, public_url=desk.public_url, now=desk.runtime.now()
        ).seen
    send_back(desk, broadcast_id, was=BroadcastState.SUBMITTED)
    with pytest.raises(approval.AlreadyDecided):
        desk.approve(broadcast_id, seen=seen, operator_id=9)
    with pytest.raises(approval.AlreadyDecided):
        send_back(desk, broadcast_id, was=BroadcastState.SUBMITTED)
    assert desk.get(broadcast_id).decided_by == OPERATOR


def test_what_changed_since_it_was_looked_at_is_not_approved(desk: Desk) -> None:
    broadcast_id = desk.write()
    desk.submit(broadcast_id)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        seen = approval.review(
            session, broadcast_id=broadcast_id, public_url=desk.public_url, now=desk.runtime.now()
        ).seen
    with desk.runtime.transaction(Role.MERCHANT, merchant_id=desk.id) as session:
        writing.withdraw(session, merchant_id=desk.id, broadcast_id=broadcast_id)
    desk.save(broadcast_id, Draft({"a": Words(WordsKind.TEXT, "别的话")}))
    desk.submit(broadcast_id)
    with pytest.raises(approval.ChangedMeanwhile):
        desk.approve(broadcast_id, seen=seen)
    assert desk.get(broadcast_id).state == "submitted"


def test_a_word_that_was_listed_since_stops_it(desk: Desk) -> None:
    broadcast_id = desk.write("新茶到了")
    desk.submit(broadcast_id)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        listed = [ListedWord("新茶", Severity.REFUSED)]
        sensitive_words.add(session, account_id=desk.street.account_id, words=listed)
    with pytest.raises(writing.BadWording):
        desk.approve(broadcast_id)


def test_whose_fans_have_left_since_stops_it(desk: Desk) -> None:
    broadcast_id = desk.write()
    desk.submit(broadcast_id)
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE fan SET muted_at = app_now()"))
    with pytest.raises(writing.NobodyReached):
        desk.approve(broadcast_id)


def test_asking_for_changes_has_a_reason_and_works_until_it_starts(desk: Desk) -> None:
    broadcast_id = desk.approved()
    with pytest.raises(Invalid):
        send_back(desk, broadcast_id, was=BroadcastState.APPROVED, reason=" ")
    send_back(desk, broadcast_id, was=BroadcastState.APPROVED)
    found = desk.get(broadcast_id)
    assert (found.state, found.decision_reason) == ("returned", "请写上店名")
    desk.save(broadcast_id, Draft({"a": Words(WordsKind.TEXT, "茶馆有新茶")}))
    assert desk.words(broadcast_id)["a"].text == "茶馆有新茶"
    desk.submit(broadcast_id)
    desk.approve(broadcast_id)
    assert desk.words(broadcast_id)["a"].text == "茶馆有新茶"
    with desk.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE broadcast SET state = 'freezing'"))
    with pytest.raises(approval.AlreadyDecided):
        send_back(desk, broadcast_id, was=BroadcastState.APPROVED)


def test_agreeing_again_to_the_same_words_keeps_links_and_hash(desk: Desk) -> None:
    broadcast_id = desk.approved("看 https://mp.weixin.qq.com/s/new")
    before = desk.get(broadcast_id).content_hash
    send_back(desk, broadcast_id, was=BroadcastState.APPROVED)
    desk.submit(broadcast_id)
    desk.approve(broadcast_id)
    assert desk.get(broadcast_id).content_hash == before
    with desk.runtime.transaction(Role.PLATFORM) as session:
        assert len(session.scalars(select(ShortLink)).all()) == 1


def test_the_merchant_is_told(desk: Desk) -> None:
    from merchants import staff
    from merchants.models import StaffRole

    with desk.runtime.transaction(Role.PLATFORM) as session:
        staff.invite(session, name="王", role=StaffRole.OWNER, merchant_id=desk.id, now=desk.runtime.now())
    broadcast_id = desk.approved(Draft({"a": Words(WordsKind.TEXT, "新茶")}, name="新茶"))
    with desk.runtime.transaction(Role.PLATFORM) as session:
        rows = session.execute(text("SELECT kind, path, subject FROM staff_notice")).all()
    assert [tuple(row) for row in rows] == [("approved", f"/merchant/broadcasts/{broadcast_id}", "新茶")]


def test_the_hash_is_of_every_text(desk: Desk) -> None:
    one, two = Words(WordsKind.TEXT, "一"), Words(WordsKind.TEXT, "二")
    assert len({content.hash_of({"a": one}), content.hash_of({"a": one, "b": two}), content.hash_of({"a": two})}) == 3
