"""Rules are written, wait for the operator, are switched, copied, deleted and taken back."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from bot.rules import book, reading, writing
from bot.rules.content import Answer
from bot.rules.matching import Hours, Mode, Pattern, Span
from bot.rules.writing import Draft
from core.database import Role
from core.errors import Invalid, NotFound
from merchants.reviews import NotWaiting, ReviewState
from tests.bot.rules.desk import HOSTS, OPERATOR, approve, author, create, draft, versions
from tests.community import Neighbourhood

ARTICLE = "https://mp.weixin.qq.com/s/1"
SPEAKING = ReviewState.APPROVED
EVERY_MORNING = Hours((Span(frozenset(range(7)), 8 * 60, 11 * 60),))


@pytest.fixture
def tea(street: Neighbourhood) -> int:
    return street.merchant("茶馆")


def in_force(street: Neighbourhood, merchant_id: int) -> list[tuple[str, ...]]:
    """What the conversation would ask: the keywords of each rule."""
    with street.runtime.transaction(Role.PLATFORM) as session:
        found = book.load(session, author(session, merchant_id).account_id, [merchant_id])
    return [tuple(one.words for one in rule.patterns) for rule in found[merchant_id]]


def change(street: Neighbourhood, merchant_id: int, rule_id: int, wanted: Draft) -> bool:
    with street.runtime.transaction(Role.MERCHANT, merchant_id=merchant_id) as session:
        was = writing.mark(session, writing.find(session, merchant_id, rule_id))
        writer = author(session, merchant_id)
        return writing.change(session, writer, rule_id, wanted, was=was, hosts=HOSTS, now=street.now)


def test_a_merchants_rule_answers_once_the_operator_has_agreed(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    assert in_force(street, tea) == []
    approve(street, rule_id)
    assert in_force(street, tea) == [("地址",)]


def test_what_was_agreed_to_answers_on_while_the_next_waits(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    assert change(street, tea, rule_id, draft("在哪里"))
    assert in_force(street, tea) == [("地址",)]
    assert change(street, tea, rule_id, draft("怎么走"))
    approve(street, rule_id)
    assert in_force(street, tea) == [("怎么走",)]
    assert versions(street, rule_id) == ["withdrawn", "withdrawn", "approved"]


def test_name_hours_and_priority_need_nobodys_consent(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    assert not change(street, tea, rule_id, draft("地址", name="路", hours=EVERY_MORNING, priority=9))
    with street.runtime.transaction(Role.PLATFORM) as session:
        rule = book.load(session, author(session, tea).account_id, [tea])[tea][0]
    assert (rule.name, rule.hours, rule.priority) == ("路", EVERY_MORNING, 9)
    assert versions(street, rule_id) == ["approved"]


def test_going_back_to_what_is_in_force_leaves_nothing_waiting(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    change(street, tea, rule_id, draft("在哪里"))
    assert not change(street, tea, rule_id, draft("地址"))
    assert versions(street, rule_id) == ["approved", "withdrawn"]


def test_of_what_was_taken_back_unread_only_the_last_is_kept(
    street: Neighbourhood, tea: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "TAKEN_BACK_KEPT", 2)
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    for word in ("在哪里", "怎么走", "哪条路"):
        change(street, tea, rule_id, draft(word))
    approve(street, rule_id)
    assert versions(street, rule_id) == ["withdrawn", "withdrawn", "withdrawn", "approved"], "what was said is evidence"
    for number in range(5):
        change(street, tea, rule_id, draft(f"第{number}种"))
    assert versions(street, rule_id) == ["withdrawn", "approved", "withdrawn", "withdrawn", "pending"]


def test_the_platforms_rule_is_in_force_at_once(street: Neighbourhood) -> None:
    rule_id = create(street, None, draft("物业费"))
    with street.runtime.transaction(Role.PLATFORM) as session:
        writer = author(session, None)
        was = writing.mark(session, writing.find(session, None, rule_id))
        writing.change(session, writer, rule_id, draft("物业"), was=was, hosts=HOSTS, now=street.now)
        rules = book.load(session, writer.account_id, [None])[None]
    assert [one.words for one in rules[0].patterns] == ["物业"]


def test_a_merchant_cannot_agree_to_its_own_words(street: Neighbourhood, tea: int) -> None:
    create(street, tea, draft("地址"))
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session,
    ):
        session.execute(text("UPDATE reply_rule_version SET review = 'approved'"))


def test_of_two_operators_the_second_is_told(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    with street.runtime.transaction(Role.PLATFORM) as session:
        version_id = writing.newest_of(session, rule_id).id
    approve(street, rule_id)
    with pytest.raises(NotWaiting), street.runtime.transaction(Role.PLATFORM) as session:
        writing.reject(session, version_id=version_id, operator_id=OPERATOR, reason="不行", now=street.now)


def test_a_refused_rule_does_not_answer_and_its_author_reads_why(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    with street.runtime.transaction(Role.PLATFORM) as session:
        version_id = writing.newest_of(session, rule_id).id
        writing.reject(
            session,
            version_id=version_id,
            operator_id=OPERATOR,
            reason="地址不对",
            now=street.now,
            was=SPEAKING,
        )
    assert in_force(street, tea) == []
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        kept = reading.one(session, tea, rule_id, now=street.now)
        assert kept.refused is not None
        assert kept.refused.review_reason == "地址不对"


def test_a_rule_that_is_switched_off_does_not_answer(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        writing.switch(session, merchant_id=tea, rule_id=rule_id, is_on=False)
    assert in_force(street, tea) == []


def test_a_deleted_rule_can_be_taken_back_for_a_while(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    now = street.now
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        writing.delete(session, merchant_id=tea, rule_id=rule_id, now=now)
    assert in_force(street, tea) == []
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        assert [one.rule.id for one in reading.listed(session, tea, now=now, is_deleted=True)] == [rule_id]
        with pytest.raises(NotFound):
            writing.restore(session, author(session, tea), rule_id, now=now + writing.RESTORABLE)
        writing.restore(session, author(session, tea), rule_id, now=now)
    assert in_force(street, tea) == [("地址",)]


def test_a_copy_is_off_and_waits(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("地址"))
    approve(street, rule_id)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        copied_id = writing.copy(session, author(session, tea), rule_id, now=street.now)
        copied = reading.one(session, tea, copied_id, now=street.now)
        assert (copied.rule.name, copied.rule.is_on, copied.speaking) == ("地址 副本", False, None)
        assert [one.words for one in copied.newest.patterns] == ["地址"]


def test_there_are_only_so_many_rules(street: Neighbourhood, tea: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_RULES", 2)
    first = create(street, tea, draft("一"))
    create(street, tea, draft("二"))
    with pytest.raises(writing.TooManyRules):
        create(street, tea, draft("三"))
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        writing.delete(session, merchant_id=tea, rule_id=first, now=street.now)
    create(street, tea, draft("三"))
    with pytest.raises(writing.TooManyRules), street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        writing.restore(session, author(session, tea), first, now=street.now)


def new_picture(street: Neighbourhood, merchant_id: int, name: str) -> int:
    with street.runtime.transaction(Role.PLATFORM) as session:
        return int(
            session.execute(
                text("""INSERT INTO picture (merchant_id, public_id, content, mime, sha256, width, height)
                        VALUES (:shop, :name, 'x', 'image/jpeg', sha256(convert_to(CAST(:name AS text), 'UTF8')), 1, 1)
                        RETURNING id"""),
                {"shop": merchant_id, "name": name},
            ).scalar_one()
        )


def test_nobody_touches_anothers_rule_or_picture(street: Neighbourhood, tea: int) -> None:
    noodles = street.merchant("面馆")
    rule_id = create(street, tea, draft("地址"))
    everybodys = create(street, None, draft("物业"))
    for other in (rule_id, everybodys):
        with pytest.raises(NotFound):
            change(street, noodles, other, draft("地址"))
    picture = (Answer("image", picture_id=new_picture(street, tea, "pic")),)
    create(street, tea, draft("价目", says=picture))
    for owner in (noodles, None):
        with pytest.raises(NotFound):
            create(street, owner, draft("价目", says=picture))


def test_a_merchant_sees_its_own_rules_and_of_the_platforms_those_in_force(street: Neighbourhood, tea: int) -> None:
    noodles = street.merchant("面馆")
    create(street, tea, draft("地址"))
    create(street, None, draft("物业", name="在用"))
    create(street, None, draft("快递", name="没启用"), is_on=False)
    with street.runtime.transaction(Role.MERCHANT, merchant_id=noodles) as session:
        assert list(session.execute(text("SELECT name FROM reply_rule")).scalars()) == ["在用"]
        assert session.execute(text("SELECT count(*) FROM reply_rule_version")).scalar_one() == 1


def number_of(street: Neighbourhood, merchant_id: int) -> int:
    """The change with which the shop's page of the book became another one last."""
    with street.runtime.transaction(Role.PLATFORM) as session:
        page = text("SELECT coalesce(max(number), 0) FROM answer_book WHERE page = :shop")
        return int(session.execute(page, {"shop": merchant_id}).scalar_one())


