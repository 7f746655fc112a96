"""Everything that can be set from outside, read once from the environment, with its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from environs import Env, EnvError
from marshmallow import validate


class SettingsError(Exception):
    """A setting is missing or out of bounds; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One frozen set of settings. README.md holds the table that explains each."""

    mongodb_uri: str = ""
    database: str = "carnet"
    data_dir: Path = Path(".carnet")
    secret: str = field(default="", repr=False)
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    threads: int = 16
    cors_origins: tuple[str, ...] = ()
    body_bytes_max: int = 1_000_000
    bulk_bytes_max: int = 32_000_000
    database_timeout_seconds: float = 2.0
    model_factors: int = 256
    # When the model is trained anew by itself; 0: never for that.
    model_retrain_withdrawals: int = 1
    model_retrain_hours: float = 24.0
    # Differential privacy of what members share in the model: see docs/model-privacy.md.
    model_privacy: str = "plain"
    model_epsilon: float = 1.0
    model_epsilon_total: float = 8.0
    model_epsilon_days: int = 0
    model_delta: float = 1e-6
    jobs_at_once: int = 1
    # The master keys' KMS; without it a file of the data directory.
    kms_file: Path | None = None
    # Users of the database that may do more than the service's own: see docs/privacy.md.
    admin_uri: str = field(default="", repr=False)
    eraser_uri: str = field(default="", repr=False)
    # Where browsers reach the service's pages, for the links in e-mails.
    public_url: str = ""
    embed_origins: tuple[str, ...] = ()

    @property
    def model_dir(self) -> Path:
        """Where trained models lie, one folder a version."""
        return self.data_dir / "models"

    @property
    def master_key_file(self) -> Path:
        """Where the master keys lie if there is no KMS."""
        return self.data_dir / "master-key"

    @property
    def vault_database(self) -> str:
        """The name of the database that holds the keys of what is sealed."""
        return f"{self.database}_vault"

    @property
    def url(self) -> str:
        """Where browsers reach the service's pages, without a slash at the end."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    @classmethod
    def from_environment(cls) -> Settings:
        """Read `CARNET_*`, `HOST` and `PORT`.

        Raises:
            SettingsError: a value is not of its type or outside its bounds.
        """
        env = Env()
        try:
            return cls(**_platform(env), **_own(env))
        except EnvError as error:
            raise SettingsError(str(error)) from error


def _platform(env: Env) -> dict[str, Any]:
    return {
        "host": env.str("HOST", "127.0.0.1"),
        "port": env.int("PORT", 8000, validate=validate.Range(1, 65535)),
    }


def _own(env: Env) -> dict[str, Any]:
    with env.prefixed("CARNET_"):
        return {
            "mongodb_uri": env.str("MONGODB_URI", ""),
            "database": env.str("DATABASE", "carnet", validate=validate.Regexp(r"[\w-]{1,38}\Z")),
            "data_dir": Path(env.str("DATA_DIR", ".carnet")).resolve(),
            "secret": env.str("SECRET", ""),
            "workers": env.int("WORKERS", 2, validate=validate.Range(1, 64)),
            "threads": env.int("THREADS", 16, validate=validate.Range(1, 256)),
            "cors_origins": tuple(env.list("CORS_ORIGINS", [])),
            "body_bytes_max": env.int(
                "BODY_BYTES_MAX", 1_000_000, validate=validate.Range(1_000, 16_000_000)
            ),
            "bulk_bytes_max": env.int(
                "BULK_BYTES_MAX", 32_000_000, validate=validate.Range(1_000, 1_000_000_000)
            ),
            "database_timeout_seconds": env.float(
                "DATABASE_TIMEOUT_SECONDS", 2.0, validate=validate.Range(0.1, 60)
            ),
            "model_factors": env.int("MODEL_FACTORS", 256, validate=validate.Range(4, 512)),
            "model_retrain_withdrawals": env.int(
                "MODEL_RETRAIN_WITHDRAWALS", 1, validate=validate.Range(0, 1_000_000)
            ),
            "model_retrain_hours": env.float(
                "MODEL_RETRAIN_HOURS", 24.0, validate=validate.Range(0, 8760)
            ),
            **_privacy(env),
            "jobs_at_once": env.int("JOBS_AT_ONCE", 1, validate=validate.Range(0, 16)),
            "kms_file": env.path("KMS_FILE", None),
            "admin_uri": env.str("ADMIN_URI", ""),
            "eraser_uri": env.str("ERASER_URI", ""),
            "public_url": env.str("PUBLIC_URL", ""),
            "embed_origins": tuple(env.list("EMBED_ORIGINS", [])),
        }


def _privacy(env: Env) -> dict[str, Any]:
    """The privacy of the model, read where `CARNET_` is the prefix already."""
    found: dict[str, Any] = {
        "model_privacy": env.str(
            "MODEL_PRIVACY", "plain", validate=validate.OneOf(["plain", "dp"])
        ),
        "model_epsilon": env.float("MODEL_EPSILON", 1.0, validate=validate.Range(0.01, 20)),
        "model_epsilon_total": env.float(
            "MODEL_EPSILON_TOTAL", 8.0, validate=validate.Range(0.01, 100)
        ),
        "model_epsilon_days": env.int("MODEL_EPSILON_DAYS", 0, validate=validate.Range(0, 3650)),
        "model_delta": env.float("MODEL_DELTA", 1e-6, validate=validate.Range(1e-12, 1e-3)),
    }
    if found["model_epsilon"] > found["model_epsilon_total"]:
        raise SettingsError("CARNET_MODEL_EPSILON is above CARNET_MODEL_EPSILON_TOTAL.")
    return found
