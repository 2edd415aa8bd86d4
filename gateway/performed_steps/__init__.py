"""Modality Performed Procedure Step (PS3.4 annex F): what scanners say of the examinations that they do.

`reading` reads their words, `progress` says what these mean for orders, `service` talks to the scanner, `arrivals`
speaks for the scanners that say nothing. Steps are durable in the journal before they are answered.
"""
