from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import load_settings
from storage.configuration import ConfigurationError

MINIMAL = """
spool_dir = "/var/spool/x"
[hub]
url = "https://hub.example.org/"
[dicom]
allowed_calling_ae_titles = ["CT1"]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_minimal_file_is_enough(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, MINIMAL))
    assert settings.hub.url == "https://hub.example.org"
    assert settings.quiet_period_s == 30


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPART_GATEWAY_DICOM__PORT", "0")
    monkeypatch.setenv("COUNTERPART_GATEWAY_QUIET_PERIOD_S", "1")
    settings = load_settings(write(tmp_path, MINIMAL))
    assert (settings.dicom.port, settings.quiet_period_s) == (0, 1)
    assert settings.dicom.allowed_calling_ae_titles == ("CT1",)


def test_all_errors_are_reported_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERPART_GATEWAY_QUIET", "1")
    text = MINIMAL.replace("https://hub.example.org/", "ftp://hub") + 'port = 70000\ncolour = "red"\n'
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, "keep_day = 3\nquiet_period_s = -1\n" + text))
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == [
        "COUNTERPART_GATEWAY_QUIET",
        "dicom.colour",
        "dicom.port",
        "hub.url",
        "keep_day",
        "quiet_period_s",
    ]


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, 'spool_dir = "/x"\n[hub]\n[dicom]\n'))
    assert caught.value.problems[0] == "hub.url: is missing"
    assert "nobody could send" in caught.value.problems[1]


@pytest.mark.parametrize("text", ["spool_dir = ", "\x00"])
def test_broken_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_settings(write(tmp_path, text))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize("title", ["", "SEVENTEEN-LETTERS", "A\\B"])
def test_illegal_ae_titles_are_refused(tmp_path: Path, title: str) -> None:
    text = MINIMAL.replace('"CT1"', repr(title))
    with pytest.raises(ConfigurationError, match="AE title"):
        load_settings(write(tmp_path, text))


def test_targets_need_different_names(tmp_path: Path) -> None:
    target = '[[targets]]\nname = "main"\nhost = "pacs"\nport = 104\nae_title = "PACS"\n'
    with pytest.raises(ConfigurationError, match="same name"):
        load_settings(write(tmp_path, MINIMAL + target + target))


PEER = '[[dicom.peers]]\nname = "ws"\nae_title = "WS"\n'


@pytest.mark.parametrize(
    ("peers", "problem"),
    [
        (PEER + PEER, "named twice"),
        (PEER.replace('"WS"', '"CT1"'), "named twice"),
        (PEER + PEER.replace('"WS"', '"WS2"'), "same name"),
        (PEER + 'host = "h"\n', "both host and port"),
        (PEER + "tls_required = true\n", r"\[dicom.tls\] must name"),
        (PEER + 'may = ["print"]\n', "may"),
        (PEER + 'addresses = ["192.168.1.300"]\n', "addresses"),
        (PEER + 'character_set = "BIG5"\n', "character_set"),
    ],
)
def test_peers_that_contradict_each_other_are_refused_in_words(tmp_path: Path, peers: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_settings(write(tmp_path, MINIMAL + peers))


def test_short_form_and_peers_together_are_everybody_who_may_call(tmp_path: Path) -> None:
    text = MINIMAL + 'lanes = { CT1 = "urgent" }\n' + PEER + 'lane = "stat"\nhost = "10.0.0.5"\nport = 104\n'
    dicom = load_settings(write(tmp_path, text)).dicom
    assert {peer.ae_title for peer in dicom.to_peers()} == {"CT1", "WS"}
    assert dicom.to_lanes() == {"CT1": "urgent", "WS": "stat"}
    (called_back,) = [peer.call_back for peer in dicom.to_peers() if peer.call_back is not None]
    assert (called_back.host, called_back.port) == ("10.0.0.5", 104)


def test_example_file_is_valid() -> None:
    example = Path(__file__).parents[3] / "deploy" / "gateway" / "gateway.example.toml"
    assert load_settings(example).targets[0].target == "pacs:main"
