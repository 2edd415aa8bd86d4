"""The hub's configuration: one TOML file and environment variables, read once.

Environment variables named `COUNTERPART_HUB_<KEY>` (`__` between the parts of a nested key, as in
`COUNTERPART_HUB_WEB__PORT`) win over the file. Unknown keys are refused, and all errors are reported together in words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator
from pydantic import with_config as with_pydantic_config
from pydantic_settings import SettingsConfigDict

from reading_queue.domain.retention import Rules
from reading_queue.domain.routing import UNNAMED
from reading_queue.hl7.settings import Hl7Settings
from reading_queue.services.order_messages.senders import OrderSender
from reading_queue.services.policy import Policy
from reading_queue.worker.queues import QUEUES, Crew, crews_of, wrong_queues
from storage.configuration import Configuration, ConfigurationError
from storage.contract.lanes import Lane
from storage.contract.orders import GreenChannel
from storage.screens.figures_listener import check_address

ENVIRONMENT_PREFIX: Final = "COUNTERPART_HUB_"
LIMITS_BY: Final[Mapping[str, type[StrEnum]]] = {
    "time_limit_default_min": Lane,
    "consult_limit_min": Lane,
    "green_channel_limit_min": GreenChannel,
}
BROKER_SCHEMES: Final = ("redis", "rediss", "redis+socket", "amqp", "amqps")


def _parse_public_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address looks like https://hub.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("an address is scheme, host and port only, without path, query or login")
    return f"{parts.scheme}://{parts.netloc}"


def _parse_database_url(secret: SecretStr) -> SecretStr:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(secret.get_secret_value())
    except ArgumentError as exc:
        raise ValueError("a database address looks like postgresql://login:password@host/name") from exc
    if url.get_backend_name() != "postgresql":
        raise ValueError("the database is PostgreSQL: postgresql://login:password@host/name")
    return SecretStr(url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False))


def _parse_broker_url(secret: SecretStr) -> SecretStr:
    if urlsplit(secret.get_secret_value()).scheme not in BROKER_SCHEMES:
        raise ValueError(f"the broker's address begins with one of {', '.join(BROKER_SCHEMES)}")
    return secret


Address = Annotated[str, AfterValidator(_parse_public_url)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WebSettings(_Section):
    """Where the web role listens. Port 0 takes a free port, the same as last time where it can."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)


class DatabaseSettings(_Section):
    """A PostgreSQL of your own; without `url` the hub runs the embedded one."""

    url: Annotated[SecretStr, AfterValidator(_parse_database_url)] | None = None
    connections_max: int = Field(default=20, ge=2, le=200)  # of one process


class BrokerSettings(_Section):
    """A RabbitMQ, Redis or Valkey of your own; without `url` the hub runs the embedded Redis."""

    url: Annotated[SecretStr, AfterValidator(_parse_broker_url)] | None = None


class ObjectsSettings(_Section):
    """Where objects are kept: a directory under data_dir, or a bucket of an S3 server."""

    kind: Literal["directory", "s3"] = "directory"
    endpoint: str = Field(default="", pattern=r"^([^/\s:]+(:\d+)?)?$")  # host:port, without scheme
    bucket: str = ""
    access_key: str = ""
    secret_key_file: Path | None = None
    region: str = "us-east-1"
    secure: bool = True
    public_endpoint: Address | None = None  # how gateways reach the store; presigned URLs carry this name
    encryption: str = Field(default="none", pattern=r"^(none|sse-s3|sse-kms:\S{1,256})$")  # asked of the S3 server

    @model_validator(mode="after")
    def _s3_is_complete(self) -> Self:
        if self.kind == "directory":
            if self.encryption != "none":
                raise ValueError("a directory does not encrypt: use an encrypted file system, or kind s3")
            return self
        if self.encryption.startswith("sse-kms:") and not self.secure:
            raise ValueError("encryption sse-kms needs secure = true")
        needed = ("endpoint", "bucket", "access_key", "secret_key_file")
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise ValueError(f"kind s3 also needs {', '.join(missing)}")
        return self


class KeysSettings(_Section):
    """The file whose key wraps all private keys; made on first use. Without it: data_dir/keys/hub.key."""

    key_file: Path | None = None