def test_every_change_reaches_the_book(street: Neighbourhood, tea: int) -> None:
    noodles = street.merchant("面馆")
    numbers = [number_of(street, tea)]
    rule_id = create(street, tea, draft("地址"))
    numbers.append(number_of(street, tea))
    approve(street, rule_id)
    numbers.append(number_of(street, tea))
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        writing.switch(session, merchant_id=tea, rule_id=rule_id, is_on=False)
    numbers.append(number_of(street, tea))
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("DELETE FROM reply_rule_version"))
        session.execute(text("DELETE FROM reply_rule"))
    numbers.append(number_of(street, tea))
    assert sorted(set(numbers)) == numbers
    assert number_of(street, noodles) == 0


def test_a_picture_that_arrived_reaches_the_book(street: Neighbourhood, tea: int) -> None:
    picture = new_picture(street, tea, "shown")
    approve(street, create(street, tea, draft("价目", says=(Answer("image", picture_id=picture),))))
    before = number_of(street, tea)
    with street.runtime.transaction(Role.PLATFORM) as session:
        session.execute(text("UPDATE picture SET media_id = 'there' WHERE id = :id"), {"id": picture})
    assert number_of(street, tea) > before


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (draft("地址", name=""), "name"),
        (draft("地址", name="长" * 31), "name"),
        (draft("字" * 31), "exact"),
        (draft("👍"), "exact"),
        (draft(patterns=(Pattern(Mode.WILDCARD, "*?*"),)), "wildcard"),
        (draft(*(f"词{number}" for number in range(21))), "exact"),
        (draft(), "exact"),
        (draft("优惠券"), "exact"),
        (draft(" 优 惠 券 "), "exact"),
        (draft("退订"), "exact"),
        (draft("登录"), "exact"),
        (draft("12"), "exact"),
        (draft("电话"), "exact"),
        (draft("附近的商家"), "exact"),
        (draft("换一家"), "exact"),
        (draft("我的数据"), "exact"),
        (draft("地址", says=""), "text1"),
        (draft("地址", says=()), "text1"),
        (draft("地址", says="字" * 601), "text1"),
        (draft("地址", says="😀" * 513), "text1"),
        (draft("地址", says=(Answer(text="一"),) * 4), "text3"),
        (draft("地址", says=(Answer(text="一"), Answer("news", title="店"))), "url2"),
        (draft("地址", says=(Answer("news", url=ARTICLE),)), "title1"),
        (draft("地址", says=(Answer("image"),)), "picture1"),
        (draft("地址", says=(Answer("video"),)), "kind1"),
        (draft("地址", says="分享到朋友圈，就送一张券"), "text1"),
        (draft("地址", priority=10), "priority"),
        (draft(occasions=("text",)), "occasions"),
        (draft(occasions=("click:hours",)), "occasions"),
    ],
)
def test_what_cannot_be_a_rule_is_said_at_its_field(street: Neighbourhood, tea: int, wanted: Draft, field: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create(street, tea, wanted)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://mp.weixin.qq.com/x",
        "https://evil.example/x",
        "//mp.weixin.qq.com/x",
        "https://mp.weixin.qq.com@evil.example/",
        "weixin://dl/business",
    ],
)
def test_a_card_leads_to_an_allowed_place_only(street: Neighbourhood, tea: int, url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create(street, tea, draft("新店", says=(Answer("news", title="新店", url=url),)))
    assert refusal.value.field == "url1"


def test_the_platform_answers_taps_on_the_menu_and_hands_nothing_over(street: Neighbourhood) -> None:
    create(street, None, draft(occasions=("click:hours",)))
    with pytest.raises(Invalid, match="不能转给店家"):
        create(street, None, draft("在吗", hands_over=True))


def test_a_human_may_answer_without_any_words_before(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("订位", says=(), hands_over=True))
    approve(street, rule_id)
    assert in_force(street, tea) == [("订位",)]


def test_the_same_keyword_in_another_spelling_is_kept_once(street: Neighbourhood, tea: int) -> None:
    rule_id = create(street, tea, draft("WiFi", "ｗｉｆｉ", "wi fi"))
    with street.runtime.transaction(Role.MERCHANT, merchant_id=tea) as session:
        assert len(reading.one(session, tea, rule_id, now=street.now).newest.patterns) == 1


def test_what_the_account_says_itself_depends_on_whose_rule_it_is(street: Neighbourhood, tea: int) -> None:
    """In a conversation with a shop, "怎么用" is for the shop; else it is the account that explains itself. Either may
    have words of its own for who asks for a person."""
    for owner, words in ((tea, "怎么用"), (tea, "人工"), (None, "人工")):
        create(street, owner, draft(words))
    with pytest.raises(Invalid):
        create(street, None, draft("怎么用"))
