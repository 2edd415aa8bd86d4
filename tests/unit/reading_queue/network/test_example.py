"""The page that explains the network's file has every key and column, and can be imported as it is."""

from __future__ import annotations

import re
from pathlib import Path

from reading_queue.services.network.network_csv import FILES
from reading_queue.services.network.network_document import PARTS, parse_network
from reading_queue.services.network.network_yaml import read_yaml

EXAMPLE = Path(__file__).parents[4] / "deploy" / "hub" / "network.example.yaml"


def test_example_can_be_imported_and_has_every_section_and_key():
    document, _ = read_yaml(EXAMPLE.name, EXAMPLE.read_bytes())
    network = parse_network(document)
    assert set(document) == set(PARTS)
    said = {key for section in document.values() for part in section for key in part}
    known = {key for part in PARTS.values() for key in part.model_fields}
    assert said == known
    assert len(network.physicians) == 2


def test_example_names_every_column():
    text = EXAMPLE.read_text(encoding="utf-8").partition("The same as tables")[2]
    for file, columns in FILES.items():
        words = text.partition(f"{file} ")[2].partition(".csv ")[0]
        assert set(columns) <= set(re.findall(r"[a-z_]+", words)), file
