"""Key images and measurements in words of the reader's language, as they may stand in a report."""

from __future__ import annotations

from reading_queue.documents.words import rounded, shown_unit
from reading_queue.services.reading.case_evidence import ShownFinding
from reading_queue.web.language import translate, translate_or


def evidence_words(shown: ShownFinding) -> str:
    """Return `长度 23.4 mm，序列 2 图像 35`; values are rounded to one decimal, what is kept is not."""
    place, finding = _place(shown), shown.finding
    if not finding.is_measurement:
        return translate("evidence.of_key", place=place)
    what = translate_or(f"evidence.{finding.concept.strip().lower().replace(' ', '_')}", finding.concept)
    value, unit = rounded(finding.value), shown_unit(finding.unit)
    return translate("evidence.of_value", what=what, value=value, unit=unit, place=place)


def _place(shown: ShownFinding) -> str:
    if shown.image is None or not shown.series_uid:
        return translate("evidence.elsewhere")
    series, number = (str(one) if one is not None else "?" for one in (shown.series_number, shown.instance_number))
    place = translate("evidence.place", series=series, image=number)
    frame = shown.image.frame
    return f"{place} {translate('evidence.frame', frame=frame)}" if frame is not None else place
