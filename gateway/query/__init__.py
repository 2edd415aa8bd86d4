"""Query/Retrieve over what the gateway holds (PS3.4 annex C): identifiers, matching, answers."""
