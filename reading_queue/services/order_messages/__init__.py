"""HL7 messages that bring orders to the hub: kept before they are answered, decided on, shown to who can help."""
