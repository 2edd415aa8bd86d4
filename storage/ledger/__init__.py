"""Sites, gateway keys, custody, audit and the outbox. Hub only."""
