"""`GET /health`: every dependency by name, in words; 200 when all answer, 503 otherwise. For machines and operators."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from aiohttp import web

from reading_queue.services.health import Unhealthy
from reading_queue.web.offload import Run
from storage.contract.wire import Health

CHECK_S: Final = 5.0

Check = Callable[[], str]

_log = structlog.get_logger(__name__)


def health_route(checks: Mapping[str, Check], run: Run) -> web.RouteDef:
    """Return the route that answers with all `checks`; a check returns words or raises."""

    async def answer(_request: web.Request) -> web.Response:
        results = await asyncio.gather(*(_ask(name, check, run) for name, check in checks.items()))
        well = all(fine for fine, _ in results)
        words = dict(zip(checks, (text for _, text in results), strict=True))
        health = Health(status="ok" if well else "failing", checks=words)
        return web.json_response(text=health.model_dump_json(), status=200 if well else 503)

    return web.get("/health", answer, name="health")


async def _ask(name: str, check: Check, run: Run) -> tuple[bool, str]:
    try:
        return True, await asyncio.wait_for(run(check), CHECK_S)
    except Unhealthy as exc:
        return False, str(exc)
    except TimeoutError:
        return False, f"does not answer within {CHECK_S:g} s"
    except Exception as exc:  # noqa: BLE001 -- whatever is wrong with a dependency is the answer
        _log.warning("health_check_failed", check=name, failure=type(exc).__name__)
        return False, f"fails: {type(exc).__name__}"
