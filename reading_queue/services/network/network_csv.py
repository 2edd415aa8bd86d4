"""A network as a set of CSV files for spreadsheets: read with the row and column of everything, and written. Pure.

Written in UTF-8 with a byte order mark, which Excel needs, and CR LF. Read in UTF-8 with or without the mark, in
GB18030, which Excel writes on a Chinese Windows, or in UTF-16 ("Unicode text"); between commas, tabs or semicolons;
lines end in any way; columns come in any order, named in English or Chinese; levels, titles and roles may be Chinese
words. A list in a cell is separated by semicolons. A cell that a spreadsheet would take for a formula is written with
an apostrophe before it, which is taken off again. A day may be written 2026/1/5, as Excel does.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reading_queue.domain.network_faults import Fault, Path, Place
from reading_queue.domain.network_words import FIELDS_ZH, syntax
from reading_queue.domain.roles import Title
from reading_queue.services.network.network_parts import WEEKDAYS
from reading_queue.services.network.network_yaml import decode
from storage.contract.lanes import Lane

PEOPLE: Final[Mapping[str, str]] = {
    "technician": "technicians",
    "coordinator": "coordinators",
    "administrator": "administrators",
}
LIMITS: Final[Mapping[str, str]] = {f"{lane.value}_min": lane.value for lane in Lane}
LINES_MAX: Final = 100_000  # of one file
NEVER, ALWAYS, OFF = "never", "always", "off"
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r]")
_QUOTED_FORMULA: Final = re.compile(r"'+[=+\-@\t\r]")
_SPREADSHEET_DAY: Final = re.compile(r"(\d{4})[/.](\d{1,2})[/.](\d{1,2})")
_YES: Final = frozenset({"yes", "true", "1", "是"})
_NO: Final = frozenset({"no", "false", "0", "否"})

_ROUNDED: Final = re.compile(r"\d(?:\.\d+)?[Ee]\+\d+")  # what a spreadsheet makes of a long number
_CODES: Final[Mapping[str, str]] = {
    **{title.zh: title.value for title in Title},
    "乡镇": "township",
    "县": "county",
    "市": "municipal",
    "省": "provincial",
    "技师": "technician",
    "协调员": "coordinator",
    "管理员": "administrator",
    **{f"{week}{day}": name for week in ("周", "星期") for day, name in zip("一二三四五六日", WEEKDAYS, strict=True)},
}

ParseCell = Callable[[str], Any]
WriteCell = Callable[[Any], str]


def _parse_list(cell: str) -> list[str]:
    return [item.strip() for item in re.split("[;；]", cell) if item.strip()]


def _parse_number(cell: str) -> int | str:
    return int(cell) if re.fullmatch(r"-?\d{1,12}", cell) else cell


def _parse_day(cell: str) -> str:
    found = _SPREADSHEET_DAY.fullmatch(cell)
    return f"{found[1]}-{found[2]:0>2}-{found[3]:0>2}" if found else _parse_code(cell)


def _parse_yes(cell: str) -> bool | str:
    return True if cell.lower() in _YES else False if cell.lower() in _NO else cell


def _parse_counts(cell: str) -> dict[str, Any] | str:
    pairs = [item.partition("=") for item in _parse_list(cell)]
    if not all(equals for _, equals, _ in pairs):
        return cell
    return {name.strip(): _parse_number(count.strip()) for name, _, count in pairs}


def _write_counts(value: Mapping[str, int]) -> str:
    return ";".join(f"{name}={count}" for name, count in sorted(value.items()))


def _parse_code(cell: str) -> str:
    return _CODES.get(cell, cell)


TEXT: Final = (str, str)
CODE: Final = (_parse_code, str)
LIST: Final = (_parse_list, ";".join)
NUMBER: Final = (_parse_number, str)
DAY: Final = (_parse_day, str)
YES: Final = (_parse_yes, lambda value: "yes" if value else "no")
COUNTS: Final = (_parse_counts, _write_counts)

# The columns of each file in their order: how a cell is read, how it is written.
FILES: Final[Mapping[str, Mapping[str, tuple[ParseCell, WriteCell]]]] = {
    "organisations.csv": {
        "id": TEXT,
        "kind": CODE,
        "name": TEXT,
        "name_en": TEXT,
        "parent": TEXT,
        "site": TEXT,
        "time_zone": TEXT,
    },
    "agreements.csv": {
        "id": TEXT,
        "requesting": LIST,
        "assisting": TEXT,
        "stage": NUMBER,
        "modalities": LIST,
        "body_regions": LIST,
        "services": LIST,
        **dict.fromkeys(LIMITS, NUMBER),
        "cases_per_day_max": COUNTS,
        "single_physician": YES,
        "valid_from": DAY,
        "valid_until": DAY,
    },
    "physicians.csv": {
        "login": TEXT,
        "name": TEXT,
        "organisation": TEXT,
        "also_at": LIST,
        "title": CODE,
        "licence_number": TEXT,
        "licence_valid_until": DAY,
        "modalities": LIST,
        "specialties": LIST,
        "wip_max": NUMBER,
        "weekly_rvu_max": NUMBER,
        "language": TEXT,
        "disabled": YES,
        "last_day": DAY,
        "password": TEXT,
    },
    "people.csv": {
        "login": TEXT,
        "name": TEXT,
        "role": CODE,
        "organisation": TEXT,
        "language": TEXT,
        "disabled": YES,
        "last_day": DAY,
        "password": TEXT,
    },
    "duty.csv": {"login": TEXT, "day": DAY, "shift": TEXT, "starts_at": TEXT, "ends_at": TEXT},
    "duty_directors.csv": {
        "organisation": TEXT,
        "login": TEXT,
        "day": DAY,
        "shift": TEXT,
        "starts_at": TEXT,
        "ends_at": TEXT,
    },
}
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "organisations.csv": ("id", "kind", "name"),
    "agreements.csv": ("id", "requesting", "assisting", "stage", "valid_from", "valid_until"),
    "physicians.csv": ("login", "name", "organisation", "title", "licence_number", "licence_valid_until"),
    "people.csv": ("login", "name", "role", "organisation"),
    "duty.csv": ("login",),
    "duty_directors.csv": ("organisation", "login"),
}
WHOSE_DUTY: Final = ("organisation", "login")
NOT_WRITTEN: Final = frozenset({"password"})
HEADERS_ZH: Final[Mapping[str, str]] = {
    **FIELDS_ZH,
    "id": "编码",
    "login": "登录名",
    "password": "初始密码",
    "stat_min": "急危时限（分钟）",
    "urgent_min": "加急时限（分钟）",
    "routine_min": "常规时限（分钟）",
    "background_min": "后台时限（分钟）",
    "day": "日期",
    "shift": "班次",
    "starts_at": "开始时间",
    "ends_at": "结束时间",
}
_COLUMN_OF: Final = {words: name for name, words in HEADERS_ZH.items()}


@dataclass(slots=True)
class _Set:
    """A document in the making, with the places of its fields and what is wrong with the files as such."""

    document: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, code: str, place: Place, **params: Any) -> None:
        """Note what is wrong at a place."""
        path: Path = (place.file, place.line, place.column or "")
        self.places[path] = place
        self.faults.append(Fault(code, path, params))


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its cells that are not empty, as values, and its line."""

    file: str
    line: int
    values: Mapping[str, Any]
    headers: Mapping[str, str]  # by column, as they stand in the file

    def place(self, column: str | None = None) -> Place:
        return Place(self.file, self.line, self.headers.get(column, column) if column is not None else None)


