"""The gateway's configuration: one TOML file and environment variables, read once.

Environment variables named `COUNTERPART_GATEWAY_<KEY>` (`__` between the parts of a nested key) win over the file.
Unknown keys are refused, and all errors are reported together in words.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    Field,
    IPvAnyAddress,
    IPvAnyNetwork,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import SettingsConfigDict

from gateway.his_orders.settings import Hl7Settings
from gateway.line.plan import Hours, Limits, LinePlan
from gateway.peers import EVERYTHING, READERS, SCANNER, CallBack, Peer, Permission
from gateway.targets import CONSOLE, AeTitle, Name, PacsTarget, Port, Seconds, Section, Target
from storage.configuration import Configuration
from storage.contract.lanes import Lane
from storage.contract.wire import LONG_POLL_S_MAX
from storage.screens.figures_listener import check_address

ENVIRONMENT_PREFIX: Final = "COUNTERPART_GATEWAY_"
GIB: Final = 1024**3
BYTES_PER_MBIT: Final = 125_000


def _parse_hub_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the hub's address looks like https://hub.example.org")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError("the hub's address is scheme, host and port only, without path, query or login")
    return f"{parts.scheme}://{parts.netloc}"


def _parse_zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ValueError("a time zone is an IANA name such as Asia/Shanghai") from exc
    return text


class Weekday(StrEnum):
    """A day of the plan."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


MbitPerSecond = Annotated[float, Field(ge=0.02, le=100_000)]  # below the least, connections would not stay alive
AnswerCharacterSet = Literal["ISO_IR 192", "GB18030", "GBK", "ISO 2022 IR 58", "ISO_IR 100", "ISO_IR 6"]


class PeerSettings(Section):
    """A device that may call, and where it takes what it asked for.

    `addresses` are single ones or networks (192.168.1.0/24); empty: it may call from anywhere. `character_set` is the
    one of answers to a request that names none. Without `host` and `port` it can neither be told of storage
    commitment nor be a move destination. `tls`: it is called over TLS; `tls_required`: it must call over TLS.
    """

    name: Name
    ae_title: AeTitle
    addresses: tuple[IPvAnyNetwork, ...] = ()
    may: tuple[Permission, ...] = Field(default=SCANNER, min_length=1)
    host: str | None = Field(default=None, min_length=1)
    port: Port | None = None
    timeout_s: Seconds = 30.0
    character_set: AnswerCharacterSet | None = None
    lane: Lane | None = None
    tls: bool = False
    tls_required: bool = False
    tls_server_name: str | None = None

    @model_validator(mode="after")
    def _host_and_port_belong_together(self) -> PeerSettings:
        if (self.host is None) != (self.port is None):
            raise ValueError(f"peer {self.name} needs both host and port, or neither")
        return self

    def to_peer(self) -> Peer:
        """Return the device as the listener knows it."""
        call_back = None
        if self.host is not None and self.port is not None:
            call_back = CallBack(self.host, self.port, self.timeout_s, self.tls, self.tls_server_name)
        return Peer(
            name=self.name,
            ae_title=self.ae_title,
            may=frozenset(self.may),
            addresses=self.addresses,
            call_back=call_back,
            character_set=self.character_set,
            lane=self.lane,
            tls_required=self.tls_required,
        )


class TlsSettings(Section):
    """This gateway's own certificate for DICOM over TLS (PS3.15 annex B), and whom it trusts.

    With `port` it listens for TLS there, beside the plain port. `ca_file` signs the devices' certificates;
    `require_client_certificate` lets nobody in without one.
    """

    certificate_file: Path
    key_file: Path
    ca_file: Path | None = None
    port: int | None = Field(default=None, ge=0, le=65535)
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _certificates_are_proved_by_somebody(self) -> TlsSettings:
        if self.require_client_certificate and self.ca_file is None:
            raise ValueError("require_client_certificate needs ca_file, which signs the devices' certificates")
        return self


class CommitmentSettings(Section):
    """Storage commitment: how long the hub's confirmation is waited for, and a device that cannot be told is called."""

    wait_hours: float = Field(default=72.0, gt=0, le=24 * 365)
    call_back_days: float = Field(default=7.0, gt=0, le=365)


