"""海报: the gallery in the shop's look, the look that is kept, and the files; for merchants and the operator."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from urllib.parse import unquote
from zipfile import ZipFile

import pypdfium2
import pytest
from flask import Flask
from PIL import Image
from sqlalchemy import select, update

from core import jobs, long_jobs, outbox
from core.database import Role
from core.models import AuditLog
from core.runtime import Runtime
from merchants import sensitive_words
from merchants.models import Merchant, Picture, Staff
from merchants.wording import ListedWord, Severity
from qrcodes import codes
from qrcodes.models import CodeBatch, PosterLook, SubQrCode
from qrcodes.posters import looks, slogans
from tests.community import Neighbourhood
from tests.qrcodes.posters.shops import drawn, photo, read_by_another, stickers
from tests.web.conftest import Browser, Crew
from tests.web.shops import Shop, open_shop
from worker import LONG_JOBS

LOOK = {"draft": "1", "slogan": "每天清晨现磨", "colour": "#b3312c", "own": "#0b6b4f", "design": "plain"}


@pytest.fixture
def shop(app: Flask, runtime: Runtime, new_staff: Callable[..., int]) -> Shop:
    return open_shop(app, Neighbourhood(runtime), new_staff, "老王豆浆", "wang")


def posters(shop: Shop) -> str:
    return f"/merchant/codes/{shop.code.id}/posters"


def url_of(shop: Shop) -> str:
    return f"http://weixin.qq.com/q/{shop.code.scene}"


def links(page: str, kind: str) -> list[str]:
    return [unescape(link) for link in re.findall(rf'(?:href|src)="([^"]+/{kind}[^"]*)"', page)]


def test_two_taps_lead_from_a_code_to_its_poster(shop: Shop) -> None:
    assert posters(shop) in shop.owner.get(f"/merchant/codes/{shop.code.id}").text
    page = shop.owner.get(posters(shop)).text
    for name in ("A4 海报", "A5 台卡", "桌贴", "圆形胸牌", "电梯海报", "手机壁纸"):
        assert name in page
    poster = shop.owner.get(links(page, "pdf")[0])
    assert poster.mimetype == "application/pdf"
    assert unquote(poster.headers["Content-Disposition"]).endswith("收银台-A4 海报.pdf")
    assert read_by_another(drawn(poster.data)) == {url_of(shop)}
    assert "老王豆浆" in pypdfium2.PdfDocument(poster.data)[0].get_textpage().get_text_bounded()


def test_every_file_of_the_gallery_reads(shop: Shop) -> None:
    page = shop.owner.get(posters(shop)).text
    assert len(links(page, "preview")) == 6
    for link in links(page, "preview"):
        assert Image.open(io.BytesIO(shop.owner.get(link).data)).width == 480
    (badge,) = (link for link in links(page, "png") if "badge" in link)
    assert read_by_another(Image.open(io.BytesIO(shop.owner.get(badge).data))) == {url_of(shop)}
    plain, marked = (
        pypdfium2.PdfDocument(shop.owner.get(link).data)[0].get_width() for link in links(page, "pdf")[-2:]
    )
    assert marked - plain == pytest.approx(20 / 25.4 * 72, abs=0.1)


def test_a_change_is_seen_at_once_and_kept_only_when_saved(shop: Shop, runtime: Runtime) -> None:
    before = links(shop.owner.get(posters(shop)).text, "preview")
    part = shop.owner.get(posters(shop), query_string=LOOK, headers={"HX-Request": "true"})
    assert part.text.lstrip().startswith('<div id="gallery"')
    changed = links(part.text, "preview")
    assert all("plain" in link and "b3312c" in link for link in changed)
    assert shop.owner.get(changed[0]).data != shop.owner.get(before[0]).data
    assert links(shop.owner.get(posters(shop)).text, "preview") == before

    assert shop.owner.post(posters(shop), LOOK).status_code == 303
    page = shop.owner.get(posters(shop)).text
    assert links(page, "preview") == changed
    assert 'value="每天清晨现磨"' in page
    with runtime.transaction(Role.PLATFORM) as session:
        kept = session.get_one(PosterLook, shop.merchant_id)
        assert (kept.colour, kept.design) == ("#b3312c", "plain")
        assert "posters.look" in list(session.scalars(select(AuditLog.action)))
    own = {**LOOK, "colour": "own", "own": "#FFEE88", "slogan": ""}
    assert shop.owner.post(posters(shop), own).status_code == 303
    with runtime.transaction(Role.PLATFORM) as session:
        kept = session.get_one(PosterLook, shop.merchant_id)
        assert kept.colour == "#ffee88"
        assert slogans.newest(session, merchant_id=shop.merchant_id) is None


def test_a_slogan_obeys_the_rules_of_all_words_to_the_public(shop: Shop, runtime: Runtime) -> None:
    bad = {**LOOK, "slogan": "关注送豆浆"}
    shop.owner.get(posters(shop))
    answer = shop.owner.post(posters(shop), bad)
    assert answer.status_code == 422
    assert "不能这样写" in answer.text
    assert 'value="关注送豆浆"' in answer.text
    part = shop.owner.get(posters(shop), query_string=bad, headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "不能这样写" in part.text
    for kind in ("preview", "pdf", "png"):
        assert shop.owner.get(f"{posters(shop)}/a5/{kind}", query_string=bad).status_code == 422
    with runtime.transaction(Role.PLATFORM) as session:
        account_id = session.get_one(Merchant, shop.merchant_id).account_id
        sensitive_words.add(session, account_id=account_id, words=[ListedWord("现磨", Severity.REFUSED)])
    assert shop.owner.post(posters(shop), LOOK).status_code == 422
    assert shop.owner.get(f"{posters(shop)}/a5/pdf", query_string=LOOK).status_code == 422
    with runtime.transaction(Role.PLATFORM) as session:
        assert session.get(PosterLook, shop.merchant_id) is None


def words_of(browser: Browser, path: str, **query: str) -> str:
    answer = browser.get(f"{path}/a5/pdf", query_string=query)
    return str(pypdfium2.PdfDocument(answer.data)[0].get_textpage().get_text_bounded())


def packed(shop: Shop) -> str:
    started = shop.owner.post(f"{posters(shop)}/all", {"format": "a5", "kind": "pdf"})
    jobs.drain(shop.runtime, {long_jobs.RUN: long_jobs.handler(LONG_JOBS)}, outbox.SLOW)
    with ZipFile(io.BytesIO(shop.owner.get(f"{started.location}/file").data)) as archive:
        poster = archive.read(archive.namelist()[0])
    return str(pypdfium2.PdfDocument(poster)[0].get_textpage().get_text_bounded())


def test_a_slogan_is_printed_once_it_is_approved(
    app: Flask, shop: Shop, runtime: Runtime, new_staff: Callable[..., int]
) -> None:
    new_staff("operator")
    operator = Browser(app.test_client())
    assert operator.sign_in("operator").status_code == 303
    path, queue = posters(shop), "/operator/approvals"
    shop.owner.get(path)
    drafted = {**LOOK, "slogan": "全城最好喝"}
    assert "要等运营通过才印" in shop.owner.get(path, query_string=drafted, headers={"HX-Request": "true"}).text
    assert shop.owner.post(path, drafted).status_code == 303
    page = shop.owner.get(path).text
    assert "新口号交给运营审批" in page
    assert "“全城最好喝”在等审批" in page
    assert "不印口号" in page
    # The preview shows what is meant; no file does, whatever its address says.
    assert (
        shop.owner.get(f"{path}/a5/preview").data
        != shop.owner.get(f"{path}/a5/preview", query_string={**LOOK, "slogan": ""}).data
    )
    for words in (words_of(shop.owner, path), words_of(shop.owner, path, **drafted), packed(shop)):
        assert "老王豆浆" in words
        assert "全城最好喝" not in words
    code = f"/operator/codes/{shop.code.id}/posters"
    assert "全城最好喝" not in words_of(operator, code, **drafted)

    waiting = operator.get(queue).text
    assert "全城最好喝" in waiting
    assert "广告法" in waiting
    (first,) = re.findall(r"approvals/slogans/(\d+)/approve", waiting)
    assert operator.post(f"{queue}/slogans/{first}/reject", {"was": "pending", "reason": ""}).status_code == 422
    operator.get(queue)
    refusal = {"was": "pending", "reason": "别说最"}
    assert operator.post(f"{queue}/slogans/{first}/reject", refusal).status_code == 303
    page = shop.owner.get(path).text
    assert "“全城最好喝”没有通过：别说最" in page
    assert "在等审批" not in page
    assert 'value="全城最好喝"' in page
    assert "海报上的口号没有通过：别说最" in shop.owner.get("/merchant/notices").text

    # To change the colour alone does not send the refused words again; other words do.
    shop.owner.get(path)
    shop.owner.post(path, {**drafted, "colour": "#0b6b4f"})
    assert "slogans/" not in operator.get(queue).text.partition("最近的决定")[0]
    shop.owner.get(path)
    shop.owner.post(path, LOOK)
    (second,) = set(re.findall(r"approvals/slogans/(\d+)/approve", operator.get(queue).text)) - {first}
    assert operator.post(f"{queue}/slogans/{second}/approve", {"was": "pending"}).status_code == 303
    operator.get(queue)
    assert operator.post(f"{queue}/slogans/{second}/approve", {"was": "pending"}).location == queue
    assert "已经处理过了" in operator.get(queue).text
    for words in (words_of(shop.owner, path), packed(shop)):
        assert "每天清晨现磨" in words
    page = shop.owner.get(path).text
    assert "等审批" not in page
    assert "预览里印着它" not in page

    # The next one waits while the approved one goes on being printed.
    shop.owner.post(path, {**LOOK, "slogan": "加糖不加价"})
    assert "仍印“每天清晨现磨”" in shop.owner.get(path).text
    assert "每天清晨现磨" in words_of(shop.owner, path)
    with runtime.transaction(Role.PLATFORM) as session:
        noted = {one.action: one.detail for one in session.scalars(select(AuditLog).order_by(AuditLog.id))}
    assert noted["slogan.reject"]["doubts"]
    assert noted["slogan.approve"] == {"was": "pending", "doubts": []}


def test_an_operator_who_changes_a_colour_lets_no_slogan_through(crew: Crew, runtime: Runtime) -> None:
    code = Neighbourhood(runtime).code(crew.merchant_id, "收银台")
    path = f"/operator/codes/{code.id}/posters"
    with runtime.transaction(Role.MERCHANT, merchant_id=crew.merchant_id) as session:
        looks.save(session, merchant_id=crew.merchant_id, wanted=looks.Wishes("全城最好喝"), now=runtime.now())
    page = crew.operator.get(path).text
    assert "全城最好喝" not in page
    assert crew.operator.post(path, {**LOOK, "slogan": ""}).status_code == 303
    with runtime.transaction(Role.PLATFORM) as session:
        assert slogans.in_force(session, merchant_id=crew.merchant_id) == ""
        assert slogans.count_waiting(session) == 1


def test_to_print_no_slogan_needs_nobodys_word(shop: Shop, runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        wanted = looks.Wishes("每天清晨现磨")
        looks.save(session, merchant_id=shop.merchant_id, wanted=wanted, now=runtime.now(), operator_id=1)
    path = posters(shop)
    assert "每天清晨现磨" in words_of(shop.owner, path)
    assert "每天清晨现磨" not in words_of(shop.owner, path, **{**LOOK, "slogan": ""})
    shop.owner.get(path)
    shop.owner.post(path, {**LOOK, "slogan": ""})
    assert "每天清晨现磨" not in words_of(shop.owner, path)


def test_the_shops_own_picture_is_on_the_poster(shop: Shop, runtime: Runtime) -> None:
    assert "本店名片" in shop.owner.get(posters(shop)).text
    assert "二维码中间放小图" not in shop.owner.get(posters(shop)).text
    with runtime.transaction(Role.PLATFORM) as session:
        picture = Picture(
            merchant_id=shop.merchant_id, public_id="picture", content=photo(), mime="image/jpeg", sha256=b"1",
            width=640, height=440,
        )  # fmt: skip
        session.add(picture)
        session.flush()
        session.execute(update(Merchant).where(Merchant.id == shop.merchant_id).values(picture_id=picture.id))
    assert "二维码中间放小图" in shop.owner.get(posters(shop)).text
    sizes = []
    for extra in ({}, {"picture": "true"}, {"picture": "true", "logo": "true"}):
        poster = shop.owner.get(f"{posters(shop)}/a5/pdf", query_string={**LOOK, **extra}).data
        assert read_by_another(drawn(poster, ppi=150)) == {url_of(shop)}
        sizes.append(len(poster))
    assert sizes[0] + len(photo()) / 2 < sizes[1] <= sizes[2]


def test_a_rare_character_is_pointed_out(shop: Shop, runtime: Runtime) -> None:
    with runtime.transaction(Role.PLATFORM) as session:
        session.execute(update(Merchant).where(Merchant.id == shop.merchant_id).values(name="𰻞𰻞面🍜"))
    page = shop.owner.get(posters(shop)).text
    assert "字库里没有“𰻞”" in page


def temporary(shop: Shop, expires_in: timedelta) -> SubQrCode:
    with shop.runtime.transaction(Role.PLATFORM) as session:
        code = codes.add(
            session, merchant_id=shop.merchant_id, wanted=codes.Wanted("临时", days=7), now=shop.street.now
        )
        expires_at = shop.street.now + expires_in
        codes.record_created(
            session, code_id=code.id, ticket="t", url="http://weixin.qq.com/q/02tmp", expires_at=expires_at
        )
        session.expunge(code)
        return code


def test_a_temporary_code_is_offered_as_wallpaper_only(shop: Shop) -> None:
    path = f"/merchant/codes/{temporary(shop, timedelta(days=7)).id}/posters"
    page = shop.owner.get(path).text
    assert "临时码会过期" in page
    assert "手机壁纸" in page
    assert "A4 海报" not in page
    assert shop.owner.get(f"{path}/wallpaper/png").status_code == 200
    for format_ in ("a4", "a5", "stickers", "badge", "lift"):
        for kind in ("pdf", "png", "preview"):
            assert shop.owner.get(f"{path}/{format_}/{kind}").status_code == 409


def test_no_poster_of_what_nobody_should_scan(shop: Shop, runtime: Runtime) -> None:
    over = temporary(shop, -timedelta(hours=1))
    with runtime.transaction(Role.PLATFORM) as session:
        now = runtime.now()
        printed = codes.adopt(session, merchant_id=shop.merchant_id, scene="old-1", now=now, label="旧招牌").id
        codes.retire(session, merchant_id=shop.merchant_id, code_id=shop.code.id, now=now)
    for code_id in (over.id, printed, shop.code.id):
        for rest in ("", "/wallpaper/png", "/a4/pdf"):
            assert shop.owner.get(f"/merchant/codes/{code_id}/posters{rest}").status_code == 404


def test_odd_questions_are_refused(shop: Shop) -> None:
    for query in (
        "draft=2", "colour=red", "colour=%23fff", "design=loud", "picture=1", "own=x", "sort=a", "marks=1&marks=1",
        "slogan=" + "x" * 65, "merchant_id=2",
    ):  # fmt: skip
        assert shop.owner.get(f"{posters(shop)}/a5/pdf?{query}").status_code == 422, query
    assert shop.owner.get(f"{posters(shop)}/a5/pdf", query_string={**LOOK, "slogan": "x" * 25}).status_code == 422
    assert shop.owner.get(f"{posters(shop)}/a3/pdf").status_code == 404
    assert shop.owner.get(f"{posters(shop)}/a5/exe").status_code == 404
    for changes in ({"colour": "red"}, {"design": "loud"}, {"merchant_id": "2"}, {"slogan": "x" * 25}, {"draft": "0"}):
        assert shop.owner.post(posters(shop), {**LOOK, **changes}).status_code == 422, changes


def test_a_clerk_prints_and_does_not_change_the_look(crew: Crew, runtime: Runtime) -> None:
    code = Neighbourhood(runtime).code(crew.merchant_id, "收银台")
    path = f"/merchant/codes/{code.id}/posters"
    page = crew.clerk.get(path).text
    assert links(page, "pdf")
    assert "保存这个样子" not in page
    assert crew.clerk.post(path, LOOK).status_code == 403


def test_the_operator_sees_and_keeps_a_merchants_look(crew: Crew, runtime: Runtime) -> None:
    code = Neighbourhood(runtime).code(crew.merchant_id, "收银台")
    path = f"/operator/codes/{code.id}/posters"
    assert path in crew.operator.get(f"/operator/codes/{code.id}").text
    assert "老王豆浆" in crew.operator.get(path).text
    assert crew.operator.post(path, {**LOOK, "slogan": "关注送豆浆"}).status_code == 422
    assert crew.operator.post(path, LOOK).status_code == 303
    page = crew.operator.get(path).text
    assert 'value="每天清晨现磨"' in page
    assert all("plain" in link for link in links(page, "preview"))
    assert crew.operator.get(links(page, "preview")[3]).mimetype == "image/png"
    assert read_by_another(drawn(crew.operator.get(links(page, "pdf")[0]).data))
    assert crew.operator.get(f"{path}/badge/png").mimetype == "image/png"
    with runtime.transaction(Role.PLATFORM) as session:
        record = session.scalars(select(AuditLog).filter_by(action="posters.look")).one()
        assert record.merchant_id == crew.merchant_id


def test_all_codes_of_a_shop_are_packed_in_the_background(crew: Crew, runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    shown = [street.code(crew.merchant_id, f"{number} 号桌") for number in range(1, 10)]
    other = street.code(street.merchant("别家"), "柜台")
    for browser, area in ((crew.clerk, "merchant"), (crew.operator, "operator")):
        path = f"/{area}/codes/{shown[0].id}/posters"
        assert "所有码一起做" in browser.get(path).text
        started = browser.post(f"{path}/all", {"format": "stickers", "kind": "pdf"})
        assert started.status_code == 303
        jobs.drain(runtime, {long_jobs.RUN: long_jobs.handler(LONG_JOBS)}, outbox.SLOW)
        page = browser.get(started.location).text
        assert "老王豆浆.zip" in page
        with ZipFile(io.BytesIO(browser.get(f"{started.location}/file").data)) as archive:
            # Eight tables share a sheet, and the ninth has one to itself.
            assert archive.namelist() == ["1 号桌 - 8 号桌.pdf", "9 号桌.pdf"]
            seen = [read_by_another(one) for one in stickers(drawn(archive.read("1 号桌 - 8 号桌.pdf"), ppi=150))]
        assert seen == [{f"http://weixin.qq.com/q/{code.scene}"} for code in shown[:8]]
        assert browser.post(f"{path}/all", {"format": "a3"}).status_code == 422
    assert crew.clerk.post(f"/merchant/codes/{other.id}/posters/all", {"format": "a4"}).status_code == 404


def test_a_list_of_codes_becomes_posters_in_each_shops_look(crew: Crew, runtime: Runtime) -> None:
    street = Neighbourhood(runtime)
    other_shop = street.merchant("面馆")
    ours = [street.code(crew.merchant_id, label) for label in ("门口", "柜台")]
    theirs = street.code(other_shop, "门口")
    with runtime.transaction(Role.PLATFORM) as session:
        operator_id = session.execute(select(Staff.id).filter_by(login="operator")).scalar_one()
        wanted = looks.Wishes(slogan="现擀现煮")
        looks.save(session, merchant_id=other_shop, wanted=wanted, now=street.now, operator_id=operator_id)
        row = {"merchant_id": other_shop, "label": "门口"}
        account_id = session.get_one(Merchant, other_shop).account_id
        list_ = CodeBatch(
            account_id=account_id, name="春节", rows=[row], created_by=operator_id,
            code_ids=[code.id for code in (*ours, theirs)],
        )  # fmt: skip
        session.add(list_)
        session.flush()
        path = f"/operator/codes/batches/{list_.id}"
    assert "这一批做成海报" in crew.operator.get(path).text
    started = crew.operator.post(f"{path}/posters", {"format": "a5", "kind": "marks"})
    assert started.status_code == 303
    jobs.drain(runtime, {long_jobs.RUN: long_jobs.handler(LONG_JOBS)}, outbox.SLOW)
    with ZipFile(io.BytesIO(crew.operator.get(f"{started.location}/file").data)) as archive:
        assert set(archive.namelist()) == {"老王豆浆 门口.pdf", "老王豆浆 柜台.pdf", "面馆 门口.pdf"}
        poster = archive.read("面馆 门口.pdf")
    assert read_by_another(drawn(poster)) == {f"http://weixin.qq.com/q/{theirs.scene}"}
    assert "现擀现煮" in pypdfium2.PdfDocument(poster)[0].get_textpage().get_text_bounded()
    crew.owner.get("/merchant/codes")
    assert crew.owner.post(f"/merchant/codes/batches/{list_.id}/posters", {"format": "a5"}).status_code == 404
