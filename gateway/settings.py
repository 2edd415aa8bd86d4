"""The gateway's configuration: one TOML file and environment variables, read once.

Environment variables named `COUNTERPART_GATEWAY_<KEY>` (`__` between the parts of a nested key) win over the file.
Unknown keys are refused, and all errors are reported together in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from storage.configuration import Configuration
from storage.contract.lanes import Lane
from storage.contract.wire import LONG_POLL_S_MAX

ENVIRONMENT_PREFIX: Final = "COUNTERPART_GATEWAY_"
GIB: Final = 1024**3
AE_TITLE_CHARACTERS_MAX: Final = 16  # PS3.8 section 9.3.2


def _parse_ae_title(text: str) -> str:
    title = text.strip()
    if not title or len(title) > AE_TITLE_CHARACTERS_MAX or "\\" in title or not title.isprintable():
        raise ValueError("an AE title has 1 to 16 printable characters and no backslash (PS3.5 section 6.2)")
    return title


def _parse_hub_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the hub's address looks like https://hub.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("the hub's address is scheme, host and port only, without path, query or login")
    return f"{parts.scheme}://{parts.netloc}"


AeTitle = Annotated[str, AfterValidator(_parse_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DicomSettings(_Section):
    """The DICOM listener. Port 0 takes any free port; `port_file` then tells which.

    An association that stays open without a new instance counts as ended after `open_association_max_s`. Below
    `disk_floor_bytes` of free disk nothing more is accepted. `lanes` names the transfer class of each calling AE title
    that is not routine.
    """

    ae_title: AeTitle = "COUNTERPART"
    host: str = "0.0.0.0"  # noqa: S104 -- modalities call from the clinic's network
    port: int = Field(default=11112, ge=0, le=65535)
    allowed_calling_ae_titles: tuple[AeTitle, ...] = Field(min_length=1)
    associations_max: int = Field(default=25, ge=1, le=1000)
    object_bytes_max: int = Field(default=4 * GIB, ge=1024)
    disk_floor_bytes: int = Field(default=GIB, ge=0)
    open_association_max_s: float = Field(default=600.0, gt=0, le=86_400)
    lanes: dict[AeTitle, Lane] = {}


class HubSettings(_Section):
    """Where the hub is and how patiently it is asked."""

    url: Annotated[str, AfterValidator(_parse_hub_url)]
    ca_file: Path | None = None  # certificates to trust instead of the system's
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 60.0  # silence between two bytes, never the whole exchange
    long_poll_s: int = Field(default=25, ge=0, le=LONG_POLL_S_MAX)
    retry_delay_max_s: Seconds = 60.0
    custody_report_s: Seconds = 3.0


class TargetSettings(_Section):
    """A place at the clinic to which reports are delivered."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    kind: Literal["pacs"] = "pacs"
    host: str = Field(min_length=1)
    port: Port
    ae_title: AeTitle
    timeout_s: Seconds = 30.0

    @property
    def target(self) -> str:
        """Return the name by which journal and receipts know this target."""
        return f"{self.kind}:{self.name}"


class GatewaySettings(Configuration):
    """Everything a gateway needs to know; frozen."""

    program = "gateway"

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    spool_dir: Path
    hub: HubSettings
    dicom: DicomSettings
    targets: tuple[TargetSettings, ...] = ()
    quiet_period_s: float = Field(default=30.0, gt=0, le=86_400)
    keep_days: float = Field(default=7.0, ge=0, le=3650)
    line_seconds_per_pack: float = Field(default=5.0, gt=0, le=60)
    upload_streams: int = Field(default=2, ge=1, le=8)
    port_file: Path | None = None

    @model_validator(mode="after")
    def _targets_have_different_names(self) -> GatewaySettings:
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("two [[targets]] have the same name")
        return self


def load_settings(path: Path | None) -> GatewaySettings:
    """Return the settings of the TOML file at `path` (None: environment alone) under the environment.

    Raises:
        ConfigurationError: with one sentence for each thing that is wrong.
    """
    return GatewaySettings.load(path)
