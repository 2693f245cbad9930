"""The operator's own list: how it is pasted, kept and read back, and that a shop's role may only read it."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from core.database import Role
from core.errors import Invalid, NotFound
from core.runtime import Runtime
from merchants import sensitive_words
from merchants.sensitive_words import read_list
from merchants.wording import ListedWord, Severity
from tests.community import Neighbourhood


def test_a_list_can_be_pasted_again_and_changes_what_it_names(runtime: Runtime) -> None:
    account_id = Neighbourhood(runtime).account_id
    pasted = "隔壁老李\n拼单群,提醒,会吵起来\n\n"
    with runtime.transaction(Role.PLATFORM) as session:
        words = read_list(pasted, severity=Severity.REFUSED)
        assert sensitive_words.add(session, account_id=account_id, words=words).added == 2
        again = read_list("敏感词,怎么办,说明\n隔壁 老李,提醒,", severity=Severity.REFUSED)
        came_of = sensitive_words.add(session, account_id=account_id, words=again)
        assert (came_of.added, came_of.known) == (0, 1)
        assert set(sensitive_words.listed(session)) == {
            ListedWord("隔壁 老李", Severity.DOUBTFUL),
            ListedWord("拼单群", Severity.DOUBTFUL, "会吵起来"),
        }
        (found,) = sensitive_words.find(session, search="老李")
        assert sensitive_words.remove(session, word_id=found.id) == "隔壁 老李"
        with pytest.raises(NotFound):
            sensitive_words.remove(session, word_id=found.id)


@pytest.mark.parametrize(
    ("pasted", "why"), [("好", "太短"), ("！！！", "太短"), ("拼单群,删除", "第 1 行"), ("\n", "至少写一个")]
)
def test_a_bad_line_says_what_is_wrong_and_nothing_is_kept(runtime: Runtime, pasted: str, why: str) -> None:
    account_id = Neighbourhood(runtime).account_id
    pasted = f"隔壁老李\n{pasted}" if why == "太短" else pasted

    def paste() -> None:
        with runtime.transaction(Role.PLATFORM) as session:
            words = read_list(pasted, severity=Severity.REFUSED)
            sensitive_words.add(session, account_id=account_id, words=words)

    with pytest.raises(Invalid, match=why):
        paste()
    with runtime.transaction(Role.PLATFORM) as session:
        assert sensitive_words.listed(session) == []


def test_a_shop_reads_the_list_and_cannot_change_it(runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    shop = street.merchant("茶馆")
    with runtime.transaction(Role.PLATFORM) as session:
        words = [ListedWord("隔壁老李", Severity.REFUSED)]
        sensitive_words.add(session, account_id=street.account_id, words=words)
    with runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        assert sensitive_words.listed(session) == words
    with pytest.raises(ProgrammingError), runtime.transaction(Role.MERCHANT, merchant_id=shop) as session:
        session.execute(text("DELETE FROM sensitive_word"))
