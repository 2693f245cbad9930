"""Settings are complete, kept, private, and refuse what is wrong in one sentence each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import Settings, SettingsError, read_settings, sandbox_account_path, write_private_file_once
from tools import settings_doc

ACCOUNT = {
    "WECHAT_APP_ID": "wx0123456789abcdef",
    "WECHAT_APP_SECRET": "0123456789abcdef0123456789abcdef",
    "WECHAT_TOKEN": "aToken",
    "WECHAT_ACCOUNT": "gh_0123456789ab",
}
AES_KEY = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "var"


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings()


def refusal(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read(monkeypatch, **variables)
    return caught.value.sentences


def test_nothing_has_to_be_set(home: Path) -> None:
    settings = read_settings()
    assert settings.quanma_home == home
    assert settings.database_url is None
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.uses_sandbox_account
    assert settings.is_sandbox
    assert settings.wechat_api_url == settings.wechat_mp_url == settings.wechat_open_url == "http://127.0.0.1:8001"
    assert settings.wechat_aes_key is not None
    assert not settings.has_secure_cookies


def test_what_is_made_up_is_kept_and_private(home: Path) -> None:
    first, second = read_settings(), read_settings()
    assert first == second
    for file in (home / "secret_key", sandbox_account_path(home)):
        assert file.stat().st_mode & 0o777 == 0o600
    assert len(first.secret_key.get_secret_value()) >= 32


def test_processes_that_start_together_agree_on_what_is_made_up(home: Path) -> None:
    program = "from core.settings import read_settings; print(sorted(read_settings().secret_values()))"
    environment = {**os.environ, "QUANMA_HOME": str(home)}
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in started}) == 1
    assert [process.returncode for process in started] == [0] * 4


def test_a_file_written_once_stays(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "file"
    assert write_private_file_once(file, "one") == "one"
    assert write_private_file_once(file, "two") == "one"
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_secrets_show_nowhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **ACCOUNT, DATABASE_URL="postgresql://owner:p%40ss-word@db/q")
    shown = f"{settings!r} {settings}"
    assert ACCOUNT["WECHAT_APP_SECRET"] not in shown
    assert "p%40ss-word" not in shown
    assert {
        "p%40ss-word",
        "p@ss-word",
        ACCOUNT["WECHAT_APP_SECRET"],
        ACCOUNT["WECHAT_TOKEN"],
    } <= settings.secret_values()


def test_a_whole_account_talks_to_the_real_platform(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **ACCOUNT, PUBLIC_URL="https://shop.example/")
    assert not settings.uses_sandbox_account
    assert not settings.is_sandbox
    assert settings.wechat_api_url == "https://api.weixin.qq.com"
    assert settings.wechat_aes_key is None
    assert settings.public_url == "https://shop.example"
    assert settings.has_secure_cookies
    assert not sandbox_account_path(home).exists()


def test_an_account_against_a_fake_is_a_sandbox(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, **ACCOUNT, WECHAT_API_URL="http://127.0.0.1:9001", WECHAT_AES_KEY=AES_KEY)
    assert settings.is_sandbox
    assert not settings.uses_sandbox_account


def test_a_sandbox_elsewhere_plays_every_host(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, WECHAT_API_URL="http://127.0.0.1:9001")
    assert settings.uses_sandbox_account
    assert settings.wechat_open_url == settings.wechat_mp_url == "http://127.0.0.1:9001"


@pytest.mark.parametrize("missing", sorted(ACCOUNT))
def test_half_an_account_names_what_is_missing(home: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    (sentence,) = refusal(monkeypatch, **{name: value for name, value in ACCOUNT.items() if name != missing})
    assert sentence.startswith(f"缺少设置 {missing}：")
    assert f"{missing} is missing" in sentence


@pytest.mark.parametrize("alone", [{"WECHAT_AES_KEY": AES_KEY}, {"WECHAT_API_URL": "https://api.weixin.qq.com"}])
def test_made_up_credentials_never_meet_the_real_platform(
    home: Path, monkeypatch: pytest.MonkeyPatch, alone: dict[str, str]
) -> None:
    assert len(refusal(monkeypatch, **alone)) == len(ACCOUNT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://root@db/q"),
        ("REDIS_URL", "http://redis"),
        ("SECRET_KEY", "short"),
        ("SECRET_KEY", "with spaces in it, many"),
        ("PUBLIC_URL", "shop.example"),
        ("PUBLIC_URL", "https://user@shop.example"),
        ("WECHAT_APP_ID", "1234567890"),
        ("WECHAT_TOKEN", "a b"),
        ("WECHAT_ACCOUNT", "quanma"),
        ("WECHAT_AES_KEY", AES_KEY[:-1]),
        ("WECHAT_AES_KEY_PREVIOUS", AES_KEY + "="),
        ("WECHAT_API_URL", "https://api.weixin.qq.com/?x=1"),
        ("METRICS_TOKEN", "short"),
        ("LOG_LEVEL", "LOUD"),
        ("WEB_WORKERS", "0"),
        ("TRUSTED_PROXIES", "many"),
    ],
)
def test_a_wrong_value_is_one_sentence_without_the_value(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (sentence,) = refusal(monkeypatch, **{**ACCOUNT, name: value})
    assert sentence.startswith(f"设置 {name} 不对：应为")
    assert f"{name} must be" in sentence
    assert "\n" not in sentence
    assert value not in sentence.replace(name, "")


def test_all_wrong_values_are_told_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(refusal(monkeypatch, DATABASE_URL="x", REDIS_URL="y", LOG_LEVEL="z")) == 3


def test_an_unusable_home_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "file").write_text("")
    (sentence,) = refusal(monkeypatch, QUANMA_HOME=str(home.parent / "file"))
    assert "QUANMA_HOME" in sentence


def test_a_dot_env_file_is_read_and_the_environment_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / ".env").write_text("LOG_LEVEL=ERROR\nPUBLIC_URL=https://from.file\nSOMETHING_ELSE=1\n")
    settings = read(monkeypatch, LOG_LEVEL="DEBUG")
    assert settings.log_level == "DEBUG"
    assert settings.public_url == "https://from.file"


def test_an_empty_variable_is_an_unset_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, DATABASE_URL="", WECHAT_APP_ID="", SECRET_KEY="").uses_sandbox_account


def test_every_setting_is_described_and_the_page_is_current() -> None:
    described = {name for name, field in Settings.model_fields.items() if field.description}
    assert set(Settings.model_fields) - described == {"uses_sandbox_account"}
    assert settings_doc.main(["--check"]) == 0
