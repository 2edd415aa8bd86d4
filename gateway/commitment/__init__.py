"""Storage Commitment Push Model (PS3.4 annex J) as SCP: an answer that speaks of the hub's copy, never of our own."""

from gateway.commitment.judging import CommitmentJudge
from gateway.commitment.service import CommitmentService
from gateway.commitment.telling import CommitmentTeller

__all__ = ["CommitmentJudge", "CommitmentService", "CommitmentTeller"]