class NetworkSettings(_Section):
    """The network's name for people, and the name that gateways sign for; both stay for ever."""

    name: str = Field(default="Counterpart", min_length=1, max_length=120)
    audience: str = Field(default="counterpart", pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")


def _check_queues(named: list[str]) -> list[str]:
    wrong = wrong_queues(named)
    if wrong:
        raise ValueError(wrong)
    return named


class WorkerSettings(_Section):
    """Which queues a worker serves, and how many jobs it runs at once: each of its crews apart from the others."""

    queues: Annotated[list[str], AfterValidator(_check_queues)] = Field(default_factory=lambda: list(QUEUES))
    concurrency: int = Field(default=2, ge=1, le=64)
    routing_concurrency: int = Field(default=1, ge=1, le=64)
    large_concurrency: int = Field(default=1, ge=1, le=64)
    background_concurrency: int = Field(default=1, ge=1, le=64)

    @property
    def crews(self) -> tuple[Crew, ...]:
        """Return the crews of a worker."""
        children = {
            "routing": self.routing_concurrency,
            "ordinary": self.concurrency,
            "large": self.large_concurrency,
            "background": self.background_concurrency,
        }
        return crews_of(self.queues, children)


class MetricsSettings(_Section):
    """Where each role answers a monitoring system, at /metrics; nowhere when empty. Never a public address."""

    web: Annotated[str, AfterValidator(check_address)] = ""
    worker: Annotated[str, AfterValidator(check_address)] = ""
    scheduler: Annotated[str, AfterValidator(check_address)] = ""


class LogSettings(_Section):
    """How the log looks: lines for people, or JSON for machines."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"


@with_pydantic_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class PolicySettings(Policy):
    """Limits and times of the reading side: the keys of `services.policy.Policy`, all of them positive."""

    def __post_init__(self) -> None:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for name, keys in LIMITS_BY.items():
            limits: dict[str, int] = values.pop(name)
            if set(limits) != set(keys):
                raise ValueError(f"{name} has exactly the keys {', '.join(keys)}")
            values |= {f"{name}.{key}": minutes for key, minutes in limits.items()}
        weights: dict[str, int] = values.pop("workload_points")
        if UNNAMED not in weights:
            raise ValueError(f"workload_points has the key {UNNAMED}, for every modality that it does not name")
        values |= {f"workload_points.{modality}": points for modality, points in weights.items()}
        wrong = [name for name, value in values.items() if value < 1]
        if wrong:
            raise ValueError(f"must be positive: {', '.join(wrong)}")
        Rules(self.keep_outpatient_years, self.keep_inpatient_years)  # never shorter than the law demands


def default_data_dir() -> Path:
    """Return /var/lib/counterpart for root, else `counterpart` in the user's data folder (XDG base directories)."""
    if os.geteuid() == 0:
        return Path("/var/lib/counterpart")
    home = os.environ.get("XDG_DATA_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "share") / "counterpart"


def runtime_dir() -> Path | None:
    """Return this user's folder for sockets (XDG_RUNTIME_DIR), or None when the session has none."""
    path = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    return path if path.is_absolute() and path.is_dir() else None


class HubSettings(Configuration):
    """Everything the hub needs to know; frozen."""

    program = "hub"

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(default_factory=default_data_dir)
    public_url: Address | None = None  # how gateways and browsers reach the hub; default: where the web role listens
    assets_dir: Path = Path(__file__).parents[1] / "build" / "web"  # the viewer, fonts and page scripts, as built
    web: WebSettings = WebSettings()
    database: DatabaseSettings = DatabaseSettings()
    broker: BrokerSettings = BrokerSettings()
    objects: ObjectsSettings = ObjectsSettings()
    keys: KeysSettings = KeysSettings()
    network: NetworkSettings = NetworkSettings()
    policy: PolicySettings = Field(default_factory=PolicySettings)
    worker: WorkerSettings = WorkerSettings()
    hl7: Hl7Settings = Hl7Settings()
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    _file: Path | None = PrivateAttr(default=None)

    @property
    def file(self) -> Path | None:
        """Return the file that they were read from, None where there is none."""
        return self._file

    @model_validator(mode="after")
    def _others_can_reach_it(self) -> Self:
        if self.public_url is None and self.web.host in ("0.0.0.0", "::"):  # noqa: S104 -- refused, not used
            raise ValueError("public_url is needed when web.host is every address of the machine")
        return self

    @property
    def key_file(self) -> Path:
        """Return the file whose key wraps all private keys."""
        return self.keys.key_file or self.data_dir / "keys" / "hub.key"

    @property
    def fonts_dir(self) -> Path:
        """Return where the fonts of documents are."""
        return self.assets_dir / "fonts"

    @property
    def deposits_dir(self) -> Path:
        """Return where instances lie that people store over DICOMweb, while they come."""
        return self.data_dir / "deposits"

    @property
    def objects_dir(self) -> Path:
        """Return where the directory store keeps its objects."""
        return self.data_dir / "objects"


def serving(settings: HubSettings, queues: str) -> HubSettings:
    """Return the settings of a worker that serves these queues, named with commas between them.

    Raises:
        ConfigurationError: a queue that is not known, or none.
    """
    named = [one.strip() for one in queues.split(",") if one.strip()]
    wrong = wrong_queues(named)
    if wrong:
        raise ConfigurationError([f"--queues: {wrong}"])
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"queues": named})})


def load_settings(path: Path | None) -> HubSettings:
    """Return the settings of the TOML file at `path` (None: environment alone) under the environment.

    Raises:
        ConfigurationError: with one sentence for each thing that is wrong.
    """
    settings = HubSettings.load(path)
    settings._file = path
    return settings


def load_order_senders(path: Path) -> dict[str, OrderSender]:
    """Return who may send order messages as the file names them now. Raises ConfigurationError, as `load_settings`."""
    return load_settings(path).hl7.order_senders()
