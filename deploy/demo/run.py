"""The demonstration: a county's network on one machine, doing its main job with real studies.

Starts the hub and two gateways as separate processes on the embedded default, loads the example county, sends studies
by DICOM, lets demo physicians read through the public API, and receives the signed reports in the clinics' PACS.

State lives under `--data`: what the last run left unfinished is continued; when everything is home, the next batch of
studies is sent.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import yaml
from hub_api import HubApi, Refused, Unreachable
from journey import Journey, Screen, offer_delays_s, percentile, write_timeline
from processes import TOOLS, Failed, Program, free_port, free_ports, proportional_set_size_mb, run, wait_until
from studies import FIRST_SITE, SECOND_SITE, DemoStudy, prepare_batch

HERE = Path(__file__).parent
NETWORK = HERE / "network.yaml"
SITES = (FIRST_SITE, SECOND_SITE)
QUIET_PERIOD_S = 1
LEFT_FOR_A_PERSON = 3
STALLED_S = 120  # without any new hop, ONCE=1 gives up and names what is stuck
REFRESH_S = 0.5
HUB_PORT = 8080


@dataclass(slots=True)
class Batch:
    """What the state file remembers between runs."""

    number: int
    studies: list[DemoStudy]
    left: list[str] = field(default_factory=list)
    closed_at: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Batch | None:
        """Return the last run's batch, None on a fresh state."""
        if not path.exists():
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
        studies = [DemoStudy.from_json(study) for study in values["studies"]]
        return cls(values["number"], studies, values["left"], values["closed_at"])

    def save(self, path: Path) -> None:
        """Write the state file whole or not at all."""
        values = {"number": self.number, "left": self.left, "closed_at": self.closed_at}
        fresh = path.with_suffix(".fresh")
        fresh.write_text(json.dumps({**values, "studies": [study.as_json() for study in self.studies]}, indent=1))
        fresh.rename(path)


