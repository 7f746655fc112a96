"""Settings: their defaults, their bounds, and a message that names what is wrong."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from loyalty.access.secrets import SECRET_BYTES_MIN, SecretError, derive, root_secret
from loyalty.kit.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field in fields(Settings):
        monkeypatch.delenv(f"CARNET_{field.name.upper()}", raising=False)
    monkeypatch.delenv("HOST", raising=False)
    monkeypatch.delenv("PORT", raising=False)


def test_without_any_variable_the_defaults_hold() -> None:
    settings = Settings.from_environment()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == Path(".carnet").resolve()
    assert settings.model_dir == settings.data_dir / "models"
    assert settings.mongodb_uri == ""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PORT", "9000", 9000),
        ("HOST", "0.0.0.0", "0.0.0.0"),  # noqa: S104  # nothing is bound here
        ("CARNET_MONGODB_URI", "mongodb://db:27017", "mongodb://db:27017"),
        ("CARNET_DATABASE", "shop-1", "shop-1"),
        ("CARNET_WORKERS", "4", 4),
        ("CARNET_THREADS", "8", 8),
        ("CARNET_CORS_ORIGINS", "https://a.example,https://b.example", None),
        ("CARNET_DATABASE_TIMEOUT_SECONDS", "0.5", 0.5),
        ("CARNET_MODEL_FACTORS", "64", 64),
        ("CARNET_MODEL_PRIVACY", "dp", "dp"),
        ("CARNET_MODEL_EPSILON", "0.5", 0.5),
        ("CARNET_MODEL_EPSILON_TOTAL", "4", 4.0),
        ("CARNET_MODEL_EPSILON_DAYS", "90", 90),
        ("CARNET_MODEL_DELTA", "1e-8", 1e-8),
        ("CARNET_JOBS_AT_ONCE", "2", 2),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(name, text)
    found = getattr(Settings.from_environment(), name.removeprefix("CARNET_").lower())
    assert found == (tuple(text.split(",")) if value is None else value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("CARNET_WORKERS", "0"),
        ("CARNET_WORKERS", "many"),
        ("CARNET_THREADS", "257"),
        ("CARNET_DATABASE", "my.shop"),
        ("CARNET_DATABASE", ""),
        ("CARNET_DATABASE", "x" * 39),
        ("CARNET_DATABASE_TIMEOUT_SECONDS", "0"),
        ("CARNET_DATABASE_TIMEOUT_SECONDS", "61"),
        ("CARNET_DATABASE_TIMEOUT_SECONDS", "nan"),
        ("CARNET_BODY_BYTES_MAX", "0"),
        ("CARNET_BULK_BYTES_MAX", "-1"),
        ("CARNET_MODEL_FACTORS", "3"),
        ("CARNET_MODEL_PRIVACY", "some"),
        ("CARNET_MODEL_EPSILON", "0"),
        ("CARNET_MODEL_EPSILON", "9"),
        ("CARNET_MODEL_EPSILON_DAYS", "-1"),
        ("CARNET_MODEL_DELTA", "1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=name.removeprefix("CARNET_")):
        Settings.from_environment()


def test_the_secret_is_in_no_representation() -> None:
    assert "hush" not in repr(Settings(secret="hush" * 8))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(SecretError, match=str(SECRET_BYTES_MIN)):
        root_secret(Settings(secret="x" * (SECRET_BYTES_MIN - 1)))


def test_without_a_secret_one_is_made_and_found_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    made = root_secret(settings)
    assert len(made) >= SECRET_BYTES_MIN
    assert root_secret(settings) == made
    assert (tmp_path / "data" / "secret").stat().st_mode & 0o077 == 0
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["secret"]
    assert root_secret(Settings(data_dir=tmp_path / "other")) != made


def test_the_key_of_each_use_is_its_own() -> None:
    root = b"r" * 32
    keys = {derive(root, use) for use in ("lookup", "display", "tokens")}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)
    assert derive(root, "lookup") == derive(root, "lookup")
    assert derive(b"s" * 32, "lookup") not in keys
