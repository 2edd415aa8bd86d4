"""Measurements of what the product promises in numbers: `make bench`, never part of `make test`. See README.md here."""