class Demo:
    """Starts, watches and stops everything."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.data: Path = options.data.absolute()
        self.screen = Screen()
        self.stopping = threading.Event()
        self.programs: list[Program] = []
        self.county = yaml.safe_load(NETWORK.read_text(encoding="utf-8"))
        self.hub_url = f"http://127.0.0.1:{free_port(options.port)}"
        ports = free_ports(2 * len(SITES))
        self.pacs_ports = dict(zip(SITES, ports[: len(SITES)], strict=True))
        # A scanner knows one address, also after the gateway's restart.
        self.dicom_ports = dict(zip(SITES, ports[len(SITES) :], strict=True))
        self.state_file = self.data / "demo.json"

    # ---- starting ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the hub, load the county, enrol and start the gateways and the clinics' PACS."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.screen.say(f"State in {self.data}; logs in {self.data / 'log'}")
        hub_config = self._write_hub_config()
        hub = [str(TOOLS / "counterpart-hub"), "--config", str(hub_config)]
        ready = self.data / "hub" / "run" / "ready"
        ready.unlink(missing_ok=True)
        server = self._program("hub", [*hub, "serve"])
        server.start()
        wait_until(ready.exists, "The hub was not ready", 120, server.log)
        run(*hub, "network", "load", str(NETWORK))
        pacs = [sys.executable, str(HERE / "pacs.py"), str(self.data / "pacs")]
        self._program("pacs", [*pacs, *(f"{site}={port}" for site, port in self.pacs_ports.items())]).start()
        self._start_gateways(hub)
        self.screen.say(f"The hub answers at {self.hub_url}; two gateways are connected, 21 centres not yet seen")

    def _program(self, name: str, command: list[str], standard_input: str = "") -> Program:
        program = Program(name, command, self.data / "log" / f"{name}.log", standard_input)
        self.programs.append(program)
        return program

    def _write_hub_config(self) -> Path:
        path = self.data / "hub.toml"
        path.write_text(
            f'data_dir = "{self.data / "hub"}"\npublic_url = "{self.hub_url}"\n\n'
            f'[web]\nhost = "127.0.0.1"\nport = {self.hub_url.rsplit(":", 1)[1]}\n\n'
            '[network]\nname = "清河县远程影像诊断网络"\naudience = "qinghe"\n',
            encoding="utf-8",
        )
        return path

    def _start_gateways(self, hub: list[str]) -> None:
        enrolments = [threading.Thread(target=self._enrol, args=(hub, site)) for site in SITES]
        for thread in enrolments:
            thread.start()
        for thread in enrolments:
            thread.join()
        for site in SITES:  # from this thread: what dies with us dies with the thread that started it
            (self._folder(site) / "listening").unlink(missing_ok=True)
            config = self._folder(site) / "gateway.toml"
            gateway = [str(TOOLS / "counterpart-gateway"), "--config", str(config), "serve"]
            self._program(f"gateway-{site}", gateway).start()
        for site in SITES:
            wait_until(
                (self._folder(site) / "listening").exists, f"{site}'s gateway did not listen", 60, self._log(site)
            )

    def _folder(self, site: str) -> Path:
        return self.data / "gateways" / site

    def _enrol(self, hub: list[str], site: str) -> None:
        folder = self._folder(site)
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "gateway.toml"
        config.write_text(
            f'spool_dir = "{folder / "spool"}"\nport_file = "{folder / "listening"}"\n'
            f"quiet_period_s = {QUIET_PERIOD_S}\n\n"
            f'[hub]\nurl = "{self.hub_url}"\nretry_delay_max_s = 5\ncustody_report_s = 1\n\n'
            '[dicom]\nae_title = "COUNTERPART"\nhost = "127.0.0.1"\n'
            f"port = {self.dicom_ports[site]}\n"
            'allowed_calling_ae_titles = ["DEMO_SCANNER"]\n\n'
            f'[console]\nhost = "127.0.0.1"\nport = 0\nport_file = "{folder / "console"}"\n\n'
            f'[[targets]]\nname = "clinic"\nhost = "127.0.0.1"\nport = {self.pacs_ports[site]}\n'
            'ae_title = "CLINIC_PACS"\n',
            encoding="utf-8",
        )
        if not (folder / "enrolled").exists():
            code = run(*hub, "site", "enrol", site).strip().splitlines()[-1]
            run(str(TOOLS / "counterpart-gateway"), "--config", str(config), "enrol", "--code", code)
            (folder / "enrolled").touch()

    def _log(self, site: str) -> Path:
        return self.data / "log" / f"gateway-{site}.log"

    # ---- the job -------------------------------------------------------------------------------------------------

    def choose_batch(self, hub: HubApi) -> Batch:
        """Return the unfinished batch of the last run, or the next one."""
        last = Batch.load(self.state_file)
        if last is not None and not all(
            self._is_home(hub, study) for study in last.studies if self._awaited(last, study)
        ):
            self.screen.say(f"Continuing batch {last.number}")
            return last
        number = last.number + 1 if last is not None else 1
        batch = Batch(number, prepare_batch(self.data / "batches" / str(number), number))
        if not self.options.once:
            last_of_site = {study.site: study.study_uid for study in batch.studies}
            others = [study.study_uid for study in reversed(batch.studies)]
            batch.left = list(dict.fromkeys([batch.studies[0].study_uid, *last_of_site.values(), *others]))
            batch.left = batch.left[:LEFT_FOR_A_PERSON]
        batch.save(self.state_file)
        return batch

    def _awaited(self, batch: Batch, study: DemoStudy) -> bool:
        return self.options.once or study.study_uid not in batch.left

    @staticmethod
    def _is_home(hub: HubApi, study: DemoStudy) -> bool:
        journey = Journey(study)
        journey.update(hub)
        return journey.is_home

    def send(self, batch: Batch, journeys: list[Journey]) -> list[threading.Thread]:
        """Send what is not home yet, both sites at once, each from a scanner of its own."""
        threads = []
        for site in SITES:
            waiting = [journey for journey in journeys if journey.study.site == site and not journey.is_home]
            thread = threading.Thread(target=self._scan, args=(site, waiting, batch), daemon=True)
            thread.start()
            threads.append(thread)
        return threads

    def _scan(self, site: str, waiting: list[Journey], batch: Batch) -> None:
        by_uid = {journey.study.study_uid: journey for journey in waiting}
        while by_uid and not self.stopping.is_set():
            command = [sys.executable, str(HERE / "scanner.py"), "--port", str(self.dicom_ports[site])]
            scanner = subprocess.Popen(
                [*command, "--called", "COUNTERPART", "--calling", "DEMO_SCANNER"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            )  # fmt: skip
            assert scanner.stdin is not None
            assert scanner.stdout is not None
            scanner.stdin.write("".join(json.dumps(journey.study.as_json()) + "\n" for journey in by_uid.values()))
            scanner.stdin.close()
            for line in scanner.stdout:
                answer = json.loads(line)
                if answer["accepted"] == answer["sent"]:
                    by_uid.pop(answer["study_uid"]).closed_at = datetime.fromisoformat(answer["closed_at"])
                    batch.closed_at[answer["study_uid"]] = answer["closed_at"]
            scanner.wait()

    def work(self) -> list[Journey]:
        """Send, read and bring home; return the journeys when nothing is awaited any more or time is up."""
        hub = HubApi(self.hub_url, *self._login("coordinators"))
        batch = self.choose_batch(hub)
        journeys = [Journey(study) for study in batch.studies]
        for journey in journeys:
            journey.update(hub)
            if journey.study.study_uid in batch.closed_at:
                journey.closed_at = datetime.fromisoformat(batch.closed_at[journey.study.study_uid])
        left = [] if self.options.once else batch.left
        logins = [physician["login"] for physician in self.county["physicians"]]
        at_work, password = self.data / "at_work", self._login("physicians")[1]
        at_work.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / "physicians.py"), self.hub_url, password, str(at_work), *logins]
        physicians = self._program("physicians", command, "".join(f"{uid}\n" for uid in left))
        physicians.start()
        wait_until(at_work.exists, "The physicians were not at work", 120, physicians.log)
        self.send(batch, journeys)
        self._watch(hub, journeys, lambda journey: self._awaited(batch, journey.study))
        batch.save(self.state_file)
        return journeys

    def _watch(self, hub: HubApi, journeys: list[Journey], awaited: Callable[[Journey], bool]) -> None:
        last_news_at = time.monotonic()
        while not self.stopping.is_set():
            for program in self.programs:
                program.keep_alive()
            news = [(journey, hop) for journey in journeys if not journey.is_home for hop in journey.update(hub)]
            if news:
                last_news_at = time.monotonic()
            self.screen.show(journeys, news, time.time() - self.options.started)
            waiting = [journey for journey in journeys if awaited(journey) and not journey.is_home]
            stalled = self.options.once and time.monotonic() - last_news_at > STALLED_S
            if not waiting or stalled:
                return
            self.stopping.wait(REFRESH_S)

    def _login(self, kind: str) -> tuple[str, str]:
        person = self.county[kind][0]
        return person["login"], person["password"]

    # ---- the end -------------------------------------------------------------------------------------------------

    def report(self, journeys: list[Journey], at_rest_mb: dict[str, float]) -> None:
        """Print the timeline and the figures beside what is asked of them."""
        self.screen.close()
        self.screen.timeline(journeys)
        home = sum(journey.is_home for journey in journeys)
        self.screen.say(f"\n{home} of {len(journeys)} reports are home, in {self.data / 'pacs'}")
        elapsed_s = time.time() - self.options.started
        self.screen.say(f"From the start to all awaited reports home   {elapsed_s:7.1f} s    (asked: under 60 s)")
        delays = offer_delays_s(journeys)
        if delays:
            self.screen.say(
                f"Last association's end to the offer, p95     {percentile(delays, 0.95):7.2f} s    (asked: under 3 s;"
                f" median {percentile(delays, 0.5):.2f} s)"
            )
        for site, size_mb in at_rest_mb.items():
            self.screen.say(f"Gateway {site} at rest, PSS           {size_mb:7.1f} MB   (asked: under 150 MB)")
        prepared = Path("build/prepared_s")
        if prepared.exists():
            seconds = prepared.read_text().strip()
            self.screen.say(f"First preparation of this checkout           {seconds:>7} s    (asked: under 300 s)")

    def memory_at_rest(self) -> dict[str, float]:
        """Return each gateway's proportional set size in MB before any work."""
        return {
            program.name.removeprefix("gateway-"): proportional_set_size_mb(program.pid)
            for program in self.programs
            if program.name.startswith("gateway-")
        }

    def invite(self) -> None:
        """Print addresses and logins, and who has cases waiting."""
        password = self._login("physicians")[1]
        self.screen.say(f"\nOpen {self.hub_url}/ and log in; the password is {password} for everybody.")
        for kind, what in (("technicians", "clinic desk"), ("coordinators", "coordinator's desk")):
            for person in self.county[kind][:2]:
                self.screen.say(f"  {person['login']:18} {person['name']}  {what}, {person['organisation']}")
        for person in self.county["physicians"]:
            try:
                offers = HubApi(self.hub_url, person["login"], password).call("GET", "/offers")["offers"]
            except (Refused, Unreachable):
                offers = []
            waiting = f"{len(offers)} waiting to be read" if offers else "nothing waiting"
            self.screen.say(
                f"  {person['login']:18} {person['name']}  reading desk, {person['organisation']}, {waiting}"
            )
        for site in SITES:
            people = [person for person in self.county["technicians"] if person["organisation"] == site]
            who = ", ".join(f"{person['login']} {person['name']}" for person in people)
            port = (self._folder(site) / "console").read_text(encoding="ascii").strip()
            self.screen.say(f"The clinic's own console of {site}: http://127.0.0.1:{port}/  ({who})")
        for site in SITES:
            address = f"127.0.0.1 {self.dicom_ports[site]}"
            self.screen.say(f"Send more to {site}: storescu -aet DEMO_SCANNER -aec COUNTERPART {address} FILE")
        self.screen.say("Ctrl-C stops everything.")

    def stay(self) -> None:
        """Keep everything running until told to stop."""
        while not self.stopping.wait(1):
            for program in self.programs:
                program.keep_alive()

    def stop(self) -> None:
        """Stop everything, the hub last."""
        self.stopping.set()
        self.screen.close()
        for program in reversed(self.programs):
            program.stop()


