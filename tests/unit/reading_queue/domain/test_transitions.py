"""The tables of transitions against tables typed independently, and whole lives by chance."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reading_queue.domain.roles import Role
from reading_queue.domain.transitions import (
    AMENDED,
    CASE_ENDS,
    CASE_TRANSITIONS,
    READING_TASK_ENDS,
    ROUTABLE,
    SIGNED,
    Actor,
    ActorNotAllowed,
    CaseEvent,
    CaseState,
    EventNotAllowed,
    ReadingTaskEvent,
    ReadingTaskState,
    apply,
    diagram,
    events_open_to,
)

# state, event, the state it leads to, who may cause it. Typed apart from the product's table: change both or none.
EXPECTED_CASES = """
receiving       images_verified       ready           system
receiving       series_verified       ready           system
receiving       withdraw              cancelled       technician coordinator
ready           offer                 offered         system coordinator
ready           return_to_site        returned        coordinator system
ready           withdraw              cancelled       technician coordinator
ready           join                  cancelled       system technician coordinator
offered         offer                 offered         system coordinator
offered         offers_exhausted      ready           system
offered         claim                 reading         physician
offered         decline               offered         physician
offered         return_to_site        returned        coordinator system
offered         withdraw              cancelled       technician coordinator
offered         join                  cancelled       system technician coordinator
reading         release               ready           holder coordinator
reading         lease_expired         ready           system
reading         submit                pending_review  holder
reading         sign_alone            final           holder
reading         return_to_site        returned        holder coordinator
reading         hold                  on_hold         holder
reading         take_over             reading         lead
reading         accept_withdrawal     cancelled       holder
on_hold         resume                reading         holder technician coordinator
on_hold         release               ready           holder coordinator
on_hold         hold_expired          ready           system
on_hold         take_over             reading         lead
on_hold         return_to_site        returned        holder coordinator
on_hold         accept_withdrawal     cancelled       holder
pending_review  offer                 pending_review  system coordinator
pending_review  offers_exhausted      pending_review  system
pending_review  decline               pending_review  physician
pending_review  claim_review          reviewing       physician
reviewing       release_review        pending_review  holder coordinator
reviewing       review_lease_expired  pending_review  system
reviewing       return_to_author      offered         holder
reviewing       sign                  final           holder
reviewing       take_over             reviewing       lead
reviewing       accept_withdrawal     cancelled       holder
final           deliver               delivered       system
final           amend                 amending        signatory lead system
final           enter_in_error        entered_in_error  signatory lead coordinator
delivered       acknowledge           acknowledged    system technician
delivered       amend                 amending        signatory lead system
delivered       enter_in_error        entered_in_error  signatory lead coordinator
acknowledged    amend                 amending        signatory lead system
acknowledged    enter_in_error        entered_in_error  signatory lead coordinator
amending        offer                 amending        system coordinator
amending        decline               amending        physician
amending        offers_exhausted      amending        system
amending        claim                 amending        physician signatory
amending        release               amending        holder coordinator
amending        lease_expired         amending        system
amending        take_over             amending        lead
amending        submit                amendment_pending    holder
amending        nothing_to_amend      final           holder
amending        enter_in_error        entered_in_error  signatory lead coordinator
amendment_pending    offer             amendment_pending    system coordinator
amendment_pending    decline           amendment_pending    physician
amendment_pending    offers_exhausted  amendment_pending    system
amendment_pending    claim_review      amendment_reviewing  physician
amendment_pending    enter_in_error    entered_in_error     signatory lead coordinator
amendment_reviewing  sign              final                holder
amendment_reviewing  return_to_author  amending             holder
amendment_reviewing  release_review    amendment_pending    holder coordinator
amendment_reviewing  review_lease_expired  amendment_pending  system
amendment_reviewing  take_over         amendment_reviewing  lead
amendment_reviewing  enter_in_error       entered_in_error     signatory lead coordinator
returned        images_verified       ready           system
returned        resubmit              ready           technician coordinator
returned        withdraw              cancelled       technician coordinator
"""

EXPECTED_TASKS = """
scheduled    claim     in_progress  physician lead signatory
scheduled    cancel    canceled     system technician coordinator
in_progress  complete  completed    holder
in_progress  cancel    canceled     system holder lead coordinator
"""


def parse(table: str) -> dict[tuple[str, str], tuple[str, set[str]]]:
    rows = (line.split() for line in table.strip().splitlines())
    return {(state, event): (to, set(actors)) for state, event, to, *actors in rows}


@pytest.mark.parametrize(
    ("table", "states", "events"),
    [(EXPECTED_CASES, CaseState, CaseEvent), (EXPECTED_TASKS, ReadingTaskState, ReadingTaskEvent)],
    ids=["cases", "reading_tasks"],
)
def test_every_state_event_and_actor_is_allowed_or_refused_as_expected(table, states, events):
    expected = parse(table)
    for state, event, actor in product(states, events, Actor):
        if (state, event) not in expected:
            with pytest.raises(EventNotAllowed):
                apply(state, event, actor)
        elif actor not in expected[state, event][1]:
            with pytest.raises(ActorNotAllowed):
                apply(state, event, actor)
        else:
            assert apply(state, event, actor) == expected[state, event][0]


def test_the_events_open_to_somebody_are_those_apply_allows_them():
    for state, actor in product(CaseState, Actor):
        allowed = {event for event in CaseEvent if actor in parse(EXPECTED_CASES).get((state, event), ("", set()))[1]}
        assert events_open_to(state, actor) == allowed


def test_somebody_with_two_parts_may_do_what_either_may():
    both = events_open_to(CaseState.READING, Actor.HOLDER, Actor.COORDINATOR)
    assert both == events_open_to(CaseState.READING, Actor.HOLDER) | events_open_to(
        CaseState.READING, Actor.COORDINATOR
    )


def test_a_case_event_never_applies_to_a_reading_task():
    with pytest.raises(TypeError):
        apply(ReadingTaskState.SCHEDULED, CaseEvent.CLAIM, Actor.PHYSICIAN)


def test_every_role_is_an_actor():
    assert {role.value for role in Role} <= {actor.value for actor in Actor}


def test_every_state_can_reach_an_end_and_only_what_is_said_of_a_report_leads_out_of_one():
    leads_to = {
        state: {step.to for (source, _), step in CASE_TRANSITIONS.items() if source is state} for state in CaseState
    }
    reaches_end = set(CASE_ENDS)
    while grown := {state for state in CaseState if leads_to[state] & reaches_end} - reaches_end:
        reaches_end |= grown
    assert reaches_end == set(CaseState)
    out = {event for (source, event) in CASE_TRANSITIONS if source in CASE_ENDS}
    assert out == {CaseEvent.AMEND, CaseEvent.ENTER_IN_ERROR}


def test_what_was_signed_stays_signed_until_it_is_void():
    signed = SIGNED | AMENDED
    after = {step.to for (source, _), step in CASE_TRANSITIONS.items() if source in signed}
    assert after == signed | {CaseState.ENTERED_IN_ERROR}


def test_the_diagram_names_every_transition_once():
    arrows = {line.strip() for line in diagram().splitlines() if ": " in line}
    expected = parse(EXPECTED_CASES).items()
    assert arrows == {f"{state} --> {to}: {event}" for (state, event), (to, _) in expected}
    assert "acknowledged --> [*]" in diagram()


class LifeOfACase(RuleBasedStateMachine):
    """A case with its open reading task, moved by whoever may: the rules follow what the use cases do."""

    CLAIMS = frozenset({CaseEvent.CLAIM, CaseEvent.CLAIM_REVIEW})
    OPENS = frozenset({CaseEvent.IMAGES_VERIFIED, CaseEvent.SERIES_VERIFIED, CaseEvent.RESUBMIT, CaseEvent.AMEND})
    ENDS_CLAIM = frozenset(
        {
            CaseEvent.RELEASE,
            CaseEvent.LEASE_EXPIRED,
            CaseEvent.RELEASE_REVIEW,
            CaseEvent.REVIEW_LEASE_EXPIRED,
            CaseEvent.RETURN_TO_AUTHOR,
            CaseEvent.HOLD_EXPIRED,
        }
    )
    COMPLETES = frozenset({CaseEvent.SUBMIT, CaseEvent.SIGN, CaseEvent.SIGN_ALONE})
    STOPS = frozenset(
        {
            CaseEvent.WITHDRAW,
            CaseEvent.JOIN,
            CaseEvent.ACCEPT_WITHDRAWAL,
            CaseEvent.RETURN_TO_SITE,
            CaseEvent.NOTHING_TO_AMEND,
        }
    )
    HELD = frozenset({CaseState.READING, CaseState.ON_HOLD, CaseState.REVIEWING, CaseState.AMENDMENT_REVIEWING})

    def __init__(self) -> None:
        super().__init__()
        self.state = CaseState.RECEIVING
        self.tasks: list[ReadingTaskState] = []
        self.signatures: list[str] = []

    @precondition(lambda self: self.state not in (CaseState.CANCELLED, CaseState.ENTERED_IN_ERROR))
    @rule(data=st.data())
    def something_legal_happens(self, data: st.DataObject) -> None:
        steps = sorted(
            (event, actor)
            for actor in Actor
            for event in events_open_to(self.state, actor)
            if self.state is not CaseState.AMENDING or self._fits_its_task(event)
        )
        event, actor = data.draw(st.sampled_from(steps))
        self.state = apply(self.state, event, actor)
        self._move_tasks(event, actor)
        if event in (CaseEvent.SIGN, CaseEvent.SIGN_ALONE):
            self.signatures.append("signed")

    @rule(event=st.sampled_from(CaseEvent), actor=st.sampled_from(Actor))
    def somebody_tries_what_is_not_theirs_to_do(self, event: CaseEvent, actor: Actor) -> None:
        if event not in events_open_to(self.state, actor):
            with pytest.raises((EventNotAllowed, ActorNotAllowed)):
                apply(self.state, event, actor)

    def _fits_its_task(self, event: CaseEvent) -> bool:
        """Return whether the task's own table lets it: an amendment is one state, whoever holds it or not."""
        held = self.tasks[-1] is ReadingTaskState.IN_PROGRESS
        of_holder = {
            CaseEvent.RELEASE,
            CaseEvent.LEASE_EXPIRED,
            CaseEvent.SUBMIT,
            CaseEvent.TAKE_OVER,
            CaseEvent.NOTHING_TO_AMEND,
        }
        return (event in of_holder) == held

    def _move_tasks(self, event: CaseEvent, actor: Actor) -> None:
        if event in self.OPENS:
            self.tasks.append(ReadingTaskState.SCHEDULED)
        elif event is CaseEvent.TAKE_OVER:
            self.tasks[-1] = apply(self.tasks[-1], ReadingTaskEvent.CANCEL, actor)
            self.tasks.append(apply(ReadingTaskState.SCHEDULED, ReadingTaskEvent.CLAIM, actor))
        elif event in self.CLAIMS:
            self.tasks[-1] = apply(self.tasks[-1], ReadingTaskEvent.CLAIM, Actor.PHYSICIAN)
        elif event in self.ENDS_CLAIM or (event in self.STOPS and self.tasks and self._open()):
            self.tasks[-1] = apply(self.tasks[-1], ReadingTaskEvent.CANCEL, actor)
            if event in self.ENDS_CLAIM:
                self.tasks.append(ReadingTaskState.SCHEDULED)
        elif event in self.COMPLETES:
            self.tasks[-1] = apply(self.tasks[-1], ReadingTaskEvent.COMPLETE, actor)
            if event is CaseEvent.SUBMIT:
                self.tasks.append(ReadingTaskState.SCHEDULED)

    def _open(self) -> list[ReadingTaskState]:
        return [task for task in self.tasks if task not in READING_TASK_ENDS]

    @invariant()
    def at_most_one_reading_task_is_open(self) -> None:
        assert len(self._open()) <= 1

    @invariant()
    def somebody_holds_a_task_exactly_while_the_case_is_read_or_reviewed(self) -> None:
        held = self.tasks.count(ReadingTaskState.IN_PROGRESS)
        if self.state is not CaseState.AMENDING:
            assert held == (self.state in self.HELD)

    @invariant()
    def a_signed_case_never_leaves_the_signed_states(self) -> None:
        assert bool(self.signatures) == (self.state in SIGNED | AMENDED | {CaseState.ENTERED_IN_ERROR})

    @invariant()
    def a_case_that_can_go_on_has_a_task_to_be_taken(self) -> None:
        if self.state in ROUTABLE - {CaseState.AMENDING}:
            assert self._open() == [ReadingTaskState.SCHEDULED]
        elif self.state is CaseState.AMENDING:
            assert len(self._open()) == 1


TestLifeOfACase = LifeOfACase.TestCase
TestLifeOfACase.settings = settings(max_examples=60, stateful_step_count=40)