class DicomSettings(Section):
    """The DICOM listener. Port 0 takes any free port; `port_file` then tells which.

    An association that stays open without a new instance counts as ended after `open_association_max_s`. Below
    `disk_floor_bytes` of free disk nothing more is accepted. `lanes` names the transfer class of each calling AE title
    that is not routine. Orders leave the worklist `worklist_days` after the time they were scheduled for.
    `allowed_calling_ae_titles` is the short form of a peer: a scanner that may call from anywhere.
    """

    ae_title: AeTitle = "COUNTERPART"
    host: str = "0.0.0.0"  # noqa: S104 -- modalities call from the clinic's network
    port: int = Field(default=11112, ge=0, le=65535)
    allowed_calling_ae_titles: tuple[AeTitle, ...] = ()
    peers: tuple[PeerSettings, ...] = ()
    require_called_ae_title: bool = False
    tls: TlsSettings | None = None
    commitment: CommitmentSettings = CommitmentSettings()
    associations_max: int = Field(default=25, ge=1, le=1000)
    connections_per_address_max: int = Field(default=64, ge=1, le=1000)
    matches_max: int = Field(default=500, ge=1, le=100_000)
    worklist_days: float = Field(default=7.0, gt=0, le=365)
    retrieves_max: int = Field(default=2, ge=1, le=16)
    object_bytes_max: int = Field(default=4 * GIB, ge=1024)
    disk_floor_bytes: int = Field(default=GIB, ge=0)
    open_association_max_s: float = Field(default=600.0, gt=0, le=86_400)
    lanes: dict[AeTitle, Lane] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _callers_are_distinct(self) -> DicomSettings:
        titles = [*self.allowed_calling_ae_titles, *(peer.ae_title for peer in self.peers)]
        if len(set(titles)) != len(titles):
            raise ValueError("an AE title is named twice in peers and allowed_calling_ae_titles")
        if len({peer.name for peer in self.peers}) != len(self.peers):
            raise ValueError("two [[dicom.peers]] have the same name")
        if self.tls is None and any(peer.tls or peer.tls_required for peer in self.peers):
            raise ValueError("a peer uses TLS: [dicom.tls] must name this gateway's certificate and key")
        return self

    def to_peers(self) -> tuple[Peer, ...]:
        """Return every device that may call."""
        short = tuple(Peer(name=title.lower(), ae_title=title) for title in self.allowed_calling_ae_titles)
        return (*short, *(peer.to_peer() for peer in self.peers))

    def to_lanes(self) -> dict[str, Lane]:
        """Return the transfer class of each calling AE title that has one of its own."""
        return {peer.ae_title: peer.lane for peer in self.peers if peer.lane is not None} | dict(self.lanes)


class DiskSettings(Section):
    """The gateway's disk, beside `dicom.disk_floor_bytes` below which nothing is accepted.

    Below `low_bytes` of free disk, `status` and the console warn, and confirmed studies go before their `keep_days` are
    over, oldest first. What was set aside in quarantine goes after `quarantine_days`, the oldest before if all of it is
    more than `quarantine_bytes_max`. The journal forgets what is settled after `journal_days`.
    Reports that came home and went everywhere go after `document_days`; the hub keeps them.
    """

    low_bytes: int = Field(default=5 * GIB, ge=0)
    quarantine_days: float = Field(default=180.0, ge=1, le=3650)
    quarantine_bytes_max: int = Field(default=10 * GIB, ge=1024)
    journal_days: float = Field(default=400.0, ge=30, le=3650)
    document_days: float = Field(default=1095.0, ge=30, le=36_500)


class HubSettings(Section):
    """Where the hub is and how patiently it is asked."""

    url: Annotated[str, AfterValidator(_parse_hub_url)]
    ca_file: Path | None = None  # certificates to trust instead of the system's
    connect_timeout_s: Seconds = 10.0
    read_timeout_s: Seconds = 60.0  # silence between two bytes, never the whole exchange
    long_poll_s: int = Field(default=25, ge=0, le=LONG_POLL_S_MAX)
    retry_delay_max_s: Seconds = 60.0
    custody_report_s: Seconds = 3.0