def main() -> int:
    """Run; return 0 only if every awaited report came home."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".demo"))
    parser.add_argument("--once", action="store_true", help="leave nothing unread and end by itself")
    parser.add_argument("--json", type=Path, help="also write the timeline here, for machines")
    parser.add_argument("--port", type=int, default=HUB_PORT, help="where the hub listens if it is free (0: anywhere)")
    parser.add_argument("--started", type=float, default=time.time(), help=argparse.SUPPRESS)
    demo = Demo(parser.parse_args())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: demo.stopping.set())
    try:
        demo.start()
        at_rest_mb = demo.memory_at_rest()
        journeys = demo.work()
        if demo.options.json:
            write_timeline(journeys, demo.options.json)
        demo.report(journeys, at_rest_mb)
        if not demo.options.once and not demo.stopping.is_set():
            demo.invite()
            demo.stay()
        return conclude(demo, journeys)
    except Failed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    finally:
        demo.stop()


def conclude(demo: Demo, journeys: list[Journey]) -> int:
    """Name every study that is not home, and the hop it reached; only ONCE=1 calls that a failure."""
    if not demo.options.once:
        return 0
    stuck = [journey for journey in journeys if not journey.is_home]
    for journey in stuck:
        print(
            f"Not home: {journey.study.study_uid} ({journey.study.what}) stopped after: {journey.last_hop}",
            file=sys.stderr,
        )
    return 1 if stuck else 0


if __name__ == "__main__":
    sys.exit(main())
