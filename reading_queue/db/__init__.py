"""Tables, migrations and queries of the reading side."""