def read_csv_set(files: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[Path, Place], list[Fault]]:
    """Return the document, where everything in it stands, and what is wrong with the files as such."""
    found = _Set()
    for file in sorted(files.keys() - FILES.keys()):
        found.fault("unknown_file", Place(file, 1), expected=", ".join(FILES))
    for file in FILES:
        if file not in files:
            continue
        text = _decode(found, file, files[file])
        rows = list(_rows(found, file, text)) if text is not None else []
        if file == "people.csv":
            _place_people(found, rows)
        elif file == "duty.csv":
            _place_duty(found, "rosters", rows)
        elif file == "duty_directors.csv":
            _place_duty(found, "duty_directors", rows)
        else:
            _place_rows(found, file.removesuffix(".csv"), rows)
    return found.document, found.places, found.faults


def _decode(found: _Set, file: str, data: bytes) -> str | None:
    try:
        return decode(data)
    except UnicodeDecodeError:
        found.fault("not_unicode", Place(file, 1))
        return None


def _rows(found: _Set, file: str, text: str) -> Iterator[_Row]:
    """Yield the rows that say something; a file whose header is wrong has none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    columns: list[str] | None = None
    headers: dict[str, str] = {}
    line = 1
    try:
        for cells in reader:
            begins, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if columns is None:
                columns = [_COLUMN_OF.get(cell.strip(), cell.strip()) for cell in cells]
                headers = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
                if not _header_is_right(found, Place(file, begins), columns, chinese=columns != list(headers.values())):
                    return
            elif begins > LINES_MAX:
                found.fault("too_many_lines", Place(file, begins), limit=LINES_MAX)
                return
            elif any(cell.strip() for cell in cells[len(columns) :]):
                found.fault("too_many_cells", Place(file, begins))
            else:
                row = _Row(file, begins, _values(file, columns, cells), headers)
                if _ROUNDED.fullmatch(str(row.values.get("licence_number", ""))):
                    found.fault("rounded_number", row.place("licence_number"))
                yield row
    except csv.Error as exc:
        found.fault("not_csv", Place(file, line), **syntax(str(exc)))
    if columns is None and line == 1:
        found.fault("empty_file", Place(file, 1))


def _delimiter(text: str) -> str:
    """Return what stands between the cells of the header; lists in cells are separated by semicolons below it."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max((",", "\t", ";"), key=header.count)


