"""The demonstration's physicians: they take offers, write, sign and verify through the public API.

`python deploy/demo/physicians.py URL PASSWORD FILE LOGIN… < LEFT`: FILE is made once all are at work; standard input
names Study Instance UIDs, one a line, that are left for a person. A stopped and restarted hub is waited for; what was
held before is finished first.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from hub_api import HubApi, Refused, Unreachable

READING_S = 0.2  # so that a person can follow
PAUSE_S = 0.3
CONFLICT = 409
TEXTS = {
    "CT": (
        "双肺野清晰，气管居中，纵隔未见肿大淋巴结。左肺上叶见一枚小结节影，边界清楚。",
        "左肺上叶小结节，建议三个月后复查。",
    ),
    "MR": ("所示脑实质信号未见明显异常，脑室系统形态正常，中线结构居中。", "颅脑MR平扫未见明显异常。"),
    "US": ("肝脏形态大小正常，实质回声均匀，胆囊壁光滑，腔内未见异常回声。", "腹部超声未见明显异常。"),
}
OTHER_TEXT = ("图像清晰，所示结构未见明显异常。", "所示部位未见明显异常。")


def main() -> None:
    """Work until the process is told to stop."""
    url, password, at_work, *logins = sys.argv[1:]
    left = frozenset(line.strip() for line in sys.stdin)
    physicians = [HubApi(url, login, password) for login in logins]
    begin_work(physicians)
    Path(at_work).touch()
    while True:
        worked = False
        for physician in physicians:
            try:
                worked |= finish_held(physician, left) or take_one_offer(physician, left)
            except (Refused, Unreachable):
                continue  # somebody else was quicker, or the hub is starting again: look anew
        if not worked:
            time.sleep(PAUSE_S)


def begin_work(physicians: list[HubApi]) -> None:
    """Log everybody in, as a shift begins before its first case."""
    for physician in physicians:
        with contextlib.suppress(Refused, Unreachable):  # it is tried again with the first case
            physician.call("GET", "/held")


def finish_held(physician: HubApi, left: frozenset[str]) -> bool:
    """Finish one reading task that the physician holds; return whether there was one."""
    for task in physician.call("GET", "/held")["held"]:
        if not left.intersection(task["study_uids"]):
            finish(physician, task)
            return True
    return False


def take_one_offer(physician: HubApi, left: frozenset[str]) -> bool:
    """Claim and finish the most urgent offer; return whether there was one."""
    for offer in physician.call("GET", "/offers")["offers"]:
        if not left.intersection(offer["study_uids"]):
            physician.call("POST", f"/reading-tasks/{offer['reading_task_id']}/claim")
            time.sleep(READING_S)
            finish(physician, offer)
            return True
    return False


def finish(physician: HubApi, task: dict[str, Any]) -> None:
    """Write and sign an interpretation, or verify one."""
    address = f"/reading-tasks/{task['reading_task_id']}"
    shown = physician.call("GET", f"/cases/{task['case_id']}")["case"]["summary"]
    seen = {"images_version": shown["images_version"]}
    if task["phase"] == "verification":
        physician.call("POST", f"{address}/sign", seen)
        return
    findings, impression = TEXTS.get(task["modality"], OTHER_TEXT)
    text = {"findings": findings, "impression": impression, "recommendation": "结合临床，必要时复查。"}
    try:
        physician.call("PUT", f"{address}/draft", text)
    except Refused as refusal:
        if refusal.status != CONFLICT:  # a draft of before a restart is there already; the same text is signed below
            raise
    physician.call("POST", f"{address}/submit", text | seen)


if __name__ == "__main__":
    main()
