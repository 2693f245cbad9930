"""Two of the staff answer at once, and the window has one message left: one goes out, one waits, every time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from bot import retention
from bot.talks import answers, sending
from bot.talks.answers import CouponAnswer, TextAnswer
from bot.talks.models import Why
from core.database import Role
from core.outbox import Task, TryLater
from tests.bot.talks.conftest import Shop
from tests.community import wrote
from tests.conftest import advance
from tests.couponing import live_template

ROUNDS = 200


def at_once(*works: Callable[[], Any]) -> None:
    """Begin all of them at the same moment, and wait for all."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], Any]) -> None:
        start.wait()
        work()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def last_message(shop: Shop, fan: int, number: int) -> None:
    """All windows are used up but for one message of the newest."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(
            text("""
                INSERT INTO message_window (inbox_id, follower_id, merchant_id, trigger, opened_at, expires_at,
                    allowance, used)
                VALUES (:id, :fan, :shop, 'message', :now, :until, 5, 4)"""),
            {"id": 10_000 + number, "fan": fan, "shop": shop.merchant_id, "now": shop.now,
             "until": shop.now + timedelta(hours=48)},
        )  # fmt: skip


def write(shop: Shop, talk_id: int, staff: int, words: str) -> None:
    with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
        answers.write(
            session, merchant_id=shop.merchant_id, staff_id=staff, talk_id=talk_id, answer=TextAnswer(words),
            nonce=words, hosts=frozenset(), public_url="http://x", now=shop.now,
        )  # fmt: skip


def work(shop: Shop, talk_id: int) -> None:
    """A worker that comes back as long as it is told to."""
    task = Task(0, sending.SEND, {"talk_id": talk_id}, None, 1, 0)
    for _ in range(100):
        try:
            return sending.send_answers(shop.runtime, task)
        except TryLater:
            threading.Event().wait(0.005)
    raise AssertionError("it never ends")


def test_of_two_answers_the_last_message_carries_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(sending, "_send", lambda _client, _openid, reply: said.append(reply.content))
    ann = shop.fan()
    talk_id = shop.said(ann, window=False)
    for number in range(ROUNDS):
        last_message(shop, ann, number)
        words = [f"甲{number}", f"乙{number}"]
        before = len(said)
        at_once(
            partial(write, shop, talk_id, shop.owner, words[0]),
            partial(write, shop, talk_id, shop.clerk, words[1]),
            partial(work, shop, talk_id),
        )
        at_once(lambda: work(shop, talk_id), lambda: work(shop, talk_id))
        assert len(said) - before == 1
        assert said[-1] in words
        with shop.runtime.transaction(Role.PLATFORM) as session:
            waiting = session.execute(text("SELECT id, content FROM talk_message WHERE state = 'waiting'")).all()
        assert [row.content for row in waiting] == [one for one in words if one != said[-1]]
        with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
            answers.cancel(session, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=waiting[0].id)
    assert len(said) == len(set(said)) == ROUNDS
    assert shop.talk(talk_id).waiting_out == 0


def test_forgetting_in_time_waits_for_nobody_who_works_at_a_talk(shop: Shop) -> None:
    """Talks are held before their messages; what is in use is forgotten the next time."""
    talk_id = shop.said(shop.fan(), window=False)
    write(shop, talk_id, shop.owner, "到货了叫您")
    work(shop, talk_id)
    assert shop.states(talk_id) == ["waiting"]
    (message_id,) = (one.id for one in shop.messages(talk_id) if one.direction == "out")
    advance(shop.runtime, timedelta(days=31))
    with ThreadPoolExecutor(1) as others, shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as mine:
        answers.lock(mine, merchant_id=shop.merchant_id, talk_id=talk_id)
        forgetting = others.submit(retention.forget_old, shop.runtime, Task(0, retention.FORGET, {}, None, 1, 0))
        wait([forgetting], timeout=0.7)
        answers.cancel(mine, merchant_id=shop.merchant_id, talk_id=talk_id, message_id=message_id)
    forgetting.result()
    assert shop.talk(talk_id).waiting_out == 0
    assert [one.why for one in shop.messages(talk_id) if one.direction == "out"] == [Why.WITHDRAWN]


def test_a_coupon_in_a_talk_and_the_fans_next_message_never_wait_for_each_other(shop: Shop) -> None:
    """The inbox holds the person and then the talk; so does who sends a coupon, whose row holds the person."""
    ann = shop.fan()
    talk_id = shop.said(ann)
    template_id = live_template(shop.runtime, shop.merchant_id, "八折券", per_person=100)
    failed: list[Exception] = []

    def gives(number: int) -> None:
        try:
            with shop.runtime.transaction(Role.MERCHANT, merchant_id=shop.merchant_id) as session:
                answers.write(
                    session, merchant_id=shop.merchant_id, staff_id=shop.owner, talk_id=talk_id,
                    answer=CouponAnswer(template_id), nonce=f"n{number}", hosts=frozenset(), public_url="http://x",
                    now=shop.now,
                )  # fmt: skip
        except Exception as error:
            failed.append(error)

    def says(number: int) -> None:
        try:
            shop.inbox.receive([wrote(shop.openids[ann], shop.now + timedelta(seconds=number), f"第{number}句")])
        except Exception as error:
            failed.append(error)

    for number in range(60):
        at_once(partial(gives, number), partial(says, number))
    assert failed == []


def carelessly(shop: Shop, fan: int, said: list[str], words: str) -> None:
    """What everybody writes first: look, then take."""
    with shop.runtime.transaction(Role.PLATFORM) as session:
        window = session.execute(
            text("SELECT inbox_id, used FROM message_window WHERE follower_id = :fan AND used < allowance"),
            {"fan": fan},
        ).first()
        if window is None:
            return
        threading.Event().wait(0.002)
        session.execute(
            text("UPDATE message_window SET used = :used WHERE inbox_id = :id"),
            {"id": window.inbox_id, "used": window.used + 1},
        )
        said.append(words)


def test_a_careless_sender_spends_the_last_message_twice(shop: Shop) -> None:
    said: list[str] = []
    ann = shop.fan()
    with shop.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE message_window SET used = allowance"))
    for number in range(20):
        last_message(shop, ann, number)
        at_once(
            lambda: carelessly(shop, ann, said, "甲"),
            lambda: carelessly(shop, ann, said, "乙"),
        )
    assert len(said) > 20
