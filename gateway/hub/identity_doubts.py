"""Tells the hub how people at the clinic settled whose a case is, and fetches what is in doubt."""

from __future__ import annotations

from gateway.hub.telling import TellingSync, require_told
from gateway.journal import identity_doubts
from storage.contract.identity_doubts import SETTLEMENTS_PER_BATCH_MAX, IdentitySettlements


class IdentitySync(TellingSync):
    """Doubts whether orders and images are of one person."""

    name = "identity_doubts"

    def _report(self) -> None:
        while due := identity_doubts.due_settlements(self._journal, SETTLEMENTS_PER_BATCH_MAX):
            answer = self._client.report_settlements(IdentitySettlements(settlements=tuple(due)))
            require_told(answer, (act.act_id for act in due))
            identity_doubts.note_settled(self._journal, answer)

    def _fetch(self) -> None:
        identity_doubts.take_over_doubts(self._journal, self._client.fetch_doubts().doubts)
