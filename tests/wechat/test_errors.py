"""Every documented code is sorted, and the kinds that callers tell apart stay apart."""

import pickle

import pytest

from wechat.errors import (
    KIND_BY_ERRCODE,
    AlreadyAccepted,
    BadRequest,
    Misconfigured,
    NoSuchMenu,
    OutcomeUnknown,
    QuotaSpent,
    RecipientRefused,
    Refused,
    SignInAgain,
    TokenRejected,
    WaitAMinute,
    WeChatError,
    error_for,
)

DOCUMENTED = [
    (OutcomeUnknown, [-1]),
    (AlreadyAccepted, [45065]),
    (NoSuchMenu, [46003]),
    (TokenRejected, [40001, 40014, 42001]),
    (WaitAMinute, [42010, 45011, 45066]),
    (QuotaSpent, [45009, 45028, 45029, 48006]),
    (
        RecipientRefused,
        [40003, 43004, 43019, 43101, 45015, 45047, 45080, 46004, 48002, 49003, 50001, 50005, 62751, 70000],
    ),
    (
        Misconfigured,
        [40013, 40125, 40164, 40243, 48001, 48004, 48008, 50002, 61004, 89503, 89506, 89507],
    ),
    (SignInAgain, [40029, 40030, 40163, 41008, 42003, 42007]),
    (
        BadRequest,
        [
            *(40002, *range(40004, 40013), *range(40015, 40028), 40031, 40032, 40033, 40035, 40037, 40038),
            *(40052, 40053, 40130, 40246, *range(41001, 41008), 41009, 43001, 43002, 43003, *range(44001, 44005)),
            *(*range(45001, 45009), 45056, 45057, 45058, 45059, 45067, 45072, 45081, 45083, 45084, 45157, 45158, 45159),
            *(40059, 45110, 45166),
            *(47001, 47003, *range(61450, 61458), 63178, *range(65301, 65318), 200012),
        ],
    ),
]


@pytest.mark.parametrize(("kind", "codes"), DOCUMENTED, ids=lambda value: getattr(value, "__name__", ""))
def test_documented_codes_say_what_to_do(kind: type[WeChatError], codes: list[int]) -> None:
    for code in codes:
        assert type(error_for("p", errcode=code, errmsg="m")) is kind


def test_no_code_is_sorted_unseen() -> None:
    assert KIND_BY_ERRCODE.keys() == {code for _, codes in DOCUMENTED for code in codes}


def test_an_unknown_code_is_a_definite_refusal_of_no_special_kind() -> None:
    assert type(error_for("p", errcode=123456, errmsg="m")) is Refused


def test_what_may_have_happened_is_never_called_refused() -> None:
    assert not issubclass(OutcomeUnknown, Refused)
    assert not issubclass(AlreadyAccepted, Refused)


def test_a_repeated_mass_send_says_which_it_was_even_from_another_process() -> None:
    error = error_for("p", errcode=45065, errmsg="clientmsgid exist", msg_id=7)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert isinstance(again, AlreadyAccepted)
    assert (again.msg_id, str(again)) == (7, str(error))


def test_an_error_reads_as_one_line() -> None:
    error = error_for("cgi-bin/user/info", errcode=40003, errmsg="invalid openid", rid="1-2")
    assert str(error) == "cgi-bin/user/info: 40003 invalid openid (rid 1-2)"
