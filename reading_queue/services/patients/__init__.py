"""Whose a study is: doubts about it, and records of one person at several sites."""
