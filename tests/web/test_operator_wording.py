"""用语规则: trying a sentence, keeping a list, and that it reaches what merchants write and operators approve."""

from __future__ import annotations

from sqlalchemy import select

from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants import cards
from merchants.cards import Card
from merchants.wording import PLATFORM_HOSTS
from qrcodes.posters import slogans
from tests.community import Neighbourhood
from tests.conftest import statements
from tests.web.conftest import Crew

PAGE = "/operator/wording"


def add(crew: Crew, words: str, severity: str = "refused") -> None:
    crew.operator.get(PAGE)
    assert crew.operator.post(f"{PAGE}/words", {"words": words, "severity": severity}).status_code == 303


def write(crew: Crew, words: str) -> int:
    path = "/merchant/welcome/first/0"
    crew.owner.get(path)
    return crew.owner.post(path, {"kind": "text", "text": words}).status_code


def test_a_sentence_is_tried_and_explained(crew: Crew) -> None:
    crew.operator.get(PAGE)
    page = crew.operator.post(f"{PAGE}/try", {"sentence": "全城最便宜，转发朋友圈送一杯"}).text
    assert "绝对化用语" in page
    assert "诱导分享" in page
    assert "实惠" in page
    assert "没有问题" in crew.operator.post(f"{PAGE}/try", {"sentence": "欢迎光临"}).text


def test_a_listed_word_stops_a_shop_until_it_is_taken_off(runtime: Runtime, crew: Crew) -> None:
    add(crew, "隔壁老李,拦下,不提同行")
    refused = crew.owner.get("/merchant/welcome/first/0")
    assert refused.status_code == 200
    answer = crew.owner.post("/merchant/welcome/first/0", {"kind": "text", "text": "比隔壁 老李好"})
    assert answer.status_code == 422
    assert "不提同行" in answer.text
    page = crew.operator.get(f"{PAGE}?q=老李").text
    word_id = page.split("/operator/wording/words/")[2].split("/")[0]
    assert crew.operator.post(f"{PAGE}/words/{word_id}/remove").status_code == 303
    assert write(crew, "比隔壁 老李好") == 303
    with runtime.transaction(Role.PLATFORM) as session:
        actions = session.scalars(select(AuditLog.action).where(AuditLog.action.startswith("word."))).all()
    assert actions == ["word.add", "word.remove"]


def test_a_doubt_is_told_to_the_author_shown_to_the_operator_and_kept_with_the_decision(
    runtime: Runtime, crew: Crew
) -> None:
    assert write(crew, "本店最好吃的豆浆") == 303
    assert "“最好吃”" in crew.owner.get("/merchant/welcome").text
    assert "这几处最好改一改" in crew.owner.get("/merchant/welcome/first/0").text
    queue = crew.operator.get("/operator/approvals").text
    assert "绝对化用语" in queue
    path = queue.split('action="/operator/approvals/')[1].split('"')[0]
    assert crew.operator.post(f"/operator/approvals/{path}", {"was": "pending"}).status_code == 303
    with runtime.transaction(Role.PLATFORM) as session:
        entry = session.scalars(select(AuditLog).where(AuditLog.action == "welcome.approve")).one()
    assert entry.detail["doubts"] == ["absolute"]


def test_the_queue_reads_the_list_once_however_much_waits(runtime: Runtime, crew: Crew) -> None:
    assert write(crew, "欢迎光临") == 303
    street = Neighbourhood(runtime)
    for shop in (crew.merchant_id, street.merchant("小李花店"), street.merchant("茶馆")):
        with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
            cards.propose(session, merchant_id=shop, card=Card("现磨豆浆"), hosts=PLATFORM_HOSTS)
            slogans.propose(session, merchant_id=shop, slogan="每天清晨")
    with statements(runtime, Role.PLATFORM) as asked:
        queue = crew.operator.get("/operator/approvals").text
    assert (queue.count("欢迎光临"), queue.count("现磨豆浆"), queue.count("每天清晨")) == (1, 3, 3)
    assert sum("sensitive_word" in one for one in asked) == 1
    # How many wait; those that wait and those decided, each with what is printed now.
    assert sum("FROM poster_slogan" in one for one in asked) == 5


def test_the_list_is_exported_as_it_can_be_pasted(crew: Crew) -> None:
    add(crew, "拼单群,提醒,会吵起来")
    text = crew.operator.post(f"{PAGE}/words/export").text
    assert text.splitlines()[1] == "拼单群,提醒,会吵起来"
    add(crew, text.removeprefix("\ufeff"))