def _header_is_right(found: _Set, place: Place, columns: list[str], *, chinese: bool) -> bool:
    known, faults_before = FILES[place.file], len(found.faults)
    named = HEADERS_ZH if chinese else dict(zip(known, known, strict=True))
    for column in dict.fromkeys(columns):
        at = Place(place.file, place.line, column)
        if column and column not in known:
            found.fault("unknown_column", at, column=column, expected=", ".join(named[one] for one in known))
        elif column and columns.count(column) > 1:
            found.fault("column_twice", at, column=column)
    for column in KEYS[place.file]:
        if column not in columns:
            at = Place(place.file, place.line, named[column])
            found.fault("missing_column", at, column=named[column])
    return len(found.faults) == faults_before


def _values(file: str, columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Return the cells that are not empty, as values; an empty cell is not said."""
    said: dict[str, Any] = {}
    for column, cell in zip(columns, cells, strict=False):
        words = cell.strip()
        if column and words:
            parse, _ = FILES[file][column]
            said[column] = parse(words[1:] if _QUOTED_FORMULA.match(words) else words)
    return said


def _place_rows(found: _Set, group: str, rows: list[_Row]) -> None:
    items = found.document.setdefault(group, [])
    for row in rows:
        _note_places(found, (group, len(items)), row)
        items.append(_nested(row.values))


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row as a part of the document: the limits of the lanes are one field."""
    limits = {lane: values[column] for column, lane in LIMITS.items() if column in values}
    own = {column: value for column, value in values.items() if column not in LIMITS}
    return {**own, "time_limits_min": limits} if limits else own


def _note_places(found: _Set, path: Path, row: _Row) -> None:
    found.places[path] = row.place()
    for column in FILES[row.file]:
        found.places[*path, column] = row.place(column)
        if column in LIMITS:
            found.places[*path, "time_limits_min", LIMITS[column]] = row.place(column)


def _place_people(found: _Set, rows: list[_Row]) -> None:
    for group in PEOPLE.values():
        found.document.setdefault(group, [])
    for row in rows:
        group = PEOPLE.get(row.values.get("role", ""), "")
        if not group:
            found.fault("not_one_of", row.place("role"), expected=", ".join(PEOPLE))
            continue
        items = found.document[group]
        _note_places(found, (group, len(items)), row)
        items.append({column: value for column, value in row.values.items() if column != "role"})


def _place_duty(found: _Set, group: str, rows: list[_Row]) -> None:
    """Put the rows of each physician or director together: always, never, single periods, or a weekly roster."""
    by_whom: defaultdict[tuple[tuple[str, str], ...], list[_Row]] = defaultdict(list)
    for row in rows:
        by_whom[tuple((name, str(row.values[name])) for name in WHOSE_DUTY if name in row.values)].append(row)
    rosters = found.document.setdefault(group, [])
    for whom, own in by_whom.items():
        path: Path = (group, len(rosters))
        found.places[path] = own[0].place()
        found.places |= {(*path, name): own[0].place(name) for name in WHOSE_DUTY if name in FILES[own[0].file]}
        duty = _duty(found, (*path, "duty"), own) if "login" in dict(whom) else []
        rosters.append({**dict(whom), "duty": duty})


def _duty(found: _Set, path: Path, rows: list[_Row]) -> Any:
    words = [row.values.get("day", "") for row in rows]
    for alone, duty in ((ALWAYS, "always"), (NEVER, [])):
        if alone in words:
            for row in rows:
                if row.values.keys() - set(WHOSE_DUTY) != {"day"} or row.values["day"] != alone:
                    found.fault("duty_mixed", row.place("day"), alone=alone)
            return duty
    periods: list[dict[str, Any]] = []
    roster: dict[str, Any] = {"weekly": {}, "days_off": [], "extra": {}}
    for row in rows:
        if "day" in row.values:
            _add_to_roster(found, path, roster, row)
            continue
        if "shift" in row.values:
            found.fault("missing", row.place("day"))
            continue
        steps: Path = (*path, len(periods))
        found.places |= {(*steps, name): row.place(name) for name in ("starts_at", "ends_at")} | {steps: row.place()}
        periods.append({name: row.values[name] for name in ("starts_at", "ends_at") if name in row.values})
    if periods and len(periods) < len(rows):
        found.fault("duty_mixed", rows[0].place("day"), alone="starts_at")
    return periods or roster


def _add_to_roster(found: _Set, path: Path, roster: dict[str, Any], row: _Row) -> None:
    day, shift = row.values["day"], row.values.get("shift", "")
    if shift == OFF:
        found.places[*path, "days_off", len(roster["days_off"])] = row.place("day")
        roster["days_off"].append(day)
        return
    if day not in WEEKDAYS and not day[:1].isdigit():
        found.fault("not_a_duty_day", row.place("day"))
        return
    part = "weekly" if day in WEEKDAYS else "extra"
    shifts = roster[part].setdefault(day, [])
    found.places.setdefault((*path, part, day), row.place("day"))
    found.places[*path, part, day, len(shifts)] = row.place("shift")
    shifts.append(shift)


def write_csv_set(document: Mapping[str, Any], language: str = "en") -> dict[str, bytes]:
    """Return the files by name, every one of the set; the headers are in the language."""
    rows: dict[str, list[dict[str, Any]]] = {file: [] for file in FILES}
    rows["organisations.csv"] = list(document.get("organisations", ()))
    for agreement in document.get("agreements", ()):
        limits = agreement.get("time_limits_min", {})
        own = agreement | {column: limits[lane] for column, lane in LIMITS.items() if lane in limits}
        rows["agreements.csv"] += [own | {"requesting": [one]} for one in agreement["requesting"]]
    for physician in document.get("physicians", ()):
        rows["physicians.csv"].append(physician)
        rows["duty.csv"] += [{"login": physician["login"]} | row for row in _duty_rows(physician.get("duty", []))]
    for role, group in PEOPLE.items():
        rows["people.csv"] += [person | {"role": role} for person in document.get(group, ())]
    for director in document.get("duty_directors", ()):
        whose = {name: director[name] for name in WHOSE_DUTY}
        rows["duty_directors.csv"] += [whose | row for row in _duty_rows(director["duty"])]
    return {file: _write(file, rows[file], language) for file in FILES}


def _duty_rows(duty: Any) -> Iterator[dict[str, Any]]:
    if not duty or duty == "always":
        yield {"day": duty or NEVER}
    elif isinstance(duty, list):
        yield from duty
    else:
        for day in (one for one in WEEKDAYS if one in duty["weekly"]):
            yield from ({"day": day, "shift": shift} for shift in duty["weekly"][day])
        yield from ({"day": day, "shift": OFF} for day in duty["days_off"])
        for day, shifts in sorted(duty["extra"].items()):
            yield from ({"day": day, "shift": shift} for shift in shifts)


def _write(file: str, rows: list[dict[str, Any]], language: str) -> bytes:
    columns = {name: write for name, (_, write) in FILES[file].items() if name not in NOT_WRITTEN}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow([HEADERS_ZH[name] if language == "zh" else name for name in columns])
    for row in rows:
        writer.writerow([_cell(write, row[name]) if name in row else "" for name, write in columns.items()])
    return text.getvalue().encode("utf-8-sig")


def _cell(write: WriteCell, value: Any) -> str:
    words = write(value)
    return f"'{words}" if _FORMULA.match(words) else words