class HoursSettings(Section):
    """One line of the plan of the line: what uploads may use from `begins` to `ends`, local time.

    `mbit_s` is 10^6 bit per second of all uploads together; `share` of the fastest that the line was
    measured. `lanes` may begin an upload at all in these hours; for `exempt` ones the limit does not count.
    """

    begins: time = Field(alias="from")
    ends: time = Field(alias="until")
    days: tuple[Weekday, ...] = tuple(Weekday)
    mbit_s: MbitPerSecond | None = None
    share: float | None = Field(default=None, gt=0, le=1)
    lanes: tuple[Lane, ...] = tuple(Lane)
    exempt: tuple[Lane, ...] = (Lane.STAT,)

    def hours(self) -> Hours:
        """Return them as the plan knows them."""
        return Hours(
            begins=self.begins,
            ends=self.ends,
            weekdays=frozenset(list(Weekday).index(day) for day in self.days),
            bytes_per_s=None if self.mbit_s is None else self.mbit_s * BYTES_PER_MBIT,
            share=self.share,
            lanes=frozenset(self.lanes),
            exempt=frozenset(self.exempt),
        )


class LineSettings(Section):
    """How much of the clinic's line this gateway may use. Without a plan: all of it.

    `hours` is the plan by hour of day, the first that holds counts; `mbit_s` counts at every other time, but not for
    the lanes of `exempt`. `time_zone` is an IANA name; None is the machine's own.
    """

    mbit_s: MbitPerSecond | None = None
    exempt: tuple[Lane, ...] = (Lane.STAT,)
    time_zone: Annotated[str, AfterValidator(_parse_zone)] | None = None
    hours: tuple[HoursSettings, ...] = ()

    def plan(self) -> LinePlan:
        """Return it as a plan."""
        limit = None if self.mbit_s is None else self.mbit_s * BYTES_PER_MBIT
        return LinePlan(
            hours=tuple(hours.hours() for hours in self.hours),
            otherwise=Limits(limit, frozenset(self.exempt)),
            zone=ZoneInfo(self.time_zone) if self.time_zone else None,
        )


class ConsoleSettings(Section):
    """The clinic's own page. Port 0 takes any free port; `port_file` then tells which.

    `public_url`: how browsers reach it, where that differs from host and port. With `certificate_file` and `key_file`
    it speaks TLS. The hub's accounts are good for `accounts_offline_days` after the hub has last confirmed them. What
    lies below `import_dirs` can be imported; an uploaded ZIP file has at most `import_bytes_max`.
    """

    enabled: bool = True
    host: str = "0.0.0.0"  # noqa: S104 -- the technician's browser calls from the clinic's network
    port: int = Field(default=8480, ge=0, le=65535)
    port_file: Path | None = None
    public_url: Annotated[str, AfterValidator(_parse_hub_url)] | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    assets_dir: Path = Path(__file__).parents[1] / "build" / "web"  # the page script, as built
    time_zone: Annotated[str, AfterValidator(_parse_zone)] = "Asia/Shanghai"
    session_hours: float = Field(default=24.0, gt=0, le=24 * 7)
    idle_hours: float = Field(default=8.0, gt=0, le=24 * 7)
    failed_logins_max: int = Field(default=8, ge=1, le=100)
    login_lock_s: int = Field(default=300, ge=1, le=86_400)
    accounts_offline_days: float = Field(default=30.0, gt=0, le=365)
    import_dirs: tuple[Path, ...] = (Path("/media"), Path("/run/media"), Path("/mnt"))
    import_bytes_max: int = Field(default=32 * GIB, ge=1024)

    @model_validator(mode="after")
    def _is_whole(self) -> ConsoleSettings:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self

    @property
    def speaks_tls(self) -> bool:
        """Return whether the console itself encrypts."""
        return self.certificate_file is not None


class ReaderSettings(Section):
    """Where the workstations of an assisting hospital send their reports (HL7 ORU^R01 over MLLP), in reader mode.

    `addresses` may connect, all when empty; `character_set` counts where a message names none in MSH-18. Copies of a
    claimed case stay here for `keep_days` after its claim has ended, fewer when the disk needs the room. `tls` takes
    reports over TLS alone, with the certificate, CA and demands of [dicom.tls].
    """

    host: str = "0.0.0.0"  # noqa: S104 -- workstations call from the hospital's network
    port: int = Field(default=2575, ge=0, le=65535)
    addresses: tuple[IPvAnyAddress, ...] = ()
    character_set: Literal["UNICODE UTF-8", "GB 18030-2000"] = "UNICODE UTF-8"
    keep_days: float = Field(default=0.0, ge=0, le=90)
    tls: bool = False


