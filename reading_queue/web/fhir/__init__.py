"""A read-only FHIR R4 API of orders, cases and studies: `/fhir`. CONFORMANCE.md beside this says what is offered."""

from __future__ import annotations

from reading_queue.web.fhir.routes import PREFIX, build_fhir

__all__ = ["PREFIX", "build_fhir"]
