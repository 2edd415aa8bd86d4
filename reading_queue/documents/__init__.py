"""Signed JSON, Basic Text SR and PDF of a report."""