class PriorSettings(Section):
    """Earlier studies that the hub asks for, fetched from the site's PACS: `source` is its name in [[dicom.peers]].

    At most `studies_max` for one case, none older than `years_max`, and no further one within an hour in which
    `bytes_per_hour_max` came. A PACS that is down is tried for `give_up_days`.
    """

    source: Name | None = None
    method: Literal["move"] = "move"
    studies_max: int = Field(default=5, ge=1, le=100)
    years_max: float = Field(default=5.0, gt=0, le=100)
    bytes_per_hour_max: int = Field(default=4 * GIB, ge=1024**2)
    give_up_days: float = Field(default=14.0, gt=0, le=365)


class MetricsSettings(Section):
    """Where a monitoring system is answered, at /metrics; nowhere when empty."""

    address: Annotated[str, AfterValidator(check_address)] = ""


class GatewaySettings(Configuration):
    """Everything a gateway needs to know; frozen."""

    program = "gateway"

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    mode: Literal["site", "reader"] = "site"
    spool_dir: Path
    hub: HubSettings
    dicom: DicomSettings
    disk: DiskSettings = DiskSettings()
    line: LineSettings = LineSettings()
    targets: tuple[Target, ...] = ()
    console: ConsoleSettings = ConsoleSettings()
    reader: ReaderSettings = ReaderSettings()
    hl7: Hl7Settings = Hl7Settings()
    priors: PriorSettings = PriorSettings()
    metrics: MetricsSettings = MetricsSettings()
    quiet_period_s: float = Field(default=30.0, gt=0, le=86_400)
    open_step_max_s: float = Field(default=1800.0, gt=0, le=86_400)  # an MPPS that the scanner never ends
    missing_instances_max_s: float = Field(default=300.0, gt=0, le=86_400)
    keep_days: float = Field(default=7.0, ge=0, le=3650)
    line_seconds_per_pack: float = Field(default=5.0, gt=0, le=60)
    upload_streams: int = Field(default=6, ge=1, le=16)  # at most; how many there are is found by trying
    port_file: Path | None = None

    @field_validator("dicom")
    @classmethod
    def _somebody_may_send(cls, dicom: DicomSettings, known: ValidationInfo) -> DicomSettings:
        if known.data.get("mode") == "site" and not dicom.to_peers():
            raise ValueError("nobody could send: name scanners in peers or in allowed_calling_ae_titles")
        return dicom

    @model_validator(mode="after")
    def _targets_have_different_names(self) -> GatewaySettings:
        names = [target.name for target in self.targets]
        if len(set(names)) != len(names):
            raise ValueError("two [[targets]] have the same name")
        if self.dicom.tls is None and any(isinstance(one, PacsTarget) and one.tls for one in self.targets):
            raise ValueError("a target uses TLS: [dicom.tls] must name this gateway's certificate and key")
        if self.dicom.tls is None and self.reader.tls:
            raise ValueError("reader uses TLS: [dicom.tls] must name this gateway's certificate and key")
        if self.dicom.tls is None and self.hl7.tls:
            raise ValueError("hl7 uses TLS: [dicom.tls] must name this gateway's certificate and key")
        return self

    @model_validator(mode="after")
    def _priors_come_from_a_peer_that_can_be_called(self) -> GatewaySettings:
        name = self.priors.source
        if name is None:
            return self
        peer = next((peer for peer in self.dicom.peers if peer.name == name), None)
        if peer is None or peer.host is None:
            raise ValueError(f"priors: source {name} must be one of [[dicom.peers]], with host and port")
        return self

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Return every device that may call; in reader mode none may bring anything: it would lie here for ever."""
        peers = self.dicom.to_peers()
        if self.mode == "site":
            return peers
        return tuple(replace(peer, may=peer.may & READERS, withheld=EVERYTHING - READERS) for peer in peers)

    @property
    def answers_for_claimed_cases(self) -> bool:
        """Return whether this gateway is in reader mode and some workstation may ask for claimed cases here."""
        return self.mode == "reader" and any(peer.may & READERS for peer in self.peers)

    @property
    def prior_source(self) -> Peer | None:
        """Return the PACS that earlier studies are fetched from."""
        return next((peer for peer in self.dicom.to_peers() if peer.name == self.priors.source), None)

    @property
    def delivery_targets(self) -> tuple[Target, ...]:
        """Return where reports go: a clinic that names no target reads them on the console."""
        return self.targets or (CONSOLE,)


def load_settings(path: Path | None) -> GatewaySettings:
    """Return the settings of the TOML file at `path` (None: environment alone) under the environment.

    Raises:
        ConfigurationError: with one sentence for each thing that is wrong.
    """
    return GatewaySettings.load(path)
